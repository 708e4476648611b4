// What makes a client's bytes dear or cheap.

#include "governor/core/price.h"

#include <gtest/gtest.h>

#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::At;

TEST(Price, OfTheUnknownIsOne) { EXPECT_EQ(Price().PerByte(At(seconds(0))), 1); }

TEST(Price, WhoTakesLongerForAByteIsDearer) {
  Price quick, slow;
  quick.Paid(At(seconds(0)), kGiB, milliseconds(100), 0);
  slow.Paid(At(seconds(0)), kGiB, milliseconds(400), 0);
  EXPECT_DOUBLE_EQ(quick.PerByte(At(seconds(0))), 0.5);
  EXPECT_DOUBLE_EQ(slow.PerByte(At(seconds(0))), 2);
}

TEST(Price, OneObservationIsNotAllThatCounts) {
  Price price;
  price.Paid(At(seconds(0)), kGiB, milliseconds(200), 0);
  price.Paid(At(seconds(5)), kGiB, milliseconds(700), 0);
  EXPECT_NEAR(price.PerByte(At(seconds(5))), 1.75, 1e-9);
}

TEST(Price, NeitherLiesNorLuckMakeItBoundless) {
  Price free, endless;
  free.Paid(At(seconds(0)), 100 * kGiB, Duration(0), 0);
  endless.Paid(At(seconds(0)), 1, std::chrono::hours(1), 0);
  EXPECT_EQ(free.PerByte(At(seconds(0))), 0.25);
  EXPECT_EQ(endless.PerByte(At(seconds(0))), 4);
}

TEST(Price, WhatGrowsBackIsDear) {
  Price price;
  price.Paid(At(seconds(0)), 100 * kMiB, milliseconds(20), 300 * kMiB);
  const double before = price.PerByte(At(seconds(0)));
  price.Observe(At(seconds(9)), 400 * kMiB);
  EXPECT_EQ(price.PerByte(At(seconds(9))), before) << "not yet looked at";
  price.Observe(At(seconds(10)), 400 * kMiB);
  EXPECT_NEAR(price.PerByte(At(seconds(10))), before * 1.9, 1e-9);
  price.Observe(At(seconds(20)), 900 * kMiB);
  EXPECT_NEAR(price.PerByte(At(seconds(20))), before * 1.9, 1e-9) << "counted once";
}

TEST(Price, WhoShrinksFurtherHasGrownNothingBack) {
  Price price;
  price.Paid(At(seconds(0)), 100 * kMiB, milliseconds(20), 300 * kMiB);
  const double before = price.PerByte(At(seconds(0)));
  price.Observe(At(seconds(10)), 100 * kMiB);
  EXPECT_EQ(price.PerByte(At(seconds(10))), before);
}

TEST(Price, AProgramAtRestIsCheaper) {
  Price price;
  for (int i = 0; i <= 10; ++i) price.Report(At(seconds(i)), 100 * kMiB, 50 * kMiB + i * kKiB);
  EXPECT_FALSE(price.AtRest(At(milliseconds(9999))));
  EXPECT_TRUE(price.AtRest(At(seconds(10))));
  EXPECT_EQ(price.PerByte(At(seconds(10))), 0.5);
  price.Report(At(seconds(11)), 110 * kMiB, 40 * kMiB);
  EXPECT_FALSE(price.AtRest(At(seconds(11))));
}

}  // namespace
}  // namespace memgov::core
