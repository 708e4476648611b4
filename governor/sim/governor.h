// What governs a simulated node: memgov, a baseline, or nobody. One interface, so that the same world can be
// run under each.

#pragma once

#include <optional>
#include <string_view>

#include "governor/core/client_event.h"
#include "governor/core/snapshot.h"
#include "governor/sim/kernel_law.h"

namespace memgov::sim {

class Machine;

class Governor {
 public:
  virtual ~Governor() = default;
  virtual std::string_view name() const = 0;

  // At time zero; `machine` outlives the governor's last call.
  virtual void Start(Machine& machine) = 0;
  // When it wants to run next; Run is called then, or later when the node is busy.
  virtual std::optional<Instant> Due() const { return std::nullopt; }
  virtual void Run(Instant) {}

  virtual void OnAppeared(core::CgroupId) {}
  virtual void OnVanished(core::CgroupId) {}
  virtual void OnAlarm(core::CgroupId) {}
  virtual void OnLimitChanged(core::CgroupId) {}
  virtual void OnClient(const core::ClientEvent&) {}
  virtual void OnReclaimed(const core::ReclaimOutcome&) {}
  virtual void OnKill(const core::KilledProcess&) {}

  // A domain is full and nothing in it can be taken back: before its programs thrash or die. Returns the
  // bytes that left it. Only one that knows the future has a hand in this.
  virtual double BeforeKill(core::CgroupId, double) { return 0; }
};

}  // namespace memgov::sim
