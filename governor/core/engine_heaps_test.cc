// Soft limits that follow the limits of cgroups, the CPU that collections may cost, and the verdict on what
// cannot be saved.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kCollects;
using testing::kReleases;
using testing::Node;
using ::testing::SizeIs;

class HeapsTest : public ::testing::Test {
 protected:
  explicit HeapsTest(std::optional<double> follow_percent = std::nullopt, Mode mode = Mode::kEnforce)
      : node_(testing::PolicyOf(
            {.name = "test", .mode = mode, .soft_limit = {.follow_percent = follow_percent}})) {
    pod_ = node_.Add("/pod", 1000 * kMiB);
  }

  CgroupId Container(const std::string& name, Bytes usage, std::optional<Bytes> limit = std::nullopt) {
    const CgroupId cgroup = node_.Add("/pod/" + name, limit);
    node_.Charge(cgroup, usage);
    return cgroup;
  }
  ClientId Heap(CgroupId cgroup, Bytes live, Bytes retained = 0) {
    const ClientId client = node_.Attach(cgroup, kCollects);
    node_.Report(client, retained, EstimateKind::kExact, live);
    return client;
  }
  // What each client was told, in MiB, by client.
  static std::map<ClientId, Bytes> Told(const Decisions& decisions) {
    std::map<ClientId, Bytes> told;
    for (const Directive& directive : decisions.directives) {
      if (const auto* limit = std::get_if<SetSoftLimit>(&directive.action)) {
        told[directive.client] = limit->bytes / kMiB;
      }
    }
    return told;
  }
  Decisions TickAfter(Duration time) {
    node_.Pass(time);
    return node_.Tick();
  }

  Node node_;
  CgroupId pod_{};
};

class FollowTest : public HeapsTest {
 protected:
  explicit FollowTest(Mode mode = Mode::kEnforce) : HeapsTest(90, mode) {}
};

TEST_F(FollowTest, AHeapAloneGetsItsShareOfTheLimit) {
  const ClientId go = Heap(Container("go", 200 * kMiB), 100 * kMiB);
  const Decisions decisions = node_.Tick();
  EXPECT_THAT(Told(decisions), ElementsAre(std::pair(go, 900)));
  EXPECT_EQ(decisions.directives.at(0).reason.threshold, 90);
}

TEST_F(FollowTest, WhatOthersUseIsTakenOff) {
  const ClientId go = Heap(Container("go", 200 * kMiB), 100 * kMiB);
  Container("redis", 300 * kMiB);
  EXPECT_THAT(Told(node_.Tick()), ElementsAre(std::pair(go, 600)));
}

TEST_F(FollowTest, WhatAnotherProgramOfItsCgroupReportsIsTakenOff) {
  const CgroupId container = Container("go and native", 500 * kMiB);
  const ClientId go = Heap(container, 100 * kMiB);
  const ClientId native = node_.Attach(container, kReleases);
  node_.Report(native, 50 * kMiB, EstimateKind::kExact, 200 * kMiB);
  EXPECT_THAT(Told(node_.Tick()), ElementsAre(std::pair(go, 650)));
  // Nobody takes from a heap what it holds itself, whatever they say.
  node_.Pass(seconds(20));
  node_.Report(native, 0, EstimateKind::kExact, 5000 * kMiB);
  node_.Report(go, 0, EstimateKind::kExact, 100 * kMiB);
  EXPECT_THAT(Told(node_.Tick()), ElementsAre(std::pair(go, 500)));
}

TEST_F(FollowTest, SeveralHeapsShareByTheSquareRootOfWhatTheyUse) {
  const ClientId large = Heap(Container("large", 500 * kMiB), 200 * kMiB);
  const ClientId small = Heap(Container("small", 460 * kMiB), 50 * kMiB);
  EXPECT_THAT(Told(node_.Tick()), ElementsAre(std::pair(large, 633), std::pair(small, 266)));
}

