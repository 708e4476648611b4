// What changes where time is short: in a critical domain, or while a brake holds its programs up.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

class HasteTest : public ::testing::Test {
 protected:
  explicit HasteTest(bool v2 = false) {
    pod_ = node_.Add("/pod", 1000 * kMiB, v2);
    tenant_ = node_.Add("/pod/a");
  }
  // The client is asked at once and gives `bytes` after `took`; then the pod has `usage`.
  void AskAndGive(Bytes bytes, Duration took, Bytes usage) {
    const Decisions asked = node_.Tick();
    ASSERT_THAT(asked.directives, SizeIs(1));
    node_.Pass(took);
    node_.Deliver(asked.directives[0], bytes);
    node_.SetUsage(pod_, usage);
    node_.Tick();
  }
  // Requests for memory; soft limits are none.
  std::vector<std::string> AskedAfter(Duration time) {
    node_.Pass(time);
    std::vector<std::string> lines = node_.Lines(node_.Tick(), {NoteKind::kAsked});
    std::erase_if(lines,
                  [](const std::string& line) { return line.find("set_soft_limit") != std::string::npos; });
    return lines;
  }

  Node node_;
  CgroupId pod_{}, tenant_{};
};

TEST_F(HasteTest, InACriticalDomainAClientMayWorkAFifthOfItsTime) {
  const ClientId client = node_.Attach(tenant_, kReleases);
  node_.Charge(tenant_, 970 * kMiB);
  node_.Report(client, 400 * kMiB);
  AskAndGive(100 * kMiB, milliseconds(80), 960 * kMiB);
  EXPECT_THAT(AskedAfter(milliseconds(319)), IsEmpty());
  EXPECT_THAT(AskedAfter(milliseconds(1)), SizeIs(1)) << "at wake it would be 1600 ms";
}

// A slow answer, as of one who pages itself in, earns no rest in which the neighbours are killed.
TEST_F(HasteTest, NobodyRestsWhileTheDomainRunsFull) {
  const ClientId client = node_.Attach(tenant_, kReleases);
  node_.Charge(tenant_, 970 * kMiB);
  node_.Report(client, 400 * kMiB);
  AskAndGive(100 * kMiB, milliseconds(900), 870 * kMiB);
  EXPECT_THAT(AskedAfter(milliseconds(500)), IsEmpty());
  node_.Charge(tenant_, 40 * kMiB);  // the rest is gone in little more than a second
  EXPECT_THAT(AskedAfter(milliseconds(500)), SizeIs(1)) << "otherwise 3600 ms after the answer";
}

// ... and as much sooner as its last answer took: at 18 MiB/s the pod is full 4 s after 930 MiB.
TEST_F(HasteTest, ASlowOneIsAskedInTimeForItsAnswer) {
  const ClientId client = node_.Attach(tenant_, kReleases);
  node_.Charge(tenant_, 890 * kMiB);
  node_.Report(client, 400 * kMiB);
  AskAndGive(10 * kMiB, milliseconds(1500), 880 * kMiB);
  Duration asked{};
  for (int i = 1; i <= 60 && asked == Duration{}; ++i) {
    node_.Charge(tenant_, 2 * kMiB);
    node_.Pass(milliseconds(100));
    for (const Directive& directive : node_.Tick().directives) {
      if (!std::holds_alternative<Release>(directive.action)) continue;
      asked = milliseconds(100 * i);
      EXPECT_EQ(directive.reason.signal, Signal::kTimeToLimit);
      EXPECT_LT(directive.reason.observed, directive.reason.threshold);
    }
  }
  const Bytes room = 1000 * kMiB - node_.usage(pod_);
  EXPECT_GT(asked, Duration{}) << "the usual rest is 10 s, the one in haste 6 s";
  EXPECT_GE(room, 20 * kMiB * 3 / 2) << "what it grows by during an answer";
}

