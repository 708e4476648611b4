// Clients that lie, hang, die and cannot tell; cgroups that vanish, limits that go and come back.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::kReleases;
using testing::Node;
using ::testing::SizeIs;

// A pod with a limit of 3000 MiB (wakes at 2550, relaxes at 2400), usage 2600, two tenants of 400 MiB.
class FaultsTest : public ::testing::Test {
 protected:
  FaultsTest() {
    pod_ = node_.Add("/pod", 3000 * kMiB);
    a_ = node_.Add("/pod/a");
    b_ = node_.Add("/pod/b");
    for (const CgroupId id : {a_, b_}) node_.SetUsage(id, 400 * kMiB);
    node_.SetUsage(pod_, 2600 * kMiB);
  }

  ClientId Tenant(CgroupId cgroup, Bytes retained, EstimateKind kind = EstimateKind::kExact) {
    const ClientId client = node_.Attach(cgroup);
    node_.Report(client, retained, kind);
    return client;
  }
  Decisions TickAfter(Duration time) {
    node_.Pass(time);
    return node_.Tick();
  }
  std::vector<std::string> LinesAfter(Duration time) { return node_.Lines(TickAfter(time)); }

  Node node_;
  CgroupId pod_{}, a_{}, b_{};
};

TEST_F(FaultsTest, WhoeverClaimsMoreThanItsCgroupHoldsIsNotCountedOnForMore) {
  Tenant(a_, std::numeric_limits<Bytes>::max());
  Tenant(b_, 300 * kMiB);
  node_.SetUsage(pod_, 2900 * kMiB);
  EXPECT_THAT(node_.Lines(node_.Tick(), {NoteKind::kAsked}),
              ElementsAre("asked c1 release 400.0 MiB", "asked c2 release 100.0 MiB"));
}

TEST_F(FaultsTest, ALiarIsFoundOutAndTheOthersAreAskedAtOnce) {
  Tenant(a_, 390 * kMiB);
  Tenant(b_, 300 * kMiB);
  const Decisions asked = node_.Tick();
  node_.Pass(milliseconds(20));
  node_.Answer(asked.directives.at(0), 200 * kMiB);  // nothing has left
  EXPECT_THAT(node_.Lines(node_.Tick()), ElementsAre("returned c1 release", "asked c2 release 200.0 MiB"));
  EXPECT_THAT(LinesAfter(milliseconds(999)), ::testing::Not(Contains("asked c1 release 200.0 MiB")));
}

TEST_F(FaultsTest, AfterHalfASecondOfSilenceTheOthersAreAsked) {
  Tenant(a_, 390 * kMiB);
  Tenant(b_, 300 * kMiB);
  const Decisions asked = node_.Tick();
  EXPECT_EQ(asked.next_tick, node_.now() + milliseconds(500));
  EXPECT_THAT(LinesAfter(milliseconds(499)), IsEmpty());
  EXPECT_THAT(LinesAfter(milliseconds(1)), ElementsAre("asked c2 release 200.0 MiB"));
}

TEST_F(FaultsTest, SilenceLongAfterTheDeadlineDoublesTheCooldown) {
  Tenant(a_, 390 * kMiB);
  node_.Tick();
  EXPECT_THAT(LinesAfter(milliseconds(3999)), IsEmpty());
  EXPECT_THAT(LinesAfter(milliseconds(1)),
              Contains("expired c1 release: no outcome, long after the deadline"));
  EXPECT_THAT(LinesAfter(milliseconds(9999)), IsEmpty());
  EXPECT_THAT(LinesAfter(milliseconds(1)), ElementsAre("asked c1 release 200.0 MiB"));
}

TEST_F(FaultsTest, AClientThatDiesMidRequestFreesTheWayForTheOthers) {
  Tenant(a_, 390 * kMiB);
  Tenant(b_, 300 * kMiB);
  node_.Tick();
  node_.Detach(ClientId{1});
  EXPECT_THAT(LinesAfter(milliseconds(10)),
              ElementsAre("expired c1 release: the client left", "asked c2 release 200.0 MiB"));
}