TEST_F(FollowTest, AHeapMayTakeWhatNobodyUses) {
  const ClientId large = Heap(Container("large", 400 * kMiB), 200 * kMiB);
  const ClientId small = Heap(Container("small", 100 * kMiB), 40 * kMiB, 50 * kMiB);
  EXPECT_THAT(Told(node_.Tick()), ElementsAre(std::pair(large, 800), std::pair(small, 500)))
      << "400 MiB are free below nine tenths";
}

TEST_F(FollowTest, ABusyHeapIsNotHeldBackForWhatOthersKeep) {
  Heap(Container("idle", 700 * kMiB), 300 * kMiB);
  const ClientId busy = Heap(Container("busy", 130 * kMiB), 100 * kMiB);
  EXPECT_EQ(Told(node_.Tick()).at(busy), 283) << "its share; twice what is live and 32 MiB are less";
  node_.Pass(seconds(1));
  node_.Report(busy, 0, EstimateKind::kExact, 200 * kMiB);
  EXPECT_EQ(Told(node_.Tick()).at(busy), 432);
}

TEST_F(FollowTest, WhatHasBecomeFreeMayBeTakenAtOnce) {
  const CgroupId idle = Container("idle", 600 * kMiB);
  const CgroupId busy = Container("busy", 240 * kMiB);
  Heap(idle, 300 * kMiB);
  const ClientId go = Heap(busy, 100 * kMiB);
  const Bytes before = Told(node_.Tick()).at(go);
  node_.Charge(idle, -500 * kMiB);
  node_.Pass(seconds(1));
  node_.Report(go, 0, EstimateKind::kExact, 200 * kMiB);
  EXPECT_EQ(Told(node_.Tick()).at(go), 800) << "240 and all of 560, not a tenth more than " << before;
}

TEST_F(FollowTest, OfTwoLimitsAboveTheTighterCounts) {
  const ClientId go = Heap(Container("go", 100 * kMiB, 300 * kMiB), 50 * kMiB);
  EXPECT_THAT(Told(node_.Tick()).at(go), 270);
}

TEST_F(FollowTest, ALimitThatChangesIsFollowed) {
  const CgroupId cgroup = Container("go", 200 * kMiB);
  const ClientId go = Heap(cgroup, 100 * kMiB);
  node_.Tick();
  node_.SetLimit(pod_, 500 * kMiB);
  node_.Pass(seconds(1));
  node_.Report(go, 0, EstimateKind::kExact, 100 * kMiB);
  EXPECT_THAT(Told(node_.Tick()), ElementsAre(std::pair(go, 450)));
  node_.SetLimit(pod_, 1000 * kMiB);
  node_.Charge(cgroup, 760 * kMiB);
  node_.Pass(seconds(3));
  node_.Report(go, 0, EstimateKind::kExact, 100 * kMiB);
  EXPECT_THAT(Told(node_.Tick()), ElementsAre(std::pair(go, 585))) << "up by a tenth a second";
}

TEST_F(FollowTest, ALimitThatGoesAwayIsForgotten) {
  const CgroupId cgroup = Container("go", 100 * kMiB, 300 * kMiB);
  const ClientId go = Heap(cgroup, 50 * kMiB);
  EXPECT_THAT(Told(node_.Tick()), ElementsAre(std::pair(go, 270)));
  node_.SetLimit(cgroup, std::nullopt);
  node_.Pass(seconds(60));  // the last one has ended
  node_.Report(go, 0, EstimateKind::kExact, 50 * kMiB);
  EXPECT_THAT(Told(node_.Tick()), ElementsAre(std::pair(go, 900)));
}

class AfterACollectionTest : public FollowTest {
 protected:
  // What a heap of 860 MiB is told after a collection that left `live`, and three seconds later.
  std::array<Bytes, 2> ToldAfter(Bytes live) {
    const CgroupId cgroup = Container("go", 860 * kMiB);
    const ClientId go = Heap(cgroup, live, 860 * kMiB - live);
    const Decisions asked = node_.Tick();
    node_.Pass(milliseconds(50));
    node_.Deliver(asked.directives.at(0), 860 * kMiB - live);
    node_.Tick();
    std::array<Bytes, 2> told{};
    for (Bytes& each : told) {
      node_.Pass(seconds(3));
      node_.Report(go, 0, EstimateKind::kExact, live);
      each = Told(node_.Tick())[go];
    }
    return told;
  }
};

