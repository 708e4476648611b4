#include "governor/core/oom_kills.h"

#include "gmock/gmock.h"
#include "governor/core/testing.h"
#include "gtest/gtest.h"

namespace memgov::core {
namespace {

using testing::At;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::milliseconds;
using testing::seconds;

// "/pod -> /pod/a x1 holder": domain, cgroup, how many, who.
std::vector<std::string> Lines(const std::vector<KillReport>& reports) {
  std::vector<std::string> lines;
  for (const KillReport& report : reports) {
    lines.push_back(absl::StrCat(report.domain.empty() ? "?" : report.domain, " -> ", report.cgroup, " x",
                                 report.count, report.victim ? " " + report.victim->name : ""));
  }
  return lines;
}

class OomKillsTest : public ::testing::Test {
 protected:
  explicit OomKillsTest(bool hierarchical = true) { kills_.SetHierarchical(hierarchical); }

  // What is reported `after` the start.
  std::vector<std::string> Take(Duration after) { return Lines(kills_.Take(At(after))); }
  void Count(Duration after, const std::string& path, std::uint64_t kills = 1) {
    kills_.Count(At(after), path, kills);
  }
  void Record(Duration after, const std::string& name, const std::string& domain, const std::string& cgroup,
              bool or_below = false) {
    kills_.Record(
        {.at = At(after), .pid = 1, .name = name, .domain = domain, .cgroup = cgroup, .or_below = or_below});
  }

