// Wires, brakes and cadences: what the engine wants from the kernel, and that it lets go.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::Node;
using ::testing::SizeIs;

constexpr Bytes kLimit = 1000 * kMiB;

std::vector<std::optional<Bytes>> WiresOf(const Decisions& decisions) {
  std::vector<std::optional<Bytes>> wires;
  for (const SetWire& wire : decisions.wires) wires.push_back(wire.at);
  return wires;
}

// v1: a pod without a brake.
class WireTest : public ::testing::Test {
 protected:
  Decisions At(Bytes usage, Duration after = seconds(10)) {
    node_.Pass(after);
    node_.SetUsage(pod_, usage);
    return node_.Tick();
  }

  Node node_;
  CgroupId pod_ = node_.Add("/pod", kLimit);
};

TEST_F(WireTest, TheAlarmStandsAtTheWakeThresholdFromTheFirstReadingOn) {
  const Decisions decisions = At(100 * kMiB);
  EXPECT_THAT(WiresOf(decisions), ElementsAre(850 * kMiB));
  EXPECT_FALSE(decisions.wires[0].brake);
  EXPECT_THAT(WiresOf(At(900 * kMiB)), IsEmpty());  // it stays where it is
}

// The next regular reading may be a second away, and a second is enough to fill the rest.
TEST(Arming, WhoeverAttachesHasTheBrakeArmedAtOnce) {
  Node node;
  const CgroupId pod = node.Add("/pod", kLimit, true);
  const CgroupId tenant = node.Add("/pod/a");
  node.Charge(tenant, 500 * kMiB);
  EXPECT_THAT(WiresOf(node.Tick()), IsEmpty()) << "nobody could help";
  node.Pass(milliseconds(300));
  node.Attach(tenant, testing::kReleases);
  const Decisions decisions = node.Tick(std::vector<CgroupId>{});  // no regular reading is due
  ASSERT_THAT(WiresOf(decisions), SizeIs(1));
  EXPECT_EQ(decisions.wires[0].cgroup, pod);
  EXPECT_TRUE(decisions.wires[0].brake);
}

TEST_F(WireTest, ItIsNeverArmedBelowUsage) {
  EXPECT_THAT(WiresOf(At(850 * kMiB)), IsEmpty());
  EXPECT_THAT(WiresOf(At(829 * kMiB)), ElementsAre(850 * kMiB));
}

// The kernel compares usage: at the threshold it would ring while that is not yet reached by what is
// pressing, and then no more.
TEST_F(WireTest, ItStandsAboveTheThresholdByThePageCache) {
  const auto cache = [&](Bytes inactive_file) {
    node_.SetStat(pod_, {.inactive_file = inactive_file}, true);
    return WiresOf(At(100 * kMiB));
  };
  EXPECT_THAT(cache(3 * kMiB), ElementsAre(853 * kMiB));
  EXPECT_THAT(cache(kMiB), IsEmpty()) << "arming is dear";
  EXPECT_THAT(cache(4 * kMiB), ElementsAre(854 * kMiB)) << "too early it would ring in vain";
  EXPECT_THAT(cache(9 * kMiB), ElementsAre(859 * kMiB));
  EXPECT_THAT(cache(90 * kMiB), ElementsAre(870 * kMiB))
      << "cache that may go at any time moves it no further";
  EXPECT_THAT(cache(0), ElementsAre(850 * kMiB));
}

TEST_F(WireTest, ItFollowsTheLimitAndIsTakenAwayWithIt) {
  At(100 * kMiB);
  node_.SetLimit(pod_, 2 * kLimit);
  EXPECT_THAT(WiresOf(At(100 * kMiB)), ElementsAre(1700 * kMiB));
  node_.SetLimit(pod_, 110 * kMiB);  // its wire would be below usage
  EXPECT_THAT(WiresOf(At(100 * kMiB)), ElementsAre(std::nullopt));
  EXPECT_THAT(WiresOf(At(90 * kMiB)), ElementsAre(110 * kMiB * 85 / 100));
  node_.SetLimit(pod_, std::nullopt);
  EXPECT_THAT(WiresOf(At(90 * kMiB)), ElementsAre(std::nullopt));
}