// The wake was by usage, but now the limit is near at this speed.
TEST_F(HasteTest, TimeIsShortWhereTheForecastSaysSo) {
  const ClientId heap = node_.Attach(tenant_, kCollects);
  node_.Report(heap, 0, EstimateKind::kExact, 500 * kMiB);
  node_.Charge(tenant_, 860 * kMiB);
  EXPECT_THAT(AskedAfter(seconds(2)), IsEmpty()) << "woken by usage, it holds nothing as it says";
  std::vector<std::string> asked;
  for (int i = 0; i < 15 && asked.empty(); ++i) {
    node_.Charge(tenant_, 5 * kMiB);
    asked = AskedAfter(milliseconds(10));
  }
  EXPECT_THAT(asked, SizeIs(1));
  EXPECT_LT(node_.usage(pod_), 950 * kMiB) << "before it is critical";
}

// Where the domain needs less than a hundredth of its limit in a second.
class SlowGrowthTest : public HasteTest {
 protected:
  // What is asked of a heap with 8 MiB of garbage within 0.9 s after its last collection, in a domain that
  // has `usage` then and grows by 5 MiB/s.
  std::vector<std::string> AskedAt(Bytes usage) {
    const ClientId heap = node_.Attach(tenant_, kCollects);
    node_.Charge(tenant_, usage - 20 * kMiB);
    EXPECT_THAT(Grow(40), IsEmpty()) << "nobody knows what it holds";
    node_.Report(heap, 100 * kMiB, EstimateKind::kExact, 500 * kMiB);
    AskAndGive(20 * kMiB, milliseconds(80), usage);
    node_.Report(heap, 8 * kMiB, EstimateKind::kExact, 500 * kMiB);
    return Grow(9);
  }

 private:
  std::vector<std::string> Grow(int steps) {
    std::vector<std::string> asked;
    for (int i = 0; i < steps && asked.empty(); ++i) {
      node_.Charge(tenant_, kMiB / 2);
      asked = AskedAfter(milliseconds(100));
    }
    return asked;
  }
};

TEST_F(SlowGrowthTest, ACollectionThatBuysASecondIsWorthItWhereSecondsAreLeft) {
  EXPECT_THAT(AskedAt(978 * kMiB), SizeIs(1));
}

TEST_F(SlowGrowthTest, AsLongAsThereIsTimeItIsNot) { EXPECT_THAT(AskedAt(955 * kMiB), IsEmpty()); }

TEST_F(HasteTest, OneThatLeftInARequestHasNotShownThatItHoldsNothing) {
  node_.Charge(tenant_, 940 * kMiB);
  for (int i = 0; i < 6; ++i) {  // so that it is known how fast it grows
    node_.Charge(tenant_, 5 * kMiB);
    AskedAfter(milliseconds(100));
  }
  for (int i = 0; i < 4; ++i) {
    const ClientId client = node_.Attach(tenant_, kReleases);
    node_.Report(client, 400 * kMiB);
    node_.Charge(tenant_, 5 * kMiB);
    EXPECT_THAT(AskedAfter(milliseconds(200)), SizeIs(1)) << "the least rest, each time; breaks: " << i;
    node_.Detach(client);
    node_.Tick();
  }
}

TEST_F(HasteTest, OneThatBroughtNothingRestsTwiceTheLeast) {
  const ClientId client = node_.Attach(tenant_, kReleases);
  node_.Charge(tenant_, 970 * kMiB);
  node_.Report(client, 400 * kMiB);
  AskAndGive(0, milliseconds(900), 970 * kMiB);
  for (int i = 0; i < 19; ++i) {
    node_.Charge(tenant_, kMiB);
    EXPECT_THAT(AskedAfter(milliseconds(10)), IsEmpty());
  }
  EXPECT_THAT(AskedAfter(milliseconds(10)), SizeIs(1));
}

