// The kernel tells us when the tasks of a cgroup stall for memory, without our looking (PSI triggers on
// memory.pressure).
//
// For thrash: a domain at its limit whose programs' own file pages are evicted and read again makes no usage
// alarm and no kill, but stalls. Fast anonymous growth shows nothing here before the kill. Each privileged
// trigger costs a kernel thread, so arm only domains at risk; there are never more than kMost. The kernel
// makes that thread while we wait, just when memory is short: so a worker arms, and another one closes.
//
// Without CAP_SYS_RESOURCE the kernel accepts only windows that are multiples of 2 s; then the window that
// was wanted is stretched to that, with the stall in proportion, and `on_degraded` says so once.

#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/retries.h"

namespace memgov::kernel {

struct PressureTrigger {
  enum class Kind { kSome, kFull };  // some task waits; all that could run wait

  Kind kind = Kind::kSome;
  core::Duration stall{};   // within the window; more than that rings
  core::Duration window{};  // 500 ms to 10 s
  bool operator==(const PressureTrigger&) const = default;
};

// Runs on the control thread. `io` outlives it.
class PressureTriggers {
 public:
  using Done = std::function<void(absl::Status)>;

  // The kernel's own granularity for those without CAP_SYS_RESOURCE.
  static constexpr core::Duration kUnprivilegedWindow = std::chrono::seconds(2);
  static constexpr std::size_t kMost = 256;

  struct Callbacks {
    // Never from within Arm or Disarm; may call both. At most once a window, and once when the cgroup is
    // removed.
    std::function<void(core::CgroupId)> on_stall;
    // What does not work and what is lost, once each.
    std::function<void(std::string)> on_degraded;
    // Some trigger could not be armed and is tried again (retries.h); with false, none is missing any more.
    std::function<void(bool)> on_failing = {};
  };

  PressureTriggers(boost::asio::io_context& io, const CgroupLayout& layout, Callbacks callbacks,
                   RetryPace pace = {});
  ~PressureTriggers();
  PressureTriggers(const PressureTriggers&) = delete;
  PressureTriggers& operator=(const PressureTriggers&) = delete;

  // Again with the same trigger it does nothing; another takes the old one's place. kNodeId means the whole
  // machine and ignores `path`. `done` is called from io.run(): OK when it is armed; Unavailable where there
  // is no PSI, or where its files are read-only (pressure totals can still be polled then); NotFound when the
  // cgroup is gone; ResourceExhausted without descriptors or beyond kMost; InvalidArgument for a trigger that
  // no kernel takes (the previous trigger, if any, is then still armed); Cancelled when a later Arm or Disarm
  // overtook it. What is ResourceExhausted is tried again until it is armed or disarmed.
  void Arm(core::CgroupId id, const std::string& path, const PressureTrigger& trigger, Done done);

  // Unknown ids are ignored. A removed cgroup disarms itself.
  void Disarm(core::CgroupId id);

  std::size_t size() const { return armed_.size(); }

 private:
  struct Armed;
  struct Request;
  struct Opened;

  static Opened Open(const std::string& file, const PressureTrigger& trigger);
  void Finish(const std::shared_ptr<Request>& request, Opened opened);
  absl::Status Take(const Request& request, Opened opened);
  void Overtake(core::CgroupId id);
  void TryAgain(core::CgroupId id);
  void Drop(core::CgroupId id);
  void SayOnce(bool* said, std::string what);
  static void Wait(const std::shared_ptr<Armed>& armed);
  static void Ring(const std::shared_ptr<Armed>& armed);
  static void Detach(Armed& armed);

  boost::asio::io_context& io_;
  const CgroupLayout layout_;
  const Callbacks callbacks_;
  boost::asio::thread_pool opener_{1};
  boost::asio::thread_pool closer_{1};
  absl::flat_hash_map<core::CgroupId, std::shared_ptr<Armed>> armed_;
  absl::flat_hash_map<core::CgroupId, std::shared_ptr<Request>> requests_;  // the last of each cgroup
  struct Wish {
    std::string path;
    PressureTrigger trigger;
  };
  absl::flat_hash_map<core::CgroupId, Wish> wishes_;  // of what is tried again
  Retries retries_;
  bool said_slow_ = false;
  bool said_unavailable_ = false;
};

}  // namespace memgov::kernel