TEST_F(WireTest, ObserveModeSetsNoneAndTakesThemAwayWithTheNextTick) {
  At(100 * kMiB);
  node_.engine().SetPolicy(testing::Observing());
  EXPECT_THAT(WiresOf(node_.Tick({})), ElementsAre(std::nullopt));
  EXPECT_THAT(WiresOf(At(100 * kMiB)), IsEmpty());
  node_.engine().SetPolicy(testing::Enforcing());
  EXPECT_THAT(WiresOf(node_.Tick({})), ElementsAre(850 * kMiB));
}

TEST_F(WireTest, ADomainInNeedIsReadOftenAndThenLessOften) {
  At(100 * kMiB);
  const Decisions woke = At(900 * kMiB);
  ASSERT_THAT(woke.cadences, SizeIs(1));
  EXPECT_EQ(woke.cadences[0].usage_every, milliseconds(10));
  EXPECT_THAT(At(900 * kMiB, milliseconds(1999)).cadences, IsEmpty());
  const Decisions later = At(900 * kMiB, milliseconds(1));
  ASSERT_THAT(later.cadences, SizeIs(1));
  EXPECT_EQ(later.cadences[0].usage_every, milliseconds(100));
  EXPECT_EQ(At(100 * kMiB).cadences.at(0).usage_every, seconds(1));
}

TEST_F(WireTest, ACgroupWithARequestInFlightIsReadOften) {
  const CgroupId tenant = node_.Add("/pod/a");
  node_.SetUsage(tenant, 300 * kMiB);
  const ClientId client = node_.Attach(tenant);
  node_.Report(client, 200 * kMiB);
  const Decisions asked = At(900 * kMiB);
  const auto of_tenant = [tenant](const Decisions& decisions) {
    std::vector<Duration> every;
    for (const SetCadence& c : decisions.cadences) {
      if (c.cgroup == tenant) every.push_back(c.usage_every);
    }
    return every;
  };
  EXPECT_THAT(of_tenant(asked), ElementsAre(Duration(milliseconds(10))));
  node_.Deliver(asked.directives.at(0), 100 * kMiB);
  EXPECT_THAT(of_tenant(node_.Tick()), ElementsAre(Duration(seconds(1))));
}

// v2: a pod with a brake, and a client that can give 300 MiB.
class EngineBrakeTest : public WireTest {
 protected:
  EngineBrakeTest() {
    braked_ = node_.Add("/braked", kLimit, true);
    client_ = node_.Attach(braked_);
    node_.Report(client_, 300 * kMiB);
  }
  Decisions BrakedAt(Bytes usage, Duration after = seconds(10)) {
    node_.Pass(after);
    node_.SetUsage(braked_, usage);
    return node_.Tick({braked_});
  }
  std::vector<std::string> Brakes(const Decisions& decisions) {
    return node_.Lines(decisions, {NoteKind::kBrakeArmed, NoteKind::kBraking, NoteKind::kBrakeReleased});
  }

  CgroupId braked_{};
  ClientId client_{};
};

TEST_F(EngineBrakeTest, ItIsArmedWhereAClientCanGive) {
  const Decisions decisions = BrakedAt(100 * kMiB);
  ASSERT_THAT(decisions.wires, SizeIs(1));
  EXPECT_TRUE(decisions.wires[0].brake);
  EXPECT_EQ(decisions.wires[0].at, 851 * kMiB);
  EXPECT_THAT(Brakes(decisions), ElementsAre("brake_armed /braked 851.0 MiB: armed above usage"));
  EXPECT_EQ(decisions.notes[0].reason.rule, "test");
  EXPECT_DOUBLE_EQ(decisions.notes[0].reason.observed, 10);
  EXPECT_DOUBLE_EQ(decisions.notes[0].reason.threshold, 85);
}

TEST_F(EngineBrakeTest, WithoutAClientThereIsNoBrakeAndAClientThatLeavesTakesItAway) {
  BrakedAt(100 * kMiB);
  node_.Detach(client_);
  EXPECT_THAT(Brakes(BrakedAt(100 * kMiB)),
              ElementsAre("brake_released /braked: nobody can be asked here any more"));
  EXPECT_THAT(Brakes(BrakedAt(100 * kMiB)), IsEmpty());
}

