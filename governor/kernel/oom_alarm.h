// v1: the kernel rings shortly before it kills in a cgroup (an eventfd on memory.oom_control; measured: up to
// 4 ms before).
//
// A v1 kill is counted in the victim's own cgroup only, and the count is gone with the cgroup: a container
// whose only process was killed is removed within milliseconds, long before the next sample. So a ring asks
// for readings at once and a few times more. It also comes in every cgroup below the one that is out of
// memory, and once when a cgroup is removed; it is a hint to look, never a fact.

#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/retries.h"

namespace memgov::kernel {

// Runs on the control thread. `io` outlives it.
class OomAlarms {
 public:
  // A look at the ring, and these long after it.
  static constexpr std::array<core::Duration, 3> kLooks = {
      std::chrono::milliseconds(2), std::chrono::milliseconds(10), std::chrono::milliseconds(50)};
  // So many cgroups are looked at closely at a time. A domain with a thousand cgroups below it rings them
  // all.
  static constexpr std::size_t kMostRinging = 64;

  // `on_look(id, first)`: the cgroup's kills may have changed; `first` is the ring itself, when the victim
  // mostly still lives. Called from io.run(), never from within Arm or Disarm; it may call both. At most
  // `most` alarms. `on_failing`: some could not be armed and are tried again (retries.h); with false, none is
  // missing any more.
  OomAlarms(boost::asio::io_context& io, const CgroupLayout& layout, std::size_t most,
            std::function<void(core::CgroupId, bool first)> on_look,
            std::function<void(bool)> on_failing = {}, RetryPace pace = {});
  ~OomAlarms();
  OomAlarms(const OomAlarms&) = delete;
  OomAlarms& operator=(const OomAlarms&) = delete;

  // Unimplemented on v2 (memory.events keeps its counts above), NotFound when the cgroup is gone,
  // ResourceExhausted beyond `most` or without descriptors. Armed already: nothing happens.
  // What failed for another reason than the first two is tried again until it is armed or disarmed.
  absl::Status Arm(core::CgroupId id, const std::string& path);

  // Unknown ids are ignored.
  void Disarm(core::CgroupId id);

  std::size_t size() const { return bells_.size(); }

 private:
  struct Bell;

  absl::Status Try(core::CgroupId id, const std::string& path);
  static void Wait(const std::shared_ptr<Bell>& bell);
  static void Ring(const std::shared_ptr<Bell>& bell);
  static void LookLater(const std::shared_ptr<Bell>& bell, std::size_t look);
  static void Detach(Bell& bell);

  boost::asio::io_context& io_;
  const CgroupLayout layout_;
  const std::size_t most_;
  const std::function<void(core::CgroupId, bool)> on_look_;
  absl::flat_hash_map<core::CgroupId, std::shared_ptr<Bell>> bells_;
  absl::flat_hash_map<core::CgroupId, std::string> wishes_;  // paths of what is tried again
  Retries retries_;
  std::size_t ringing_ = 0;
};

}  // namespace memgov::kernel
