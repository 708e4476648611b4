#include "governor/sim/recorded_world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "governor/sim/run.h"

namespace memgov::sim {
namespace {

using core::CgroupId;
using core::kMiB;
using ::testing::DoubleNear;
using ::testing::SizeIs;

constexpr CgroupId kPod{1}, kHolder{2}, kGrower{3};
constexpr core::ClientId kClient{7};

// A pod with a limit of 400 MiB: one program keeps 200 of its 230 MiB free and gives them back after 10 s,
// the other grows by 20 MiB a second, to 300.
class RecordedWorldTest : public ::testing::Test {
 protected:
  RecordedWorldTest() {
    core::Snapshot snapshot;
    snapshot.appeared = {{.id = kPod, .parent = core::kNodeId, .path = "/pod"},
                         {.id = kHolder, .parent = kPod, .path = "/pod/holder"},
                         {.id = kGrower, .parent = kPod, .path = "/pod/grower"}};
    snapshot.samples = {Sample(core::kNodeId, 900, 4096), Sample(kPod, 230, 400)};
    world_.Take(now_, snapshot, {});
  }
  core::CgroupSample Sample(CgroupId id, Bytes mib, std::optional<Bytes> limit = std::nullopt) const {
    core::CgroupSample sample{.id = id, .taken_at = now_, .usage = mib * kMiB};
    if (limit) sample.limit = *limit * kMiB;
    return sample;
  }
  void Second(int second, std::optional<Bytes> limit = 400) {
    const Bytes kept = second < 10 ? 200 : 0;
    const Bytes grown = std::min(second * 20, 300);
    core::Snapshot snapshot;
    snapshot.samples = {Sample(kPod, 30 + kept + grown, limit), Sample(kHolder, 30 + kept),
                        Sample(kGrower, grown)};
    std::vector<core::ClientEvent> events;
    if (second == 1) {
      core::ClientAttached attached{.client = kClient, .cgroup = kHolder, .pid = 42};
      attached.capabilities = {.release = true, .release_in_chunks = true};
      events.emplace_back(attached);
    }
    events.emplace_back(core::ClientReport{.client = kClient,
                                           .received_at = now_,
                                           .retained = kept * kMiB,
                                           .retained_kind = core::EstimateKind::kExact});
    world_.Take(now_, snapshot, events);
    now_ += std::chrono::seconds(1);
  }