TEST_F(FaultsTest, WhoReconnectsAfterDyingMidRequestWaitsLikeBefore) {
  Tenant(a_, 390 * kMiB);
  node_.Tick();
  node_.Detach(ClientId{1});
  Tenant(a_, 390 * kMiB);
  EXPECT_THAT(node_.Lines(TickAfter(milliseconds(10)), {NoteKind::kAsked}), IsEmpty());
  EXPECT_THAT(node_.Lines(TickAfter(seconds(10)), {NoteKind::kAsked}), SizeIs(1));
}

TEST_F(FaultsTest, AnOutcomeForSomebodyElsesRequestIsIgnored) {
  Tenant(a_, 390 * kMiB);
  Tenant(b_, 300 * kMiB);
  Directive foreign = node_.Tick().directives.at(0);
  foreign.client = ClientId{2};
  node_.Answer(foreign, 200 * kMiB);
  EXPECT_THAT(LinesAfter(milliseconds(10)), IsEmpty());
}

TEST_F(FaultsTest, ARefusalIsToldInTheClientsWords) {
  Tenant(a_, 390 * kMiB);
  const Decisions asked = node_.Tick();
  node_.Answer(asked.directives.at(0), 0, OutcomeStatus::kDeclined);
  EXPECT_THAT(LinesAfter(milliseconds(10)), Contains("declined c1 release: no"));
}

TEST_F(FaultsTest, AVanishedCgroupEndsItsRequestsAndItsNeed) {
  Tenant(a_, 390 * kMiB);
  const Decisions asked = node_.Tick();
  node_.Remove(a_);
  node_.Remove(pod_);
  node_.Answer(asked.directives.at(0), 200 * kMiB);
  EXPECT_THAT(LinesAfter(milliseconds(10)), ElementsAre("returned c1 release"));
  EXPECT_THAT(LinesAfter(seconds(10)), IsEmpty());
}

TEST_F(FaultsTest, AClientWhoseCgroupVanishedIsNotAsked) {
  Tenant(a_, 390 * kMiB);
  node_.SetUsage(pod_, 100 * kMiB);
  node_.Tick();
  node_.Remove(a_);
  node_.SetUsage(pod_, 2600 * kMiB);
  EXPECT_THAT(node_.Lines(TickAfter(seconds(10)), {NoteKind::kAsked}), IsEmpty());
}

TEST_F(FaultsTest, ALimitThatGoesEndsTheNeedAndOneThatComesBackStartsItAnew) {
  Tenant(a_, 390 * kMiB);
  const Decisions asked = node_.Tick();
  node_.SetLimit(pod_, std::nullopt);
  node_.Deliver(asked.directives.at(0), 1 * kMiB);
  EXPECT_THAT(LinesAfter(milliseconds(10)),
              ElementsAre("returned c1 release 1.0 MiB", "relaxed /pod: its limit is gone"));
  EXPECT_THAT(LinesAfter(seconds(10)), IsEmpty());
  node_.SetLimit(pod_, 3000 * kMiB);
  EXPECT_THAT(node_.Lines(TickAfter(milliseconds(10)), {NoteKind::kWoke, NoteKind::kAsked}),
              ElementsAre("woke /pod", "asked c1 release 199.0 MiB"));
}

TEST_F(FaultsTest, AZeroLimitIsNone) {
  node_.SetLimit(pod_, 0);
  EXPECT_THAT(node_.Lines(node_.Tick()), IsEmpty());
}

TEST_F(FaultsTest, ALimitSetBelowUsageIsANeedOfTheDifferenceAndMore) {
  Tenant(a_, 390 * kMiB);
  node_.SetUsage(pod_, 1000 * kMiB);
  node_.Tick();
  node_.SetLimit(pod_, 900 * kMiB);
  EXPECT_THAT(LinesAfter(milliseconds(100)), ElementsAre("critical /pod", "asked c1 release 280.0 MiB"));
}

