// The kernel tells us when the tasks of a cgroup stall for memory, without our looking (PSI triggers on
// memory.pressure).
//
// For thrash: a domain at its limit whose programs' own file pages are evicted and read again makes no usage
// alarm and no kill, but stalls. Fast anonymous growth shows nothing here before the kill. Each privileged
// trigger costs a kernel thread, so arm only domains at risk.
//
// Without CAP_SYS_RESOURCE the kernel accepts only windows that are multiples of 2 s; then the window that
// was wanted is stretched to that, with the stall in proportion, and `on_degraded` says so once.

#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/unique_fd.h"

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
  // The kernel's own granularity for those without CAP_SYS_RESOURCE.
  static constexpr core::Duration kUnprivilegedWindow = std::chrono::seconds(2);

  struct Callbacks {
    // Never from within Arm or Disarm; may call both. At most once a window, and once when the cgroup is
    // removed.
    std::function<void(core::CgroupId)> on_stall;
    // What does not work and what is lost, once each.
    std::function<void(std::string)> on_degraded;
  };

  PressureTriggers(boost::asio::io_context& io, const CgroupLayout& layout, Callbacks callbacks);
  ~PressureTriggers();
  PressureTriggers(const PressureTriggers&) = delete;
  PressureTriggers& operator=(const PressureTriggers&) = delete;

  // Again with the same trigger it does nothing; another takes the old one's place. kNodeId means the whole
  // machine and ignores `path`. Unavailable where there is no PSI, or where its files are read-only (pressure
  // totals can still be polled then); NotFound when the cgroup is gone; ResourceExhausted without
  // descriptors; InvalidArgument for a trigger that no kernel takes. The previous trigger, if any, is then
  // still armed.
  absl::Status Arm(core::CgroupId id, const std::string& path, const PressureTrigger& trigger);

  // Unknown ids are ignored. A removed cgroup disarms itself.
  void Disarm(core::CgroupId id);

  std::size_t size() const { return armed_.size(); }

 private:
  struct Armed;

  absl::StatusOr<UniqueFd> Open(const std::string& file, const PressureTrigger& trigger);
  absl::Status Failed(const std::string& file);
  void SayOnce(bool* said, std::string what);
  static void Wait(const std::shared_ptr<Armed>& armed);
  static void Ring(const std::shared_ptr<Armed>& armed);
  static void Detach(Armed& armed);

  boost::asio::io_context& io_;
  const CgroupLayout layout_;
  const Callbacks callbacks_;
  boost::asio::thread_pool closer_{1};
  absl::flat_hash_map<core::CgroupId, std::shared_ptr<Armed>> armed_;
  bool said_slow_ = false;
  bool said_unavailable_ = false;
};

}  // namespace memgov::kernel
