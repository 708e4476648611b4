#include "governor/core/world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::seconds;
using testing::At;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Key;

constexpr CgroupId kPod{1}, kA{2}, kB{3};
constexpr ClientId kOne{1}, kTwo{2};

class WorldTest : public ::testing::Test {
 protected:
  WorldTest() {
    world_.SetPolicy(&policy_);
    world_.Apply({.appeared = {{.id = kPod, .parent = kNodeId, .path = "/pod"},
                               {.id = kA, .parent = kPod, .path = "/pod/a"},
                               {.id = kB, .parent = kPod, .path = "/pod/b"}}});
  }

  Policy policy_;
  World world_;
};

TEST_F(WorldTest, TheNodeIsAlwaysThereAndNeverVanishes) {
  world_.Apply({.vanished = {kNodeId}});
  ASSERT_NE(world_.Find(kNodeId), nullptr);
  EXPECT_EQ(world_.Find(kNodeId)->path, "/");
}

TEST_F(WorldTest, TheNodesLimitIsLessTheReserve) {
  policy_.node.reserve = 256 * kMiB;
  world_.Apply({.samples = {{.id = kNodeId, .taken_at = At(seconds(1)), .usage = kGiB, .limit = 4 * kGiB}}});
  EXPECT_EQ(world_.Find(kNodeId)->limit, 4 * kGiB - 256 * kMiB);
  world_.Apply({.samples = {{.id = kNodeId, .taken_at = At(seconds(2)), .limit = 100 * kMiB}}});
  EXPECT_EQ(world_.Find(kNodeId)->limit, 0);
}

TEST_F(WorldTest, AClientCountsInItsCgroupAndInAllAbove) {
  world_.Attach(kOne, kA);
  world_.Attach(kTwo, kPod);
  EXPECT_THAT(world_.Find(kA)->clients, ElementsAre(Key(kOne)));
  EXPECT_THAT(world_.Find(kB)->clients, IsEmpty());
  EXPECT_THAT(world_.Find(kPod)->clients, ElementsAre(Key(kOne), Key(kTwo)));
  EXPECT_THAT(world_.Find(kNodeId)->clients, ElementsAre(Key(kOne), Key(kTwo)));
  world_.Detach(kOne, kA);
  EXPECT_THAT(world_.Find(kA)->clients, IsEmpty());
  EXPECT_THAT(world_.Find(kNodeId)->clients, ElementsAre(Key(kTwo)));
}

TEST_F(WorldTest, ACgroupThatVanishesTakesItsClientsFromThoseAbove) {
  world_.Attach(kOne, kA);
  world_.Attach(kTwo, kB);
  world_.Apply({.vanished = {kA}});
  EXPECT_EQ(world_.Find(kA), nullptr);
  EXPECT_THAT(world_.Find(kPod)->clients, ElementsAre(Key(kTwo)));
  EXPECT_THAT(world_.Find(kNodeId)->clients, ElementsAre(Key(kTwo)));
}

TEST_F(WorldTest, AParentThatVanishesBeforeItsChildLeavesNothingBehind) {
  world_.Attach(kOne, kA);
  world_.Apply({.vanished = {kPod}});
  EXPECT_THAT(world_.Find(kNodeId)->clients, IsEmpty());
  world_.Apply({.vanished = {kA, kB}});
  EXPECT_EQ(world_.cgroups().size(), 1U);
}

TEST_F(WorldTest, AClientOfAnUnknownCgroupCountsNowhere) {
  world_.Attach(kOne, CgroupId{99});
  EXPECT_THAT(world_.Find(kNodeId)->clients, IsEmpty());
}

TEST_F(WorldTest, UnknownParentsAndUnknownSamplesAreIgnored) {
  const auto changes = world_.Apply({.appeared = {{.id = CgroupId{9}, .parent = CgroupId{8}, .path = "/x/y"}},
                                     .samples = {{.id = CgroupId{9}, .taken_at = At(seconds(1))}}});
  EXPECT_EQ(world_.Find(CgroupId{9}), nullptr);
  EXPECT_THAT(changes.sampled, IsEmpty());
}