  Instant now_{std::chrono::hours(3)};
  RecordedWorld world_;
};

TEST_F(RecordedWorldTest, NothingRecordedIsNoWorld) {
  EXPECT_FALSE(RecordedWorld().ToScenario().has_value());
  EXPECT_FALSE(world_.ToScenario().has_value()) << "no time has passed";
}

TEST_F(RecordedWorldTest, WhatIsKeptFreeIsNotNeeded) {
  for (int i = 0; i <= 20; ++i) Second(i);
  const auto scenario = world_.ToScenario();
  ASSERT_TRUE(scenario);
  EXPECT_EQ(scenario->seconds, 20);
  EXPECT_EQ(scenario->node_total, 4096 * kMiBf);
  ASSERT_THAT(scenario->services, SizeIs(2));
  const ServicePlan& holder = scenario->services[0];
  EXPECT_EQ(holder.name, "/pod/holder");
  EXPECT_EQ(holder.heap, Heap::kAllocator);
  EXPECT_TRUE(holder.in_chunks);
  EXPECT_EQ(holder.old_retained, 200 * kMiBf);
  for (const double at : {0.0, 5.0, 15.0, 20.0}) EXPECT_THAT(holder.demand.At(at), DoubleNear(30 * kMiBf, 1));
  const ServicePlan& grower = scenario->services[1];
  EXPECT_EQ(grower.manner, Manner::kNone);
  EXPECT_THAT(grower.demand.At(7.5), DoubleNear(150 * kMiBf, 1));
  EXPECT_THAT(grower.demand.At(20), DoubleNear(300 * kMiBf, 1));
}

TEST_F(RecordedWorldTest, ItsKillsAreThoseThatAskingAverts) {
  for (int i = 0; i <= 20; ++i) Second(i);
  const Scenario scenario = *world_.ToScenario();
  const RunResult without = RunScenario(scenario, Arm::kNothing);
  ASSERT_THAT(without.tally.kills, SizeIs(1));
  EXPECT_THAT(SecondsOf(without.tally.kills[0].at - Machine::Zero()), DoubleNear(8.5, 0.1));
  EXPECT_THAT(RunScenario(scenario, Arm::kMemgov).tally.kills, SizeIs(0));
}

TEST_F(RecordedWorldTest, ALimitThatChangesDoesSoAgain) {
  for (int i = 0; i <= 20; ++i) Second(i, i < 12 ? 400 : 350);
  const Scenario scenario = *world_.ToScenario();
  EXPECT_EQ(scenario.cgroups[0].limit, 400 * kMiB);
  ASSERT_THAT(scenario.faults, SizeIs(1));
  EXPECT_EQ(scenario.faults[0].at, 12);
  EXPECT_EQ(scenario.faults[0].bytes, 350 * kMiBf);
}

TEST_F(RecordedWorldTest, WhatVanishesIsChargedNoMore) {
  for (int i = 0; i <= 7; ++i) Second(i);
  core::Snapshot snapshot;
  snapshot.vanished = {kHolder};
  world_.Take(now_, snapshot, {});
  for (int i = 8; i <= 15; ++i) {
    core::Snapshot grown;
    grown.samples = {Sample(kGrower, i * 20)};
    world_.Take(now_, grown, {});
    now_ += std::chrono::seconds(1);
  }
  const RunResult without = RunScenario(*world_.ToScenario(), Arm::kNothing);
  EXPECT_THAT(without.tally.kills, SizeIs(0)) << "with the holder's 230 MiB there would be one at 8.5 s";
}

TEST_F(RecordedWorldTest, WhatComesLaterNeededNothingBefore) {
  for (int i = 0; i <= 10; ++i) Second(i);
  core::Snapshot snapshot;
  snapshot.appeared = {{.id = CgroupId{9}, .parent = kPod, .path = "/pod/late"}};
  snapshot.samples = {Sample(CgroupId{9}, 80)};
  world_.Take(now_, snapshot, {});
  now_ += std::chrono::seconds(5);
  world_.Take(now_, {}, {});
  const Scenario scenario = *world_.ToScenario();
  ASSERT_THAT(scenario.services, SizeIs(3));
  EXPECT_EQ(scenario.services[2].demand.At(10.9), 0);
  EXPECT_EQ(scenario.services[2].demand.At(11), 80 * kMiBf);
}

TEST_F(RecordedWorldTest, PageCacheThatAStatShowsLaterIsNoNeed) {
  for (int i = 0; i <= 10; ++i) Second(i);
  core::Snapshot snapshot;
  snapshot.samples = {Sample(kGrower, 220)};
  snapshot.samples[0].stat = core::MemoryStat{.anon = 110 * kMiB, .inactive_file = 110 * kMiB};
  world_.Take(now_, snapshot, {});
  const ServicePlan plan = world_.ToScenario()->services[1];
  EXPECT_THAT(plan.demand.At(10), DoubleNear(100 * kMiBf, 1)) << "ten elevenths of the cache were there";
  EXPECT_THAT(plan.demand.At(11), DoubleNear(110 * kMiBf, 1));
}

TEST_F(RecordedWorldTest, LazilyFreedMemoryIsTakenOffOnce) {
  Second(0);
  Second(1);
  core::Snapshot snapshot;
  snapshot.samples = {Sample(kHolder, 500)};
  snapshot.samples[0].stat = core::MemoryStat{.anon = 300 * kMiB, .inactive_file = 200 * kMiB};
  const std::vector<core::ClientEvent> events{core::ClientReport{.client = kClient,
                                                                 .received_at = now_,
                                                                 .live = 300 * kMiB,
                                                                 .retained = 200 * kMiB,
                                                                 .retained_kind = core::EstimateKind::kExact,
                                                                 .lazily_freed = 200 * kMiB}};
  world_.Take(now_, snapshot, events);
  EXPECT_THAT(world_.ToScenario()->services[0].demand.At(2), DoubleNear(300 * kMiBf, 1));
}

TEST_F(RecordedWorldTest, WhatACollectionFoundHadDiedBefore) {
  core::Snapshot first;
  first.samples = {Sample(kHolder, 230)};
  core::ClientAttached attached{.client = kClient, .cgroup = kHolder};
  attached.capabilities.collect = true;
  const core::ClientReport report{.client = kClient,
                                  .received_at = now_,
                                  .live = 230 * kMiB,
                                  .retained_kind = core::EstimateKind::kExact};
  world_.Take(now_, first, std::vector<core::ClientEvent>{attached, report});
  now_ += std::chrono::seconds(3);
  const core::ClientOutcome setting{.client = kClient,
                                    .received_at = now_,
                                    .status = core::OutcomeStatus::kDone,
                                    .before = kMiB,
                                    .after = kMiB};
  core::Snapshot second;
  second.samples = {Sample(kHolder, 230)};
  world_.Take(now_, second, std::vector<core::ClientEvent>{setting});
  now_ += std::chrono::seconds(6);
  const core::ClientOutcome outcome{.client = kClient,
                                    .received_at = now_,
                                    .status = core::OutcomeStatus::kDone,
                                    .before = 230 * kMiB,
                                    .after = 30 * kMiB};
  world_.Take(now_, {}, std::vector<core::ClientEvent>{outcome});
  const ServicePlan plan = world_.ToScenario()->services[0];
  EXPECT_EQ(plan.heap, Heap::kCollected);
  EXPECT_EQ(plan.old_retained, 200 * kMiBf);
  for (const double at : {0.0, 2.0, 5.0}) EXPECT_THAT(plan.demand.At(at), DoubleNear(30 * kMiBf, 1));
}

TEST_F(RecordedWorldTest, NamesComeAlong) {
  Second(0);
  core::Snapshot snapshot;
  snapshot.named = {{kGrower, {.pod_namespace = "shop", .pod = "redis-0"}}};
  world_.Take(now_, snapshot, {});
  Second(1);
  EXPECT_EQ(world_.ToScenario()->cgroups[2].names.pod_namespace, "shop");
}

}  // namespace
}  // namespace memgov::sim