TEST_F(HasteTest, ACollectionThatBringsNextToNothingIsInNoHaste) {
  const ClientId client = node_.Attach(tenant_, kCollects);
  node_.Charge(tenant_, 970 * kMiB);
  node_.Report(client, 400 * kMiB, EstimateKind::kExact, 500 * kMiB);
  AskAndGive(100 * kMiB, milliseconds(80), 960 * kMiB);
  node_.Report(client, 9 * kMiB, EstimateKind::kExact, 500 * kMiB);  // less than a hundredth of the limit
  EXPECT_THAT(AskedAfter(milliseconds(400)), IsEmpty());
  node_.Report(client, 60 * kMiB, EstimateKind::kExact, 500 * kMiB);
  EXPECT_THAT(AskedAfter(milliseconds(100)), SizeIs(1));
}

// What died in it since it collected last is in no estimate.
TEST_F(HasteTest, AHeapThatSaysItHoldsNothingCollectsBeforeAKill) {
  const ClientId sure = node_.Attach(tenant_, kReleases);
  const ClientId heap = node_.Attach(tenant_, kCollects);
  node_.Report(sure, 20 * kMiB);
  node_.Report(heap, 0, EstimateKind::kExact, 290 * kMiB);
  node_.Charge(tenant_, 890 * kMiB);
  EXPECT_THAT(AskedAfter(seconds(1)), ElementsAre("asked c1 release 20.0 MiB"));
  node_.Charge(tenant_, 80 * kMiB);
  EXPECT_THAT(AskedAfter(milliseconds(10)), ElementsAre("asked c2 collect 150.0 MiB")) << "critical now";
}

// Only the pod was read; the request waits for a reading of the heap's own cgroup.
TEST_F(HasteTest, NobodyIsGivenUpWhileARequestWaitsForAReading) {
  const ClientId client = node_.Attach(tenant_, kCollects);
  node_.Charge(tenant_, 890 * kMiB);
  node_.Report(client, 40 * kMiB, EstimateKind::kExact, 700 * kMiB);
  AskAndGive(20 * kMiB, milliseconds(80), 870 * kMiB);
  node_.Report(client, 0, EstimateKind::kExact, 700 * kMiB);
  for (int i = 0; i < 4; ++i) {
    node_.Pass(milliseconds(500));
    node_.Charge(tenant_, 10 * kMiB);
    node_.Tick();
  }
  node_.Pass(milliseconds(500));
  node_.Charge(tenant_, 70 * kMiB);
  EXPECT_THAT(node_.Lines(node_.Tick({pod_}), {NoteKind::kAsked, NoteKind::kUnsavable}),
              ElementsAre(HasSubstr("asked c1 collect")));
}

TEST_F(HasteTest, AHeapThatHasJustCollectedIsTakenByItsWord) {
  const ClientId client = node_.Attach(tenant_, kCollects);
  node_.Charge(tenant_, 970 * kMiB);
  node_.Report(client, 0, EstimateKind::kExact, 500 * kMiB);
  AskAndGive(10 * kMiB, milliseconds(80), 960 * kMiB);
  node_.Report(client, 0, EstimateKind::kExact, 490 * kMiB);
  EXPECT_THAT(AskedAfter(milliseconds(400)), IsEmpty());
  EXPECT_THAT(AskedAfter(milliseconds(600)), SizeIs(1));
}

// It declined because a collection would not have paid then; that says nothing about what it holds.
TEST_F(HasteTest, AHeapThatDeclinedHasShownNothing) {
  const ClientId client = node_.Attach(tenant_, kCollects);
  node_.Charge(tenant_, 890 * kMiB);
  node_.Report(client, 40 * kMiB, EstimateKind::kExact, 500 * kMiB);
  const Decisions asked = node_.Tick();
  ASSERT_THAT(asked.directives, SizeIs(1));
  node_.Answer(asked.directives[0], 0, OutcomeStatus::kDeclined);
  node_.Report(client, 0, EstimateKind::kExact, 500 * kMiB);
  EXPECT_THAT(AskedAfter(milliseconds(10)), IsEmpty());
  node_.Charge(tenant_, 80 * kMiB);
  EXPECT_THAT(AskedAfter(milliseconds(500)), SizeIs(1)) << "critical now";
}

