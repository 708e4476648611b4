// Who is asked for how much, when, and what is said about it. Each test is a small story on one node.

#include "governor/core/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::kCollects;
using testing::kReleases;
using testing::Node;
using ::testing::SizeIs;

constexpr NoteKind kAsked = NoteKind::kAsked;

// A pod with a limit of 3000 MiB (wakes at 2550, relaxes at 2400) and tenants in it.
class EngineTest : public ::testing::Test {
 protected:
  explicit EngineTest(Policy policy = testing::Enforcing()) : node_(std::move(policy)) {
    pod_ = node_.Add("/pod", 3000 * kMiB);
  }

  // A tenant that is charged with 400 MiB, of which it says it could give `retained`.
  ClientId Tenant(const std::string& name, Bytes retained, const Capabilities& can = kReleases,
                  EstimateKind kind = EstimateKind::kExact) {
    const CgroupId cgroup = node_.Add("/pod/" + name);
    node_.Charge(cgroup, 400 * kMiB);
    const ClientId client = node_.Attach(cgroup, can);
    node_.Report(client, retained, kind);
    cgroups_[client] = cgroup;
    return client;
  }
  // Whatever else is in the pod brings its usage there.
  void Fill(Bytes usage) { node_.SetUsage(pod_, usage); }
  Decisions TickAfter(Duration time) {
    node_.Pass(time);
    return node_.Tick();
  }
  std::vector<std::string> Asked(const Decisions& decisions) { return node_.Lines(decisions, {kAsked}); }

  Node node_;
  CgroupId pod_{};
  std::map<ClientId, CgroupId> cgroups_;
};

TEST_F(EngineTest, At84Point9PercentItSleepsAt85ItWakes) {
  Fill(2547 * kMiB);
  EXPECT_THAT(node_.Lines(node_.Tick()), IsEmpty());
  Fill(2550 * kMiB);
  EXPECT_THAT(node_.Lines(TickAfter(seconds(10))),
              ElementsAre("woke /pod", "withheld /pod 150.0 MiB: no client that could give memory"));
}

TEST_F(EngineTest, OfThreeTenantsWith270MiBTheTwoLargestAreAskedFor461) {
  Tenant("a", 270 * kMiB);
  Tenant("b", 272 * kMiB);
  Tenant("c", 271 * kMiB);
  Fill(2861 * kMiB);
  const Decisions decisions = node_.Tick();
  EXPECT_THAT(node_.Lines(decisions),
              ElementsAre("critical /pod", "asked c2 release 272.0 MiB", "asked c3 release 189.0 MiB"));
  ASSERT_THAT(decisions.directives, SizeIs(2));
  const Directive& first = decisions.directives[0];
  EXPECT_EQ(first.client, ClientId{2});
  EXPECT_EQ(first.domain, pod_);
  EXPECT_EQ(first.level, Level::kCritical);
  EXPECT_EQ(first.deadline, seconds(2));
  EXPECT_EQ(first.ttl, seconds(30));
  EXPECT_EQ(std::get<Release>(first.action).longest_stall, milliseconds(100));
  EXPECT_EQ(first.reason.rule, "test");
  EXPECT_EQ(first.reason.threshold, 95);
}

TEST_F(EngineTest, GrowthUntilTheNextAskingIsAskedForToo) {
  Tenant("a", 390 * kMiB);
  Fill(2400 * kMiB);
  for (int i = 0; i < 15; ++i) {
    TickAfter(milliseconds(100));
    Fill(node_.usage(pod_) + 10 * kMiB);  // 100 MiB/s
  }
  const Decisions decisions = TickAfter(milliseconds(100));
  ASSERT_THAT(decisions.directives, SizeIs(1));
  EXPECT_GT(std::get<Release>(decisions.directives[0].action).bytes, 380 * kMiB);  // 150 alone is over 80 %
}

TEST_F(EngineTest, WhatIsOnItsWayIsNotAskedForAgain) {
  Tenant("a", 390 * kMiB);
  Tenant("b", 390 * kMiB);
  Fill(2600 * kMiB);
  EXPECT_THAT(Asked(node_.Tick()), ElementsAre("asked c1 release 200.0 MiB"));
  EXPECT_THAT(Asked(TickAfter(milliseconds(10))), IsEmpty());
}

