// The kernel wakes us when a cgroup crosses its wire, between the samples.
//
// v1: an eventfd on memory.usage_in_bytes (measured: 0.14-3.1 ms after the crossing). v2 has no such thing;
// there memory.high is wire and brake in one, set by BrakeKnob, and its crossing shows in memory.events
// (measured: 0.3-17 ms). Either way an alarm is a hint that a reading is worth while, never a fact: it comes
// for crossings in both directions, once when the cgroup is removed, and on v2 for every other memory event.

#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

// Runs on the control thread. `io` outlives it.
class Alarms {
 public:
  // After an alarm the same cgroup rings again at the earliest after this: a tenant that swings around its
  // wire must not own our loop. A crossing in between is not lost, it rings at the end.
  static constexpr core::Duration kQuiet = std::chrono::milliseconds(5);

  // `on_alarm` is called from io.run(), never from within Arm or Disarm; it may call both.
  Alarms(boost::asio::io_context& io, const CgroupLayout& layout,
         std::function<void(core::CgroupId)> on_alarm);
  ~Alarms();
  Alarms(const Alarms&) = delete;
  Alarms& operator=(const Alarms&) = delete;

  // Rings when usage of the cgroup crosses `at` bytes; again with the same wire it does nothing, with another
  // the wire moves. Usage already at or above the wire rings at once. v2 ignores `at`: see the head.
  // NotFound when the cgroup is gone, ResourceExhausted without descriptors, InvalidArgument for at <= 0; the
  // previous wire, if any, is then still there.
  absl::Status Arm(core::CgroupId id, const std::string& path, core::Bytes at);

  // Forgets the wire. Unknown ids are ignored. A removed cgroup disarms itself after its last alarm.
  void Disarm(core::CgroupId id);

  std::size_t size() const { return wires_.size(); }

 private:
  struct Wire;

  absl::StatusOr<std::shared_ptr<Wire>> OpenV1(core::CgroupId id, const std::string& path, core::Bytes at);
  absl::StatusOr<std::shared_ptr<Wire>> OpenV2(core::CgroupId id, const std::string& path);
  absl::StatusOr<std::shared_ptr<Wire>> NewWire(core::CgroupId id, core::Bytes at, UniqueFd fd);
  static void Wait(const std::shared_ptr<Wire>& wire);
  static void Ring(const std::shared_ptr<Wire>& wire);
  static void Detach(Wire& wire);

  boost::asio::io_context& io_;
  const CgroupLayout layout_;
  const std::function<void(core::CgroupId)> on_alarm_;
  absl::flat_hash_map<core::CgroupId, std::shared_ptr<Wire>> wires_;
};

}  // namespace memgov::kernel
