// memgov on the simulated node: the real engine, and the daemon's part (wait, sample, tick, dispatch) in
// numbers.

#pragma once

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "governor/core/engine.h"
#include "governor/sim/governor.h"
#include "governor/sim/rhythm.h"

namespace memgov::sim {

class MemgovArm : public Governor {
 public:
  // Sees every tick: for checks, records and measurements.
  using Observer = std::function<void(Instant, const core::Snapshot&, std::span<const core::ClientEvent>,
                                      const core::Decisions&)>;

  explicit MemgovArm(core::Policy policy, Observer observer = nullptr);

  // The built-in default rule, in enforce mode for every cgroup.
  static core::Policy DefaultPolicy();

  std::string_view name() const override { return "memgov"; }
  void Start(Machine& machine) override;
  std::optional<Instant> Due() const override;
  void Run(Instant now) override;
  void OnAppeared(core::CgroupId id) override;
  void OnVanished(core::CgroupId id) override;
  void OnAlarm(core::CgroupId id) override;
  void OnLimitChanged(core::CgroupId id) override;
  void OnClient(const core::ClientEvent& event) override;
  void OnReclaimed(const core::ReclaimOutcome& outcome) override;
  void OnKill(const core::KilledProcess& victim) override;

  std::uint64_t ticks() const { return ticks_; }

 private:
  void Wake();
  core::Snapshot Sample(Instant now);
  void Dispatch(const core::Decisions& decisions);
  void Tell(const core::Decisions& decisions) const;

  core::Engine engine_;
  Observer observer_;
  Machine* machine_ = nullptr;
  Rhythm rhythm_;
  std::vector<core::ClientEvent> events_;
  core::Snapshot early_;
  std::set<core::CgroupId> read_now_;
  Instant next_node_, ran_at_;
  std::optional<Instant> engine_next_;
  bool awake_ = true;
  std::uint64_t ticks_ = 0;
};

}  // namespace memgov::sim