TEST_F(EngineTest, AReturnIsSeenInTheCgroupAndEndsTheNeed) {
  Tenant("a", 390 * kMiB);
  Fill(2600 * kMiB);
  const Decisions asked = node_.Tick();
  node_.Pass(milliseconds(80));
  node_.Deliver(asked.directives.at(0), 201 * kMiB);
  EXPECT_THAT(node_.Lines(node_.Tick()), ElementsAre("returned c1 release 201.0 MiB", "relaxed /pod"));
}

TEST_F(EngineTest, AfterAReturnTheDomainIsReadAgainBeforeAnyoneElseIsAsked) {
  const ClientId a = Tenant("a", 390 * kMiB);
  Tenant("b", 390 * kMiB);
  Fill(2600 * kMiB);
  const Decisions asked = node_.Tick();
  node_.Pass(milliseconds(3));
  node_.Deliver(asked.directives.at(0), 201 * kMiB);
  // Only the client's cgroup is read at first: the pod's last reading still shows 2600 MiB.
  const Decisions decisions = node_.Tick({cgroups_[a]});
  EXPECT_THAT(decisions.read_now, ElementsAre(pod_));
  EXPECT_THAT(node_.Lines(decisions), ElementsAre("returned c1 release 201.0 MiB", "relaxed /pod"));
}

TEST_F(EngineTest, NobodyIsAskedAgainWithinTheCooldown) {
  Tenant("a", 390 * kMiB);
  Fill(2800 * kMiB);
  const Decisions asked = node_.Tick();
  node_.Pass(milliseconds(80));
  node_.Deliver(asked.directives.at(0), 300 * kMiB);
  Fill(2800 * kMiB);
  const Decisions closed = node_.Tick();
  EXPECT_THAT(
      node_.Lines(closed, {NoteKind::kWithheld}),
      ElementsAre("withheld /pod 400.0 MiB: nobody to ask now: 1 cooling down, 0 hold nothing, 0 cannot "
                  "be read"));
  // It took 80 ms of the client's time; that may be a twentieth of the whole.
  EXPECT_EQ(closed.next_tick, node_.now() + milliseconds(1600));
  EXPECT_THAT(Asked(TickAfter(milliseconds(1599))), IsEmpty());
  EXPECT_THAT(Asked(TickAfter(milliseconds(1))), SizeIs(1));
}

TEST_F(EngineTest, AWithheldNeedIsSaidOnceInAnEpisode) {
  Fill(2800 * kMiB);
  EXPECT_THAT(node_.Lines(node_.Tick(), {NoteKind::kWithheld}), SizeIs(1));
  for (int i = 0; i < 20; ++i) {
    Fill((2800 + i) * kMiB);
    EXPECT_THAT(node_.Lines(TickAfter(milliseconds(100))), IsEmpty());
  }
  Fill(1000 * kMiB);
  TickAfter(seconds(10));
  Fill(2800 * kMiB);
  EXPECT_THAT(node_.Lines(TickAfter(seconds(10)), {NoteKind::kWithheld}), SizeIs(1));
}

TEST_F(EngineTest, TheProtectWeightOfARuleSparesItsClients) {
  node_.engine().SetPolicy(
      {.rules = {Rule{.name = "precious", .cgroup = "/pod/a", .mode = Mode::kEnforce, .protect_weight = 2},
                 Rule{.name = "rest", .mode = Mode::kEnforce}}});
  Tenant("a", 390 * kMiB);
  Tenant("b", 200 * kMiB);
  Fill(2560 * kMiB);
  EXPECT_THAT(Asked(node_.Tick()), ElementsAre("asked c2 release 160.0 MiB"));
}

TEST_F(EngineTest, ClientsOutsideOfTheDomainAreNotAsked) {
  const CgroupId other = node_.Add("/other");
  node_.Report(node_.Attach(other), kGiB);
  Fill(2600 * kMiB);
  EXPECT_THAT(Asked(node_.Tick()), IsEmpty());
}

TEST_F(EngineTest, OfTwoNestedDomainsInNeedNobodyIsAskedTwice) {
  const CgroupId inner = node_.Add("/pod/inner", 1000 * kMiB);
  node_.SetUsage(inner, 900 * kMiB);  // needs 100
  const ClientId in_both = node_.Attach(inner);
  node_.Report(in_both, 500 * kMiB);
  Tenant("b", 390 * kMiB);
  Fill(2650 * kMiB);  // needs 250: 150 beyond what the inner one is asked for
  const Decisions decisions = node_.Tick();
  EXPECT_THAT(Asked(decisions), ElementsAre("asked c1 release 100.0 MiB", "asked c2 release 150.0 MiB"));
  EXPECT_EQ(decisions.directives.at(0).domain, inner);
  EXPECT_EQ(decisions.directives.at(1).domain, pod_);
}

