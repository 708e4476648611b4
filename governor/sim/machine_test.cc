// The simulated kernel does what the real one was measured to do.

#include "governor/sim/machine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <utility>

#include "governor/sim/baselines.h"

namespace memgov::sim {
namespace {

using core::CgroupId;

// One slice with a limit; each service has a container of its own.
Scenario WorldOf(std::vector<ServicePlan> services, double limit, bool v2 = true) {
  Scenario scenario{.seconds = 60, .v2 = v2, .starts_full = true};
  scenario.cgroups.push_back({.path = "/slice", .limit = static_cast<Bytes>(limit)});
  for (std::size_t i = 0; i < services.size(); ++i) {
    scenario.cgroups.push_back({.path = "/slice/c" + std::to_string(i), .parent = 0});
    services[i].cgroup = static_cast<int>(i) + 1;
    services[i].name = "s" + std::to_string(i);
  }
  scenario.services = std::move(services);
  return scenario;
}

ServicePlan Grower(double from, double to, double speed) {
  ServicePlan plan;
  plan.demand = Demand::Ramp(from, to, 1, (to - from) / speed);
  return plan;
}

Tally TallyOf(const Scenario& scenario, Governor& governor) {
  Machine machine(scenario, governor);
  machine.Run();
  return machine.tally();
}

// Does one thing at the start, and looks at usage as time goes on.
class Watcher : public Nothing {
 public:
  explicit Watcher(std::function<void(Machine&)> first = nullptr) : first_(std::move(first)) {}
  void Start(Machine& machine) override {
    machine_ = &machine;
    if (first_) first_(machine);
  }
  std::optional<Instant> Due() const override { return next_; }
  void Run(Instant now) override {
    usage.push_back(static_cast<double>(machine_->Read(CgroupId{1}, false).usage));
    next_ = now + Seconds(0.01);
  }
  void OnAlarm(CgroupId) override { alarms.push_back(machine_->now()); }
  std::vector<double> usage;  // of the slice, each 10 ms
  std::vector<Instant> alarms;

