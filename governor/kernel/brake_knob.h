// The only writer of memory.high (cgroup v2): the brake that slows a cgroup near its limit.
//
// A brake is a loan. It never goes below present usage (measured: the next 2 MiB then take 18 s), never
// replaces or raises a value that somebody else set, and it is always let go: by RestoreAll, by the guard
// when we are killed (guard.h), or by the next start. The record for the last two is written before the knob
// (brake_state.h). memory.max is never written.

#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/brake_state.h"
#include "governor/kernel/mounts.h"

namespace memgov::kernel {

// Set and RestoreAll are called on the control thread; files are written on one worker thread of its own,
// because a write to memory.high may reclaim. `io` outlives it. Start the guard first: it must fork before
// any thread exists.
class BrakeKnob {
 public:
  using Done = std::function<void(absl::Status)>;

  BrakeKnob(const CgroupLayout& layout, std::string state_file, boost::asio::io_context& io);
  // Waits for a write that is under way. Call RestoreAll first; the destructor restores nothing.
  ~BrakeKnob();
  BrakeKnob(const BrakeKnob&) = delete;
  BrakeKnob& operator=(const BrakeKnob&) = delete;

  // Sets the brake of a cgroup to `high` bytes (rounded down to whole pages), moves it, or with std::nullopt
  // lets it go. `done` is called from io.run() with
  //   OK                  the knob holds the value, or ours is gone from it (also when the cgroup is);
  //   FailedPrecondition  somebody else's value is there, or usage has reached `high` already, or v1;
  //   NotFound            the cgroup is gone (only when setting);
  //   another             the kernel's words, with the path. The state file could not be written: nothing
  //   was.
  // Requests are carried out in order; one that a later request for the same cgroup has overtaken while it
  // waited is dropped with Cancelled.
  void Set(core::CgroupId id, std::string path, std::optional<core::Bytes> high, Done done);

  // Lets go of everything that is ours and ends the worker; later Sets fail. Blocks until it is done: for
  // shut-down. Repeating it is harmless.
  absl::Status RestoreAll();

  static absl::Status RestoreFromState(const CgroupLayout& layout, const std::string& state_file) {
    return kernel::RestoreFromState(layout, state_file);
  }

 private:
  absl::Status Apply(const std::string& path, core::Bytes high);
  absl::Status LetGo(const std::string& path);
  bool IsOurs(const std::string& path, core::Bytes value) const;
  absl::Status Remember(const std::string& path, const std::vector<core::Bytes>& values);

  const CgroupLayout layout_;
  const std::string state_file_;
  boost::asio::io_context& io_;
  std::atomic<bool> stopping_{false};
  // The last request of each cgroup that is not answered yet: whether a later one has overtaken it.
  absl::flat_hash_map<core::CgroupId, std::shared_ptr<std::atomic<bool>>> newest_;
  std::vector<BrakeMark> marks_;                      // the worker's alone: what the state file holds
  std::unique_ptr<boost::asio::thread_pool> worker_;  // one thread; absent on v1
};

}  // namespace memgov::kernel
