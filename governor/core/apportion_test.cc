#include "governor/core/apportion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace memgov::core {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr ClientId kA{1}, kB{2}, kC{3}, kD{4}, kE{5}, kF{6};

Candidate Holding(ClientId client, Bytes expected) {
  return {.client = client, .expected = expected, .in_chunks = true};
}
Candidate Unknown(ClientId client, int gib = 4) {
  return {.client = client, .promise = Promise::kUnknown, .size = gib * kGiB};
}
Candidate Outdated(ClientId client, int gib = 4) {
  return {.client = client, .promise = Promise::kOutdated, .size = gib * kGiB};
}
Candidate Caching(ClientId client, int gib = 4) {
  return {.client = client, .promise = Promise::kCaches, .rung = 4, .size = gib * kGiB};
}

TEST(Apportion, OfThreeWith270TwoAreAskedFor461) {
  const Candidate a = Holding(kA, 270 * kMiB), b = Holding(kB, 271 * kMiB), c = Holding(kC, 270 * kMiB);
  EXPECT_THAT(Apportion(461 * kMiB, {a, b, c}, 0), ElementsAre(Share{kB, 271 * kMiB}, Share{kA, 190 * kMiB}));
}

TEST(Apportion, OneThatCannotStopAtATargetIsAskedForAll) {
  Candidate a = Holding(kA, 270 * kMiB);
  a.in_chunks = false;
  EXPECT_THAT(Apportion(10 * kMiB, {a}, 0), ElementsAre(Share{kA, 270 * kMiB}));
}

TEST(Apportion, TwiceTheProtectWeightCountsAsHalfAsLarge) {
  Candidate precious = Holding(kA, 300 * kMiB);
  precious.protect_weight = 2;
  EXPECT_THAT(Apportion(100 * kMiB, {precious, Holding(kB, 151 * kMiB)}, 0),
              ElementsAre(Share{kB, 100 * kMiB}));
  EXPECT_THAT(Apportion(100 * kMiB, {precious, Holding(kB, 149 * kMiB)}, 0),
              ElementsAre(Share{kA, 100 * kMiB}));
}

TEST(Apportion, BytesThatCostLessComeFirst) {
  Candidate dear = Holding(kA, 300 * kMiB);
  dear.price = 2;
  EXPECT_THAT(Apportion(100 * kMiB, {dear, Holding(kB, 151 * kMiB)}, 0), ElementsAre(Share{kB, 100 * kMiB}));
  EXPECT_THAT(Apportion(100 * kMiB, {dear, Holding(kB, 149 * kMiB)}, 0), ElementsAre(Share{kA, 100 * kMiB}));
}

TEST(Apportion, ALowerRungComesFirstHoweverSmall) {
  Candidate collects = Holding(kA, 500 * kMiB);
  collects.rung = 3;
  Candidate releases = Holding(kB, 20 * kMiB);
  releases.rung = 2;
  EXPECT_THAT(Apportion(60 * kMiB, {collects, releases}, 0),
              ElementsAre(Share{kB, 20 * kMiB}, Share{kA, 40 * kMiB}));
}

TEST(Apportion, LessThanAMiBIsNotWorthARequest) {
  EXPECT_THAT(Apportion(kGiB, {Holding(kA, kMiB - 1), Holding(kB, kMiB)}, 0), ElementsAre(Share{kB, kMiB}));
  EXPECT_THAT(Apportion(1, {Holding(kA, 5 * kMiB)}, 0), ElementsAre(Share{kA, kMiB}));
}

TEST(Apportion, NobodyIsAskedForMoreThanItsCgroupHolds) {
  EXPECT_THAT(Apportion(9 * kGiB, {Caching(kA, 5)}, 0), ElementsAre(Share{kA, 5 * kGiB}));
  EXPECT_THAT(Apportion(9 * kGiB, {Unknown(kA, 0)}, 0), ElementsAre(Share{kA, kMiB}));
}

TEST(Apportion, NobodyIsAskedWhenNothingIsMissing) {
  EXPECT_THAT(Apportion(0, {Holding(kA, kGiB), Unknown(kB)}, 0), IsEmpty());
  EXPECT_THAT(Apportion(-kGiB, {Holding(kA, kGiB), Caching(kB)}, 0), IsEmpty());
  EXPECT_THAT(Apportion(kGiB, {}, 0), IsEmpty());
}

TEST(Apportion, TiesGoToTheLowerId) {
  EXPECT_THAT(Apportion(kMiB, {Holding(kC, kGiB), Holding(kA, kGiB), Holding(kB, kGiB)}, 0),
              ElementsAre(Share{kA, kMiB}));
}

TEST(Apportion, ThoseWhoCannotTellAreAskedForWhatIsStillMissing) {
  EXPECT_THAT(Apportion(100 * kMiB, {Unknown(kA), Holding(kB, 70 * kMiB), Unknown(kC)}, 0),
              ElementsAre(Share{kB, 70 * kMiB}, Share{kA, 30 * kMiB}, Share{kC, 30 * kMiB}));
  EXPECT_THAT(Apportion(70 * kMiB, {Unknown(kA), Holding(kB, 70 * kMiB)}, 0),
              ElementsAre(Share{kB, 70 * kMiB}));
}

TEST(Apportion, AtMostFourHopesAtATimeFromTheLargestCgroups) {
  const std::vector<Candidate> many = {Unknown(kA, 1), Unknown(kB, 9), Unknown(kC, 8),
                                       Unknown(kD, 7), Unknown(kE, 6), Unknown(kF, 2)};
  EXPECT_THAT(Apportion(kGiB, many, 0),
              ElementsAre(Share{kB, kGiB}, Share{kC, kGiB}, Share{kD, kGiB}, Share{kE, kGiB}));
  EXPECT_THAT(Apportion(kGiB, many, 3), ElementsAre(Share{kB, kGiB}));
  EXPECT_THAT(Apportion(kGiB, many, 4), IsEmpty());
}

TEST(Apportion, ThoseWhoseWordIsOutdatedAreLookedAtAndHoldUpNoCache) {
  EXPECT_THAT(Apportion(kGiB, {Caching(kA), Outdated(kB), Holding(kC, kMiB)}, 0),
              ElementsAre(Share{kC, kMiB}, Share{kB, kGiB - kMiB}, Share{kA, kGiB - kMiB}));
  EXPECT_THAT(
      Apportion(kGiB, {Caching(kF), Outdated(kA), Outdated(kB), Outdated(kC), Outdated(kD), Outdated(kE)}, 0),
      ElementsAre(Share{kA, kGiB}, Share{kB, kGiB}, Share{kC, kGiB}, Share{kD, kGiB}, Share{kF, kGiB}))
      << "four at a time";
  EXPECT_THAT(Apportion(kMiB, {Outdated(kA), Holding(kB, kMiB)}, 0), ElementsAre(Share{kB, kMiB}));
}

TEST(Apportion, CachesAreShedOneClientAtATimeAndOnlyWhenNoHopeIsLeft) {
  EXPECT_THAT(Apportion(kGiB, {Caching(kA, 5), Caching(kB, 6)}, 0), ElementsAre(Share{kB, kGiB}));
  EXPECT_THAT(Apportion(kGiB, {Caching(kA), Unknown(kB)}, 0), ElementsAre(Share{kB, kGiB}));
  EXPECT_THAT(Apportion(kGiB, {Caching(kA)}, 1), IsEmpty());
}

}  // namespace
}  // namespace memgov::core