  OomKills kills_;
};

class OomKillsV1Test : public OomKillsTest {
 protected:
  OomKillsV1Test() : OomKillsTest(false) {}
};

TEST_F(OomKillsTest, WhatTheLogPlacesIsReportedAtOnce) {
  Record({}, "holder", "/pod", "/pod/a");
  EXPECT_THAT(Take({}), ElementsAre("/pod -> /pod/a x1 holder"));
  EXPECT_THAT(Take(seconds(60)), IsEmpty());
}

TEST_F(OomKillsTest, CountersThatRiseAfterTheRecordAreExplained) {
  Record({}, "holder", "/pod", "/pod/a");
  EXPECT_THAT(Take({}), ElementsAre("/pod -> /pod/a x1 holder"));
  Count(milliseconds(10), "/pod/a");
  Count(milliseconds(900), "/pod");
  EXPECT_EQ(kills_.NextDue(), std::nullopt);
  EXPECT_THAT(Take(seconds(60)), IsEmpty());
}

TEST_F(OomKillsTest, TheRecordMayComeAfterTheCounters) {
  Count({}, "/pod");
  Count(milliseconds(5), "/pod/a");
  EXPECT_THAT(Take(milliseconds(10)), IsEmpty());
  Record(milliseconds(20), "holder", "/pod", "/pod/a");
  EXPECT_THAT(Take(milliseconds(20)), ElementsAre("/pod -> /pod/a x1 holder"));
  EXPECT_THAT(Take(seconds(60)), IsEmpty());
}

TEST_F(OomKillsTest, CountersAloneAreReportedAfterTheGraceAndAtTheLeafOnly) {
  Count({}, "/pod");
  Count(milliseconds(800), "/pod/a");
  EXPECT_EQ(kills_.NextDue(), At(milliseconds(800) + OomKills::kGrace));
  EXPECT_THAT(Take(OomKills::kGrace), IsEmpty());
  EXPECT_THAT(Take(milliseconds(800) + OomKills::kGrace), ElementsAre("? -> /pod/a x1"));
  EXPECT_EQ(kills_.NextDue(), std::nullopt);
  EXPECT_THAT(Take(seconds(60)), IsEmpty());
}

TEST_F(OomKillsTest, AParentReportsWhatItsRemovedChildCannot) {
  Count({}, "/pod", 2);
  Count({}, "/pod/a");
  EXPECT_THAT(Take(OomKills::kGrace), ElementsAre("? -> /pod x1", "? -> /pod/a x1"));
  EXPECT_THAT(Take(seconds(60)), IsEmpty());
}

TEST_F(OomKillsTest, AReportedLeafIsNotReportedAgainByItsLateParent) {
  Count({}, "/pod/a");
  EXPECT_THAT(Take(OomKills::kGrace), ElementsAre("? -> /pod/a x1"));
  Count(seconds(2), "/pod");
  EXPECT_THAT(Take(seconds(60)), IsEmpty());
}

TEST_F(OomKillsTest, TwoKillsOfWhichTheLogMissedOneAreTwoReports) {
  Record({}, "holder", "/pod", "/pod/a");
  Count({}, "/pod", 2);
  Count({}, "/pod/a", 2);
  EXPECT_THAT(Take({}), ElementsAre("/pod -> /pod/a x1 holder"));
  EXPECT_THAT(Take(OomKills::kGrace), ElementsAre("? -> /pod/a x1"));
}

TEST_F(OomKillsTest, AnExplanationThatNobodyCountsIsForgotten) {
  Record({}, "holder", "/pod/a", "/pod/a");  // and its cgroup is removed
  EXPECT_THAT(Take({}), ElementsAre("/pod/a -> /pod/a x1 holder"));
  EXPECT_THAT(Take(OomKills::kExplained), IsEmpty());
  Count(OomKills::kExplained, "/pod/a");  // its successor
  EXPECT_THAT(Take(OomKills::kExplained + OomKills::kGrace), ElementsAre("? -> /pod/a x1"));
}

TEST_F(OomKillsTest, ANameWithoutAPlaceBelongsToTheOnlyCounterThatRose) {
  Record({}, "holder", "", "");
  EXPECT_THAT(Take({}), IsEmpty());
  Count(milliseconds(100), "/pod");
  Count(milliseconds(200), "/pod/a");
  EXPECT_THAT(Take(milliseconds(200) + OomKills::kGrace), ElementsAre("? -> /pod/a x1 holder"));
}

TEST_F(OomKillsTest, ANameWithoutAPlaceIsNotGuessed) {
  Record({}, "holder", "", "");
  Count({}, "/a");
  Count({}, "/b");
  EXPECT_THAT(Take(OomKills::kGrace), ElementsAre("? -> /a x1", "? -> /b x1"));
  EXPECT_THAT(Take(seconds(60)), IsEmpty());  // as many reports as kills
}

TEST_F(OomKillsTest, OfTwoNamesNoneIsGivenToOneCounter) {
  Record({}, "elsewhere", "", "");
  Record(seconds(1), "holder", "", "");
  Count(seconds(1), "/a");
  EXPECT_THAT(Take(seconds(1) + OomKills::kGrace), ElementsAre("? -> /a x1"));
  EXPECT_THAT(Take(OomKills::kUnclaimed), ElementsAre("? ->  x1 elsewhere"));
  EXPECT_THAT(Take(seconds(60)), IsEmpty());
}

TEST_F(OomKillsTest, ANameThatNoCounterClaimsIsReportedWithoutAPlace) {
  Record({}, "holder", "", "");
  EXPECT_EQ(kills_.NextDue(), At(OomKills::kUnclaimed));
  EXPECT_THAT(Take(OomKills::kUnclaimed - milliseconds(1)), IsEmpty());
  EXPECT_THAT(Take(OomKills::kUnclaimed), ElementsAre("? ->  x1 holder"));
  EXPECT_EQ(kills_.NextDue(), std::nullopt);
}

TEST_F(OomKillsTest, AKillThatMayHaveBeenElsewhereIsNotReportedWithoutACounter) {
  kills_.Record({.at = At({}), .pid = 1, .name = "stranger", .maybe_elsewhere = true});
  EXPECT_THAT(Take(seconds(60)), IsEmpty());
}

TEST_F(OomKillsTest, AGroupKillIsOneReportAVictimWhereverInTheGroupItIsCounted) {
  Record({}, "first", "/pod", "/pod/group/x/y");
  Record({}, "second", "/pod", "/pod/group", true);
  EXPECT_THAT(Take({}), ElementsAre("/pod -> /pod/group/x/y x1 first", "/pod -> /pod/group x1 second"));
  for (const char* path : {"/pod", "/pod/group", "/pod/group/x"}) Count(milliseconds(3), path, 2);
  Count(milliseconds(3), "/pod/group/x/y");
  Count(milliseconds(3), "/pod/group/x/z");
  EXPECT_THAT(Take(OomKills::kGrace * 2), IsEmpty());
}

TEST_F(OomKillsV1Test, ALeafsCounterSaysNothingOfItsParent) {
  Record({}, "holder", "/pod", "/pod/a");
  EXPECT_THAT(Take({}), ElementsAre("/pod -> /pod/a x1 holder"));
  Count({}, "/pod/a");
  Count({}, "/pod");  // another victim, in the parent itself
  EXPECT_THAT(Take(OomKills::kGrace), ElementsAre("? -> /pod x1"));
}

}  // namespace
}  // namespace memgov::core
