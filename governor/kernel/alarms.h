// The kernel wakes us when a cgroup crosses its wire, between the samples.
//
// v1: an eventfd on memory.usage_in_bytes (measured: 0.14-3.1 ms after the crossing). v2 has no such thing;
// there memory.high is wire and brake in one, set by BrakeKnob, and its crossing shows in memory.events
// (measured: 0.3-17 ms). Either way an alarm is a hint that a reading is worth while, never a fact: it comes
// for crossings in both directions, once when the cgroup is removed, and on v2 for every other memory event.
//
// On v1 the kernel waits for an RCU grace period in each registration (measured: 4 to 240 ms), so a worker
// does it: a thousand of them at start-up must not hold up the loop.

#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
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
#include "governor/kernel/retries.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

// Runs on the control thread. `io` outlives it.
class Alarms {
 public:
  using Done = std::function<void(absl::Status)>;

  // After an alarm the same cgroup rings again at the earliest after this: a tenant that swings around its
  // wire must not own our loop. A crossing in between is not lost, it rings at the end.
  static constexpr core::Duration kQuiet = std::chrono::milliseconds(5);

  // `on_alarm` is called from io.run(), never from within Arm or Disarm; it may call both. `on_failing`: some
  // wire could not be set and is tried again (retries.h); with false, none is missing any more.
  Alarms(boost::asio::io_context& io, const CgroupLayout& layout,
         std::function<void(core::CgroupId)> on_alarm, std::function<void(bool)> on_failing = {},
         RetryPace pace = {});
  ~Alarms();
  Alarms(const Alarms&) = delete;
  Alarms& operator=(const Alarms&) = delete;

  // Rings when usage of the cgroup crosses `at` bytes; again with the same wire it does nothing, with another
  // the wire moves. Usage already at or above the wire rings at once. v2 ignores `at`: see the head.
  // `done` is called from io.run(): OK when the wire stands; NotFound when the cgroup is gone,
  // ResourceExhausted without descriptors, InvalidArgument for at <= 0 (the previous wire, if any, is then
  // still there); Cancelled when a later Arm or Disarm of the same cgroup overtook it. What failed for
  // another reason than that is tried again until it stands or is disarmed, without further answers.
  void Arm(core::CgroupId id, const std::string& path, core::Bytes at, Done done);

  // Forgets the wire. Unknown ids are ignored. To be called when a cgroup has vanished, too: not every kernel
  // rings then.
  void Disarm(core::CgroupId id);

  std::size_t size() const { return wires_.size(); }

 private:
  struct Wire;
  struct Request;

  void Register(core::CgroupId id, const std::string& path, core::Bytes at, Done done);
  void TryAgain(core::CgroupId id);
  void Settle(core::CgroupId id, const absl::Status& status);
  void Finish(const std::shared_ptr<Request>& request, absl::StatusOr<UniqueFd> fd, bool crossed);
  void Drop(core::CgroupId id);
  void Overtake(core::CgroupId id);
  absl::StatusOr<std::shared_ptr<Wire>> OpenV2(core::CgroupId id, const std::string& path);
  absl::StatusOr<std::shared_ptr<Wire>> NewWire(core::CgroupId id, core::Bytes at, UniqueFd fd);
  static void Wait(const std::shared_ptr<Wire>& wire);
  static void Ring(const std::shared_ptr<Wire>& wire);
  static void Detach(Wire& wire);

  boost::asio::io_context& io_;
  const CgroupLayout layout_;
  const std::function<void(core::CgroupId)> on_alarm_;
  absl::flat_hash_map<core::CgroupId, std::shared_ptr<Wire>> wires_;
  absl::flat_hash_map<core::CgroupId, std::shared_ptr<Request>> requests_;  // the last of each cgroup
  struct Wish {
    std::string path;
    core::Bytes at = 0;
  };
  absl::flat_hash_map<core::CgroupId, Wish> wishes_;  // of what was armed and may have to be tried again
  Retries retries_;
  std::unique_ptr<boost::asio::thread_pool> registrar_;  // v1; one thread
};

}  // namespace memgov::kernel