TEST_F(FaultsTest, AClientWhoseCgroupCannotBeReadDoesNotHoldUpTheOthers) {
  Tenant(a_, 390 * kMiB);
  Tenant(b_, 300 * kMiB);
  node_.SetReadable(a_, false);
  EXPECT_THAT(node_.Lines(node_.Tick(), {NoteKind::kAsked}), ElementsAre("asked c2 release 200.0 MiB"));
}

TEST_F(FaultsTest, OnceItCanBeReadAgainItIsAsked) {
  Tenant(a_, 390 * kMiB);
  node_.SetReadable(a_, false);
  EXPECT_THAT(
      node_.Lines(node_.Tick(), {NoteKind::kWithheld}),
      ElementsAre("withheld /pod 200.0 MiB: nobody to ask now: 0 cooling down, 0 hold nothing, 1 cannot be "
                  "read"));
  node_.SetReadable(a_, true);
  EXPECT_THAT(LinesAfter(seconds(1)), ElementsAre("asked c1 release 200.0 MiB"));
}

TEST_F(FaultsTest, OneThatCannotEstimateIsAHopeAndNotCountedOn) {
  Tenant(a_, 0, EstimateKind::kNone);
  Tenant(b_, 100 * kMiB);
  EXPECT_THAT(node_.Lines(node_.Tick(), {NoteKind::kAsked}),
              ElementsAre("asked c2 release 100.0 MiB", "asked c1 release 100.0 MiB"));
  const ClientId late = Tenant(a_, 50 * kMiB);  // the hope does not keep a newcomer from being asked
  EXPECT_EQ(late, ClientId{3});
  EXPECT_THAT(LinesAfter(milliseconds(10)), ElementsAre("asked c3 release 50.0 MiB"));
}

TEST_F(FaultsTest, ManyThatCannotEstimateAreAskedFourAtATime) {
  for (int i = 0; i < 10; ++i) Tenant(a_, 0, EstimateKind::kNone);
  const Decisions first = node_.Tick();
  ASSERT_THAT(first.directives, SizeIs(4));
  EXPECT_THAT(TickAfter(milliseconds(10)).directives, IsEmpty());
  node_.Answer(first.directives[0], 0);
  node_.Answer(first.directives[1], 0);
  EXPECT_THAT(TickAfter(milliseconds(10)).directives, SizeIs(2));
}

TEST_F(FaultsTest, TicksAtTheSameInstantChangeNothing) {
  Tenant(a_, 390 * kMiB);
  node_.Tick();
  EXPECT_EQ(Serialised(node_.engine().Tick(node_.now(), {}, {})),
            Serialised(node_.engine().Tick(node_.now(), {}, {})));
}

TEST_F(FaultsTest, EventsOfUnknownClientsAndCgroupsAreHarmless) {
  node_.Say(ClientReport{.client = ClientId{77}});
  node_.Say(ClientDetached{ClientId{77}});
  node_.Say(ClientOutcome{.client = ClientId{77}, .directive = DirectiveId{1}});
  node_.Say(ClientAttached{.client = ClientId{78}, .cgroup = CgroupId{999}, .capabilities = kReleases});
  node_.Say(
      ClientReport{.client = ClientId{78}, .retained = 300 * kMiB, .retained_kind = EstimateKind::kExact});
  EXPECT_THAT(node_.Lines(node_.Tick(), {NoteKind::kAsked}), IsEmpty());
}

TEST_F(FaultsTest, AClientThatAttachesAnewFromElsewhereHasMoved) {
  const ClientId client = Tenant(a_, 390 * kMiB);
  const CgroupId other = node_.Add("/other");
  node_.Say(ClientAttached{.client = client, .cgroup = other, .capabilities = kReleases});
  EXPECT_THAT(node_.Lines(node_.Tick(), {NoteKind::kAsked}), IsEmpty());
}

}  // namespace
}  // namespace memgov::core