TEST_F(AfterACollectionTest, TheHeapMayNotGrowBackAtOnce) {
  EXPECT_THAT(ToldAfter(100 * kMiB), ElementsAre(146, 189)) << "1.3 x live and 16 MiB, then a tenth a second";
}

TEST_F(AfterACollectionTest, TheLimitThatKeepsItBelowTheLimitsAboveIsNotLifted) {
  EXPECT_THAT(ToldAfter(700 * kMiB), ElementsAre(900, 0)) << "not 926, and then no news";
}

TEST_F(FollowTest, WhereNothingChangesItIsOnlyRenewed) {
  const ClientId go = Heap(Container("go", 200 * kMiB), 100 * kMiB);
  node_.Tick();
  for (int i = 1; i < 15; ++i) {
    node_.Pass(seconds(1));
    node_.Report(go, 0, EstimateKind::kExact, 100 * kMiB);
    EXPECT_THAT(Told(node_.Tick()), IsEmpty());
  }
  node_.Pass(seconds(1));
  node_.Report(go, 0, EstimateKind::kExact, 100 * kMiB);
  EXPECT_THAT(Told(node_.Tick()), SizeIs(1));
}

TEST_F(FollowTest, WhoDeclinesHasAUserWhoKnowsBetter) {
  const ClientId go = Heap(Container("go", 200 * kMiB), 100 * kMiB);
  const Decisions told = node_.Tick();
  node_.Answer(told.directives.at(0), 0, OutcomeStatus::kDeclined);
  for (int i = 0; i < 40; ++i) {
    node_.Pass(seconds(1));
    node_.Report(go, 0, EstimateKind::kExact, 100 * kMiB);
    EXPECT_THAT(Told(node_.Tick()), IsEmpty());
  }
}

class FollowObserved : public FollowTest {
 protected:
  FollowObserved() : FollowTest(Mode::kObserve) {}
};

TEST_F(FollowObserved, ObserveModeSaysSoAndSendsNothing) {
  Heap(Container("go", 200 * kMiB), 100 * kMiB);
  const Decisions decisions = node_.Tick();
  EXPECT_THAT(decisions.directives, IsEmpty());
  EXPECT_THAT(node_.Lines(decisions), ElementsAre("would_ask c1 set_soft_limit 900.0 MiB"));
}

TEST_F(HeapsTest, WhereThereIsTimeOneCollectsAfterTheOther) {
  Heap(Container("a", 430 * kMiB), 100 * kMiB, 60 * kMiB);
  Heap(Container("b", 430 * kMiB), 100 * kMiB, 50 * kMiB);
  const Decisions first = node_.Tick();
  EXPECT_THAT(node_.Lines(first), ElementsAre("woke /pod", "asked c1 collect 60.0 MiB"));
  EXPECT_THAT(node_.Lines(TickAfter(milliseconds(50))), IsEmpty());
  node_.Pass(milliseconds(50));
  node_.Deliver(first.directives.at(0), 30 * kMiB);
  EXPECT_THAT(node_.Lines(node_.Tick(), {NoteKind::kAsked}), ElementsAre("asked c2 collect 50.0 MiB"));
}

TEST_F(HeapsTest, ACriticalNeedWaitsForNobody) {
  Heap(Container("a", 480 * kMiB), 100 * kMiB, 90 * kMiB);
  Heap(Container("b", 480 * kMiB), 100 * kMiB, 80 * kMiB);
  EXPECT_THAT(node_.Lines(node_.Tick(), {NoteKind::kAsked}),
              ElementsAre("asked c1 collect 90.0 MiB", "asked c2 collect 80.0 MiB"));
}