TEST_F(WorldTest, OneMayComeAndGoWithinOneSnapshot) {
  world_.Apply(
      {.appeared = {{.id = CgroupId{9}, .parent = kNodeId, .path = "/x"}}, .vanished = {CgroupId{9}}});
  EXPECT_EQ(world_.Find(CgroupId{9}), nullptr);
}

TEST_F(WorldTest, OomKillsAreCountedFromTheFirstReadingOn) {
  const auto kills = [this](std::uint64_t count) {
    static int second = 0;
    return world_.Apply({.samples = {{.id = kA, .taken_at = At(seconds(++second)), .oom_kills = count}}})
        .oom_kills;
  };
  EXPECT_THAT(kills(5), IsEmpty());  // from before our time
  EXPECT_THAT(kills(5), IsEmpty());
  const auto two_more = kills(7);
  ASSERT_EQ(two_more.size(), 1U);
  EXPECT_EQ(two_more[0].count, 2U);
}

TEST_F(WorldTest, RulesFollowThePolicy) {
  Policy other{.rules = {Rule{.name = "a", .cgroup = "/pod/a"}, Rule{.name = "all"}}};
  world_.SetPolicy(&other);
  EXPECT_EQ(world_.Find(kA)->rule, &other.rules[0]);
  EXPECT_EQ(world_.Find(kB)->rule, &other.rules[1]);
  EXPECT_EQ(world_.Find(kNodeId)->rule, &other.rules[1]);
}

TEST_F(WorldTest, UsageIsInPercentOfTheLimitOrZeroWithoutOne) {
  EXPECT_EQ(world_.Find(kA)->PressingPercent(), 0);
  world_.Apply({.samples = {{.id = kA, .taken_at = At(seconds(1)), .usage = 30 * kMiB, .limit = 40 * kMiB}}});
  EXPECT_DOUBLE_EQ(world_.Find(kA)->PressingPercent(), 75);
  world_.Apply({.samples = {{.id = kA, .taken_at = At(seconds(2)), .usage = 30 * kMiB, .limit = 0}}});
  EXPECT_EQ(world_.Find(kA)->PressingPercent(), 0);
}

TEST_F(WorldTest, NamesThatComeLaterChangeTheRule) {
  Policy policy{.rules = {Rule{.name = "shop", .names = {.pod_namespace = "shop"}}, Rule{.name = "rest"}}};
  world_.SetPolicy(&policy);
  const auto name = [this](CgroupId id, const WorkloadNames& names) {
    return world_.Apply({.named = {{.id = id, .names = names}}}).governed_anew;
  };
  EXPECT_THAT(name(kA, {.pod_namespace = "shop"}), ElementsAre(kA));
  EXPECT_EQ(world_.Find(kA)->rule, &policy.rules[0]);
  EXPECT_EQ(world_.Find(kB)->rule, &policy.rules[1]);
  EXPECT_THAT(name(kA, {.pod_namespace = "shop", .pod = "web"}), IsEmpty()) << "the same rule";
  EXPECT_THAT(name(kB, {.pod_namespace = "bank"}), IsEmpty());
  EXPECT_THAT(name(CgroupId{99}, {.pod_namespace = "shop"}), IsEmpty()) << "nobody knows it";

  Policy other{.rules = {Rule{.name = "web", .names = {.pod = "web"}}}};
  world_.SetPolicy(&other);
  EXPECT_EQ(world_.Find(kA)->rule->name, "web") << "names outlive a policy";
}

TEST_F(WorldTest, ACgroupMayComeWithItsNamesOrGoAsTheyCome) {
  Policy policy{.rules = {Rule{.name = "shop", .names = {.pod_namespace = "shop"}}}};
  world_.SetPolicy(&policy);
  constexpr CgroupId kC{4}, kD{5};
  const World::Changes changes = world_.Apply(
      {.appeared = {{.id = kC, .parent = kPod, .path = "/pod/c", .names = {.pod_namespace = "shop"}},
                    {.id = kD, .parent = kPod, .path = "/pod/d"}},
       .named = {{.id = kD, .names = {.pod_namespace = "shop"}}},
       .vanished = {kD}});
  EXPECT_EQ(world_.Find(kC)->rule->name, "shop");
  EXPECT_THAT(changes.governed_anew, IsEmpty());
}

}  // namespace
}  // namespace memgov::core