TEST_F(HasteTest, ASmallHeapHidesNothingOfUse) {
  const ClientId client = node_.Attach(tenant_, kCollects);
  node_.Charge(tenant_, 970 * kMiB);
  node_.Report(client, 0, EstimateKind::kExact, 9 * kMiB);
  EXPECT_THAT(AskedAfter(seconds(2)), IsEmpty());
}

class BrakedHasteTest : public HasteTest {
 protected:
  BrakedHasteTest() : HasteTest(true) {
    const ClientId client = node_.Attach(tenant_, kReleases);
    node_.Charge(tenant_, 500 * kMiB);
    node_.Report(client, 400 * kMiB);
    node_.Tick();  // armed
    node_.Charge(tenant_, 380 * kMiB);
    node_.Pass(seconds(10));
  }
};

TEST_F(BrakedHasteTest, TheBrakeHoldsForWhoMaySoonBeAskedAgain) {
  AskAndGive(10 * kMiB, milliseconds(200), 875 * kMiB);  // may be asked again in 800 ms
  std::vector<std::string> said;
  for (int i = 0; i < 7; ++i) {
    node_.Pass(milliseconds(100));
    for (const std::string& line : node_.Lines(node_.Tick(), {NoteKind::kBrakeReleased}))
      said.push_back(line);
  }
  EXPECT_THAT(said, IsEmpty());
  EXPECT_THAT(AskedAfter(milliseconds(100)), SizeIs(1));
}

TEST_F(BrakedHasteTest, ItHoldsForOneThatIsLateButHasAnsweredBefore) {
  AskAndGive(10 * kMiB, milliseconds(200), 875 * kMiB);
  node_.Pass(milliseconds(800));
  ASSERT_THAT(node_.Tick().directives, SizeIs(1));
  std::vector<std::string> said;
  for (int i = 0; i < 38; ++i) {  // its deadline is 2 s; until twice that its answer counts
    node_.Pass(milliseconds(100));
    for (const std::string& line : node_.Lines(node_.Tick(), {NoteKind::kBrakeReleased}))
      said.push_back(line);
  }
  EXPECT_THAT(said, IsEmpty());
}

TEST_F(BrakedHasteTest, AfterTheBrakeItLooksAsOftenAsAtFirst) {
  const Decisions asked = node_.Tick();
  ASSERT_THAT(asked.directives, SizeIs(1));
  node_.Pass(milliseconds(10));
  node_.Answer(asked.directives[0], 0);  // nothing came: no help from there
  std::optional<Duration> every;
  bool released = false;
  for (int i = 0; i < 60 && !released; ++i) {
    node_.Pass(milliseconds(100));
    const Decisions decisions = node_.Tick();
    for (const SetCadence& cadence : decisions.cadences) {
      if (cadence.cgroup == pod_) every = cadence.usage_every;
    }
    released = !node_.Lines(decisions, {NoteKind::kBrakeReleased}).empty();
  }
  EXPECT_TRUE(released);
  EXPECT_EQ(every, milliseconds(10));
}

TEST_F(BrakedHasteTest, ABrakeUnderWhichAllThrashesIsLetGoThoughHelpIsAtWork) {
  const Decisions asked = node_.Tick();
  ASSERT_THAT(asked.directives, SizeIs(1));
  Duration released{};
  for (int i = 1; i < 30 && released == Duration{}; ++i) {
    node_.Pass(milliseconds(100));
    const auto step = static_cast<std::uint64_t>(i);
    node_.SetStat(pod_, {.anon = 880 * kMiB, .pgmajfault = step * 500}, true);
    node_.SetPressure(pod_, {.some_us = step * 95'000, .full_us = step * 90'000});
    for (const std::string& line : node_.Lines(node_.Tick(), {NoteKind::kBrakeReleased})) {
      EXPECT_THAT(line, HasSubstr("it thrashes"));
      released = milliseconds(100 * i);
    }
  }
  EXPECT_GT(released, Duration{});
  EXPECT_LT(released, seconds(2)) << "the client's deadline";
}

}  // namespace
}  // namespace memgov::core