TEST_F(EngineTest, TheNodeIsADomainLessItsReserve) {
  const ClientId client = node_.Attach(kNodeId);
  node_.Report(client, kGiB);
  Snapshot snapshot;
  snapshot.samples.push_back(
      {.id = kNodeId, .taken_at = node_.now(), .usage = 3500 * kMiB, .limit = 4 * kGiB});
  const std::vector<ClientEvent> events = {
      ClientAttached{.client = client, .cgroup = kNodeId, .capabilities = kReleases},
      ClientReport{.client = client,
                   .received_at = node_.now(),
                   .retained = kGiB,
                   .retained_kind = EstimateKind::kExact}};
  const Decisions decisions = node_.engine().Tick(node_.now(), snapshot, events);
  EXPECT_THAT(node_.Lines(decisions), ElementsAre("woke /", "asked c1 release 428.0 MiB"));
  EXPECT_THAT(decisions.wires, IsEmpty());
}

TEST_F(EngineTest, ACollectThatWorkedIsFollowedByASoftLimitFromALaterReport) {
  const ClientId go = Tenant("go", 390 * kMiB, kCollects);
  Fill(2600 * kMiB);
  const Decisions asked = node_.Tick();
  ASSERT_THAT(Asked(asked), ElementsAre("asked c1 collect 390.0 MiB"));
  node_.Pass(milliseconds(50));
  node_.Report(go, 390 * kMiB, EstimateKind::kExact, 390 * kMiB);  // from before the collection
  node_.Pass(milliseconds(50));
  node_.Deliver(asked.directives[0], 300 * kMiB);
  EXPECT_THAT(Asked(node_.Tick()), IsEmpty());
  node_.Pass(milliseconds(50));
  node_.Report(go, 0, EstimateKind::kExact, 100 * kMiB);
  const Decisions limited = node_.Tick();
  ASSERT_THAT(Asked(limited), ElementsAre("asked c1 set_soft_limit 146.0 MiB"));
  EXPECT_EQ(std::get<SetSoftLimit>(limited.directives[0].action).bytes, 146 * kMiB);  // 1.3 x live + 16
  EXPECT_EQ(limited.directives[0].reason.threshold, 85);
  node_.Report(go, 0, EstimateKind::kExact, 100 * kMiB);
  EXPECT_THAT(Asked(node_.Tick()), IsEmpty());
}

TEST_F(EngineTest, WhileANeedLastsClientsReleaseEagerly) {
  Capabilities can = kReleases;
  can.set_release_mode = true;
  Tenant("a", 390 * kMiB, can);
  Fill(2600 * kMiB);
  EXPECT_THAT(Asked(node_.Tick()),
              ElementsAre("asked c1 release 200.0 MiB", "asked c1 set_release_mode: eager"));
  EXPECT_THAT(Asked(TickAfter(seconds(1))), IsEmpty());
  EXPECT_THAT(Asked(TickAfter(seconds(14))),
              ::testing::Contains("asked c1 set_release_mode: eager"));  // half the TTL
}

TEST_F(EngineTest, OneThatStartedEagerNeedsNoTelling) {
  const CgroupId cgroup = node_.Add("/pod/a");
  const ClientId client{9};
  node_.Say(ClientAttached{.client = client,
                           .cgroup = cgroup,
                           .capabilities = {.set_release_mode = true},
                           .startup_release_mode = ReleaseMode::kEager});
  node_.Report(client, 0);
  Fill(2600 * kMiB);
  EXPECT_THAT(Asked(node_.Tick()), IsEmpty());
}

TEST_F(EngineTest, TheLadderIsClimbedARungForEachAskingInVain) {
  Tenant("a", 390 * kMiB, {.release = true, .shed = true});
  Fill(2800 * kMiB);
  const Decisions first = node_.Tick();
  ASSERT_THAT(Asked(first), ElementsAre("asked c1 release 390.0 MiB"));
  node_.Pass(milliseconds(50));
  node_.Answer(first.directives[0], 390 * kMiB);  // nothing came
  node_.Tick();
  EXPECT_THAT(Asked(TickAfter(milliseconds(1999))), IsEmpty());
  EXPECT_THAT(Asked(TickAfter(milliseconds(1))), ElementsAre("asked c1 shed 400.0 MiB"));
}