TEST_F(HeapsTest, ACollectionHasToPayOffItsCpuBeforeTheNext) {
  const CgroupId cgroup = Container("a", 870 * kMiB);
  const ClientId go = Heap(cgroup, 700 * kMiB, 100 * kMiB);
  Decisions asked = node_.Tick();
  ASSERT_THAT(asked.directives, SizeIs(1));
  node_.Pass(seconds(1));  // so long it took: ten seconds at a tenth of a CPU
  node_.Deliver(asked.directives[0], 10 * kMiB);
  node_.Report(go, 100 * kMiB, EstimateKind::kExact, 700 * kMiB);
  node_.Tick();
  EXPECT_THAT(node_.Lines(TickAfter(seconds(6)), {NoteKind::kAsked}), IsEmpty()) << "its cooldown is over";
  EXPECT_THAT(node_.Lines(TickAfter(seconds(4)), {NoteKind::kAsked}), SizeIs(1));
}

// A pod whose one tenant holds `retained` and uses the rest, 4 MiB more each second.
class LeakTest : public HeapsTest {
 protected:
  using HeapsTest::HeapsTest;
  std::vector<std::string> Run(int count, Bytes start, Bytes by, Bytes retained) {
    const CgroupId cgroup = Container("a", start);
    const ClientId client = node_.Attach(cgroup, kReleases);
    std::vector<std::string> verdicts;
    for (int i = 0; i < count; ++i) {
      node_.Pass(seconds(1));
      node_.Charge(cgroup, by);
      node_.Report(client, retained, EstimateKind::kExact);
      for (std::string& line : node_.Lines(node_.Tick(), {NoteKind::kUnsavable})) {
        verdicts.push_back(std::move(line));
      }
    }
    return verdicts;
  }
};

TEST_F(LeakTest, WhatGrowsBeyondAllThatCouldBeFreedIsSaidOnce) {
  const auto verdicts = Run(30, 860 * kMiB, 4 * kMiB, 0);
  ASSERT_THAT(verdicts, SizeIs(1));
  EXPECT_THAT(verdicts[0], HasSubstr("grows by 4.0 MiB/s (over the last 10 s, now 900.0 MiB)"));
}

TEST_F(LeakTest, WhileRetainedMemoryGrowsNothingIsLost) {
  const CgroupId cgroup = Container("a", 500 * kMiB);
  const ClientId client = node_.Attach(cgroup, kReleases);
  for (int i = 0; i < 40; ++i) {
    node_.Pass(seconds(1));
    node_.Charge(cgroup, 10 * kMiB);
    node_.Report(client, i * 10 * kMiB, EstimateKind::kExact);
    EXPECT_THAT(node_.Lines(node_.Tick(), {NoteKind::kUnsavable}), IsEmpty());
  }
}

// A heap of which all is live grows by `by` every 50 ms, answers a request after as long, and has nothing to
// give. Returns the usage at which the domain was given up, or 0.
class OutgrownTest : public HeapsTest {
 protected:
  using HeapsTest::HeapsTest;
  Bytes Grow(Bytes by, Bytes retained, Bytes up_to) {
    const CgroupId cgroup = Container("a", 600 * kMiB);
    const ClientId go = node_.Attach(cgroup, kCollects);
    std::vector<Directive> asked;
    while (node_.usage(cgroup) < up_to) {
      node_.Pass(milliseconds(50));
      node_.Charge(cgroup, by);
      node_.Report(go, retained, EstimateKind::kExact, node_.usage(cgroup) - retained);
      for (const Directive& directive : std::exchange(asked, {})) node_.Answer(directive, 0);
      const Decisions decisions = node_.Tick();
      asked = decisions.directives;
      was_asked_ = was_asked_ || !asked.empty();
      const auto verdicts = node_.Lines(decisions, {NoteKind::kUnsavable});
      if (verdicts.empty()) continue;
      EXPECT_TRUE(was_asked_) << "garbage that no report shows is a hope until somebody looked";
      EXPECT_THAT(verdicts[0], HasSubstr("no release can free"));
      return node_.usage(cgroup);
    }
    return 0;
  }
  bool was_asked_ = false;
};

TEST_F(OutgrownTest, WhatIsNeededAtOnceIsGivenUpBeforeTheLimit) {
  const Bytes usage = Grow(4 * kMiB, 0, 1000 * kMiB);
  EXPECT_GE(usage, 950 * kMiB) << "before that it is not critical";
  EXPECT_LT(usage, 1000 * kMiB);
}