 private:
  std::function<void(Machine&)> first_;
  Machine* machine_ = nullptr;
  Instant next_ = Machine::Zero();
};

TEST(Machine, KillsTheLargestInTheDomainWhenNothingCanBeTakenBack) {
  ServicePlan large;
  large.demand = Demand::Steady(600 * kMiBf);
  Nothing nothing;
  const Tally tally =
      TallyOf(WorldOf({large, Grower(100 * kMiBf, 300 * kMiBf, 50 * kMiBf)}, 800 * kMiBf), nothing);
  ASSERT_GE(tally.kills.size(), 1U);
  EXPECT_EQ(tally.kills[0].service, 0);
  EXPECT_NEAR(SecondsOf(tally.kills[0].at - Machine::Zero()), 3, 0.01);
  EXPECT_EQ(tally.kills[0].domain, CgroupId{1});
}

TEST(Machine, TakesPageCacheAndLazilyFreedMemoryOfSiblingsBeforeItKills) {
  ServicePlan reader;
  reader.demand = Demand::Steady(100 * kMiBf);
  reader.file_per_second = 1000 * kMiBf;
  reader.file_most = 100 * kMiBf;
  ServicePlan lazy;
  lazy.heap = Heap::kLazy;
  lazy.keep = 1;
  lazy.demand = Demand({{0, 200 * kMiBf}, {0.5, 100 * kMiBf}});
  Nothing nothing;
  // 100 + 100 live and 200 that can be taken back, and a grower to 450: 650 in all.
  const ServicePlan grower = Grower(10 * kMiBf, 450 * kMiBf, 100 * kMiBf);
  EXPECT_EQ(TallyOf(WorldOf({reader, lazy, grower}, 660 * kMiBf), nothing).kills.size(), 0U);
  EXPECT_GE(TallyOf(WorldOf({reader, lazy, grower}, 640 * kMiBf), nothing).kills.size(), 1U);
}

TEST(Machine, AtItsOwnLimitIsNotSavedByASiblingsLazyPages) {
  ServicePlan lazy;
  lazy.heap = Heap::kLazy;
  lazy.keep = 1;
  lazy.demand = Demand({{0, 200 * kMiBf}, {0.5, 10 * kMiBf}});
  Scenario scenario = WorldOf({lazy, Grower(10 * kMiBf, 150 * kMiBf, 100 * kMiBf)}, 1000 * kMiBf);
  scenario.cgroups[2].limit = 100 * kMiB;
  Nothing nothing;
  const Tally tally = TallyOf(scenario, nothing);
  ASSERT_GE(tally.kills.size(), 1U);
  EXPECT_EQ(tally.kills[0].service, 1);
}

TEST(Machine, BrakesGrowthByTheMeasuredLaw) {
  const double high = 435 * kMiBf;
  Watcher watcher([&](Machine& machine) {
    machine.SetWire({.cgroup = CgroupId{1}, .at = static_cast<Bytes>(high), .brake = true});
  });
  // Unbraked it would be at its limit of 512 MiB 0.8 s after the start of its growth.
  const Tally tally =
      TallyOf(WorldOf({Grower(400 * kMiBf, 2048 * kMiBf, 1000 * kMiBf)}, 512 * kMiBf), watcher);
  EXPECT_TRUE(tally.kills.empty());
  const double crossed = 1 + (high - 400 * kMiBf) / (1000 * kMiBf);
  for (const double after : {1.0, 8.0, 30.0}) {
    const double over = std::cbrt(after * 435.0 * 435.0 / 85.3);
    const double seen = watcher.usage[static_cast<std::size_t>((crossed + after) * 100)] - high;
    EXPECT_NEAR(seen / kMiBf, over, 0.05 * over + 0.5) << after << " s after the crossing";
  }
  ASSERT_FALSE(watcher.alarms.empty());
}

TEST(Machine, LetsABrakedGrowerGoOnSoonAfterTheBrakeIsRaised) {
  class Releaser : public Watcher {
   public:
    using Watcher::Watcher;
    void Start(Machine& machine) override {
      machine_ = &machine;
      Watcher::Start(machine);
    }
    void Run(Instant now) override {
      if (now >= Machine::Zero() + Seconds(10) && !std::exchange(released_, true)) {
        machine_->SetWire({.cgroup = CgroupId{1}, .brake = true});
      }
      Watcher::Run(now);
    }

   private:
    Machine* machine_ = nullptr;
    bool released_ = false;
  };
  Releaser releaser(
      [](Machine& machine) { machine.SetWire({.cgroup = CgroupId{1}, .at = 200 * kMiB, .brake = true}); });
  TallyOf(WorldOf({Grower(100 * kMiBf, 900 * kMiBf, 100 * kMiBf)}, 1000 * kMiBf), releaser);
  EXPECT_LT(releaser.usage[1000], 240 * kMiBf);
  EXPECT_LT(releaser.usage[1003], 240 * kMiBf);
  EXPECT_GT(releaser.usage[1060], 250 * kMiBf);
}

TEST(Machine, RingsTheWireOnV1OnceForEachCrossing) {
  Watcher watcher([](Machine& machine) { machine.SetWire({.cgroup = CgroupId{1}, .at = 200 * kMiB}); });
  Scenario scenario = WorldOf({Grower(100 * kMiBf, 300 * kMiBf, 100 * kMiBf)}, 1000 * kMiBf, false);
  TallyOf(scenario, watcher);
  ASSERT_EQ(watcher.alarms.size(), 1U);
  const double at = SecondsOf(watcher.alarms[0] - Machine::Zero());
  EXPECT_GE(at, 2.0001);
  EXPECT_LE(at, 2.0001 + kWireGranularity / (100 * kMiBf) + kWireDelay.high);
}

TEST(Machine, ThrashesBeforeItKillsWhereOnlyNeededFilePagesAreLeft) {
  ServicePlan reader;
  reader.demand = Demand::Steady(100 * kMiBf);
  reader.needed_file = 64 * kMiBf;
  Nothing nothing;
  const Tally tally =
      TallyOf(WorldOf({reader, Grower(10 * kMiBf, 600 * kMiBf, 80 * kMiBf)}, 400 * kMiBf), nothing);
  // At 80 MiB/s the grower has filled the limit 3.8 s after the start; in the rest of a minute nothing is
  // killed.
  EXPECT_GT(tally.stalled, 15);
  ASSERT_LE(tally.kills.size(), 1U);
  if (!tally.kills.empty()) {
    EXPECT_GT(SecondsOf(tally.kills[0].at - Machine::Zero()), 15);
  }
}

TEST(Machine, KillsAtOnceWhereALimitFallsBelowUsageOnV2AndRefusesOnV1) {
  ServicePlan steady;
  steady.demand = Demand::Steady(300 * kMiBf);
  for (const bool v2 : {true, false}) {
    Scenario scenario = WorldOf({steady}, 1000 * kMiBf, v2);
    scenario.faults.push_back({.at = 5, .kind = Fault::Kind::kSetLimit, .bytes = 200 * kMiBf});
    Nothing nothing;
    const Tally tally = TallyOf(scenario, nothing);
    EXPECT_EQ(tally.kills.empty(), !v2);
    if (v2) {
      EXPECT_NEAR(SecondsOf(tally.kills[0].at - Machine::Zero()), 5, 0.001);
    }
  }
}

TEST(Machine, KeepsTheBooksOfEachCgroupEqualToItsPrograms) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Scenario scenario = DrawScenario(seed);
    Nothing nothing;
    Machine machine(scenario, nothing);
    machine.Run();
    for (std::uint32_t i = 1; i < machine.cgroups().size(); ++i) {
      double sum = 0;
      for (const int service : machine.cgroups()[i].services) sum += machine.Settled(service).usage();
      EXPECT_NEAR(static_cast<double>(machine.Read(CgroupId{i}, false).usage), sum, kMiBf) << seed;
    }
  }
}

TEST(Oracle, SavesWhatAskingCanSave) {
  ServicePlan holder;
  holder.heap = Heap::kAllocator;
  holder.manner = Manner::kHonest;
  holder.demand = Demand::Steady(50 * kMiBf);
  holder.old_retained = 200 * kMiBf;
  const Scenario scenario = WorldOf({holder, Grower(10 * kMiBf, 300 * kMiBf, 100 * kMiBf)}, 400 * kMiBf);
  Nothing nothing;
  EXPECT_EQ(TallyOf(scenario, nothing).kills.size(), 1U);
  Oracle oracle;
  const Tally tally = TallyOf(scenario, oracle);
  EXPECT_EQ(tally.kills.size(), 0U);
  // 550 MiB, all told, do not fit into 400 by 150.
  EXPECT_NEAR(tally.asked, 150 * kMiBf, 5 * kMiBf);
}

}  // namespace
}  // namespace memgov::sim