TEST_F(EngineTest, WhoHoldsNothingFreeIsAskedForItsCaches) {
  Tenant("a", 0, {.release = true, .shed = true});
  Tenant("b", 100 * kMiB);
  Fill(2600 * kMiB);
  EXPECT_THAT(Asked(node_.Tick()), ElementsAre("asked c2 release 100.0 MiB", "asked c1 shed 100.0 MiB"));
}

TEST_F(EngineTest, ARungThatThePolicyLeavesOutIsNotClimbed) {
  node_.engine().SetPolicy(
      testing::PolicyOf({.name = "test", .mode = Mode::kEnforce, .actions = {ActionKind::kRelease}}));
  Tenant("a", 390 * kMiB, {.set_release_mode = true, .collect = true, .shed = true});
  Fill(2600 * kMiB);
  EXPECT_THAT(node_.Lines(node_.Tick()),
              ElementsAre("woke /pod", "withheld /pod 200.0 MiB: no client that could give memory"));
}

TEST_F(EngineTest, AnOomKillIsRecorded) {
  Fill(1000 * kMiB);
  node_.Tick();
  node_.Kill(pod_);
  EXPECT_THAT(node_.Lines(TickAfter(seconds(1))), IsEmpty());  // the kernel's log may still name the victim
  EXPECT_THAT(node_.Lines(TickAfter(OomKills::kGrace)), ElementsAre("oom_kill /pod: 1 OOM kill in /pod"));
  EXPECT_THAT(node_.Lines(TickAfter(OomKills::kGrace)), IsEmpty());
}

class ObserveTest : public EngineTest {
 protected:
  ObserveTest() : EngineTest(testing::Observing()) {}
};

TEST_F(ObserveTest, ItSaysWhatItWouldAskAndSendsNothing) {
  Tenant("a", 390 * kMiB);
  Tenant("b", 380 * kMiB);
  Fill(2600 * kMiB);
  const Decisions decisions = node_.Tick();
  EXPECT_THAT(node_.Lines(decisions), ElementsAre("woke /pod", "would_ask c1 release 200.0 MiB"));
  EXPECT_THAT(decisions.directives, IsEmpty());
  EXPECT_THAT(decisions.wires, IsEmpty());
}

TEST_F(ObserveTest, ItKeepsThePaceThatEnforcingWouldHave) {
  Tenant("a", 390 * kMiB);
  Tenant("b", 380 * kMiB);
  Fill(2600 * kMiB);
  node_.Tick();
  EXPECT_THAT(node_.Lines(TickAfter(milliseconds(4999))), IsEmpty());
  EXPECT_THAT(node_.Lines(TickAfter(milliseconds(1))), ElementsAre("would_ask c1 release 200.0 MiB"));
}

TEST_F(ObserveTest, WhatWasPretendedHoldsUpNothingOnceThePolicyEnforces) {
  Capabilities can = kReleases;
  can.set_release_mode = true;
  Tenant("a", 390 * kMiB, can);
  Fill(2600 * kMiB);
  node_.Tick();
  node_.engine().SetPolicy(testing::Enforcing());
  EXPECT_THAT(Asked(TickAfter(milliseconds(10))),
              ElementsAre("asked c1 release 200.0 MiB", "asked c1 set_release_mode: eager"));
}

TEST_F(EngineTest, AClientThatARuleOnlyObservesTakesNoShareFromTheOthers) {
  node_.engine().SetPolicy(
      {.rules = {Rule{.name = "watched", .cgroup = "/pod/a"}, Rule{.name = "rest", .mode = Mode::kEnforce}}});
  Tenant("a", 399 * kMiB);
  Tenant("b", 150 * kMiB);
  Fill(2600 * kMiB);
  const Decisions decisions = node_.Tick();
  EXPECT_THAT(node_.Lines(decisions),
              ElementsAre("woke /pod", "asked c2 release 150.0 MiB", "would_ask c1 release 50.0 MiB"));
  EXPECT_THAT(decisions.directives, SizeIs(1));
}

}  // namespace
}  // namespace memgov::core
