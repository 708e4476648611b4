// Freezes and thaws cgroups for the daemon (freezer.h), in the background: a thaw waits for no freeze, and
// one that fails is tried until it succeeds (hold_queue.h).

#pragma once

#include <boost/asio/io_context.hpp>
#include <string>

#include "absl/status/status.h"
#include "governor/kernel/freezer.h"
#include "governor/kernel/hold_queue.h"
#include "governor/kernel/mounts.h"

namespace memgov::kernel {

// Called on the control thread. `io` outlives it.
class FreezeKnob {
 public:
  // What the state file names, because an earlier thawing failed, is thawed. `on_failing` is called from
  // io.run() when the first cgroup cannot be thawed, and (OK) when all that could not have been.
  FreezeKnob(const CgroupLayout& memory, FreezerLayout freezer, std::string state_file,
             boost::asio::io_context& io, HoldQueue::OnFailing on_failing);

  // `done`, from io.run(): as Freezer::Freeze; Cancelled when it was to be thawed before it stood still.
  void Freeze(const std::string& path, HoldQueue::Done done);
  void Thaw(const std::string& path);

  // Thaws everything and ends the threads. Blocks until it is done, or has been tried for two seconds: for
  // shut-down.
  absl::Status ThawAll();

 private:
  Freezer freezer_;
  HoldQueue queue_;  // last: its threads use the freezer
};

}  // namespace memgov::kernel