TEST_F(EngineBrakeTest, UsageHeldAtTheBrakeIsANeedAndAnEpisodeUntilItRelaxes) {
  BrakedAt(100 * kMiB);
  const Decisions asked = BrakedAt(850 * kMiB);
  EXPECT_THAT(node_.Lines(asked), ElementsAre("woke /braked", "asked c1 release 50.0 MiB",
                                              "braking /braked 851.0 MiB: usage reached the brake"));
  node_.Pass(milliseconds(50));
  node_.Deliver(asked.directives.at(0), 51 * kMiB);
  EXPECT_THAT(node_.Lines(node_.Tick({braked_})),
              ElementsAre("returned c1 release 51.0 MiB", "relaxed /braked",
                          "brake_armed /braked 851.0 MiB: usage has relaxed"));
}

TEST_F(EngineBrakeTest, WhenTheClientsHaveGivenAndItStillGrowsTheBrakeIsLetGo) {
  BrakedAt(100 * kMiB);
  const Decisions asked = BrakedAt(860 * kMiB);
  node_.Pass(milliseconds(50));
  node_.Deliver(asked.directives.at(0), 20 * kMiB);
  node_.SetUsage(braked_, 861 * kMiB);
  const Decisions closed = node_.Tick({braked_});
  EXPECT_THAT(node_.Lines(closed, {NoteKind::kWithheld}), SizeIs(1));
  EXPECT_THAT(Brakes(BrakedAt(862 * kMiB, milliseconds(190))), IsEmpty());
  EXPECT_THAT(node_.Lines(BrakedAt(863 * kMiB, milliseconds(60))),
              ElementsAre("brake_released /braked: no help is coming"));
  EXPECT_THAT(Brakes(BrakedAt(864 * kMiB, seconds(60))), IsEmpty());
}

TEST_F(EngineBrakeTest, AnEpisodeEndsInTimeEvenWhenNoReadingComes) {
  Rule rule{.name = "test", .mode = Mode::kEnforce};
  rule.brake.longest = seconds(1);
  node_.engine().SetPolicy(testing::PolicyOf(rule));
  BrakedAt(100 * kMiB);
  const Decisions braking = BrakedAt(860 * kMiB);
  ASSERT_LE(*braking.next_tick, node_.now() + seconds(1));
  node_.Pass(seconds(1));
  const Decisions ended = node_.Tick({});
  EXPECT_THAT(Brakes(ended), ElementsAre("brake_released /braked: the longest episode is over"));
  EXPECT_EQ(node_.memory_high(braked_), std::nullopt);
}

TEST_F(EngineBrakeTest, APolicyThatOnlyObservesLetsGoWithTheNextTick) {
  BrakedAt(100 * kMiB);
  BrakedAt(860 * kMiB);
  node_.engine().SetPolicy(testing::Observing());
  EXPECT_THAT(Brakes(node_.Tick({})), SizeIs(1));
  EXPECT_EQ(node_.memory_high(braked_), std::nullopt);
}

TEST_F(EngineBrakeTest, APolicyWithoutBrakesLetsGo) {
  BrakedAt(100 * kMiB);
  Rule rule{.name = "test", .mode = Mode::kEnforce};
  rule.brake.enabled = false;
  node_.engine().SetPolicy(testing::PolicyOf(rule));
  node_.Tick({});
  EXPECT_EQ(node_.memory_high(braked_), std::nullopt);
}

TEST_F(EngineBrakeTest, ALimitThatVanishesLetsGo) {
  BrakedAt(100 * kMiB);
  BrakedAt(860 * kMiB);
  node_.SetLimit(braked_, std::nullopt);
  EXPECT_THAT(Brakes(BrakedAt(860 * kMiB)), SizeIs(1));
  EXPECT_EQ(node_.memory_high(braked_), std::nullopt);
}

TEST_F(EngineBrakeTest, ACgroupThatVanishesWhileBrakingIsForgotten) {
  BrakedAt(100 * kMiB);
  BrakedAt(860 * kMiB);
  node_.Remove(braked_);
  node_.Pass(seconds(60));
  EXPECT_THAT(Brakes(node_.Tick()), IsEmpty());
}

TEST_F(EngineBrakeTest, ObserveModeNeverBrakes) {
  node_.engine().SetPolicy(testing::Observing());
  EXPECT_THAT(BrakedAt(100 * kMiB).wires, IsEmpty());
  EXPECT_THAT(BrakedAt(900 * kMiB).wires, IsEmpty());
}

}  // namespace
}  // namespace memgov::core