TEST_F(OutgrownTest, WhatIsHeldIsAHope) { EXPECT_EQ(Grow(4 * kMiB, 100 * kMiB, 1000 * kMiB), 0); }

TEST_F(OutgrownTest, WhatStopsGrowingIsNotGivenUp) {
  EXPECT_EQ(Grow(4 * kMiB, 0, 940 * kMiB), 0);
  for (int i = 0; i < 100; ++i) {
    node_.Pass(milliseconds(50));
    EXPECT_THAT(node_.Lines(node_.Tick(), {NoteKind::kUnsavable}), IsEmpty());
  }
}

TEST_F(LeakTest, ACalmDomainThatGrowsIsNoCase) { EXPECT_THAT(Run(25, 700 * kMiB, 4 * kMiB, 0), IsEmpty()); }

TEST_F(LeakTest, SomebodyWhoCannotTellIsAskedFirst) {
  const CgroupId cgroup = Container("a", 860 * kMiB);
  const ClientId go = node_.Attach(cgroup, kCollects);
  node_.Report(go, 0, EstimateKind::kNone);
  std::optional<Directive> asked;
  bool verdict = false;
  for (int i = 0; i < 30 && !verdict; ++i) {
    node_.Pass(seconds(1));
    node_.Charge(cgroup, 4 * kMiB);
    if (asked) node_.Answer(*asked, 0);
    const Decisions decisions = node_.Tick();
    if (!decisions.directives.empty()) asked = decisions.directives[0];
    verdict = !node_.Lines(decisions, {NoteKind::kUnsavable}).empty();
    EXPECT_TRUE(asked || !verdict);
  }
  EXPECT_TRUE(verdict);
}

class ObservedLeakTest : public LeakTest {
 protected:
  ObservedLeakTest() : LeakTest(std::nullopt, Mode::kObserve) {}
};

// Garbage that no report shows is a hope only where a collection may be asked for.
TEST_F(ObservedLeakTest, AHeapThatNobodyMayAskIsNoHope) {
  Heap(Container("go", 200 * kMiB), 200 * kMiB);
  EXPECT_THAT(Run(30, 660 * kMiB, 4 * kMiB, 0), SizeIs(1));
}

TEST_F(LeakTest, ASmallHeapIsNoHope) {
  Heap(Container("sidecar", 9 * kMiB), 9 * kMiB);
  EXPECT_THAT(Run(30, 851 * kMiB, 4 * kMiB, 0), SizeIs(1));
}

TEST_F(LeakTest, ALargeHeapIsAskedFirst) {
  Heap(Container("go", 200 * kMiB), 200 * kMiB);
  EXPECT_THAT(Run(25, 660 * kMiB, 4 * kMiB, 0), IsEmpty()) << "critical, asked, and not yet overdue";
}

TEST_F(LeakTest, WhoCannotBeSavedIsNotTormentedWithCollections) {
  const CgroupId cgroup = Container("a", 925 * kMiB);
  const ClientId go = node_.Attach(cgroup, kCollects);
  bool verdict = false;
  std::optional<Directive> asked;
  Instant last;
  for (int i = 0; i < 280; ++i) {
    node_.Pass(milliseconds(100));
    node_.Charge(cgroup, 256 * kKiB);  // critical from the middle on
    node_.Report(go, 5 * kMiB, EstimateKind::kExact, 800 * kMiB);
    if (asked) {
      node_.Charge(cgroup, 2 * kMiB);  // what it gives grows back at once
      node_.Deliver(*std::exchange(asked, std::nullopt), 2 * kMiB);
    }
    const Decisions decisions = node_.Tick();
    for (const Directive& directive : decisions.directives) {
      if (i > 150 && last != Instant()) {  // 963 MiB, of which 5 could be given
        EXPECT_GE(node_.now() - last, seconds(1)) << "a tenth of a CPU, at 100 ms each";
      }
      last = node_.now();
      asked = directive;
    }
    verdict = verdict || !node_.Lines(decisions, {NoteKind::kUnsavable}).empty();
  }
  EXPECT_TRUE(verdict);
}

}  // namespace
}  // namespace memgov::core
