// Tells when somebody writes the memory.high of a braked cgroup, at once instead of at the next sample.
//
// systemd sets memory.high back whenever it applies a unit's settings, and people set it by hand. inotify
// tells that the file was written, not by whom: our own writes ring too, so whoever hears of it compares. A
// hint, no more: without inotify the samples still show the same, a second or two later.

#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"

namespace memgov::kernel {

// Runs on the control thread. `io` outlives it.
class BrakeWatch {
 public:
  // After events the next are taken after this, all at once: who writes in a loop must not own ours.
  static constexpr core::Duration kQuiet = std::chrono::milliseconds(5);

  // `on_written` is called from io.run(); it may end us.
  BrakeWatch(boost::asio::io_context& io, const CgroupLayout& layout,
             std::function<void(core::CgroupId)> on_written);
  ~BrakeWatch();
  BrakeWatch(const BrakeWatch&) = delete;
  BrakeWatch& operator=(const BrakeWatch&) = delete;

  // Watching twice, or what cannot be watched, does nothing.
  void Watch(core::CgroupId id, const std::string& path);
  // A removed cgroup is forgotten by Unwatch alone: most kernels do not tell.
  void Unwatch(core::CgroupId id);

 private:
  struct State;
  static void Wait(const std::shared_ptr<State>& state);
  static void Read(const std::shared_ptr<State>& state);

  const CgroupLayout layout_;
  std::shared_ptr<State> state_;  // null: no inotify
};

}  // namespace memgov::kernel
