#include "governor/base/token_bucket.h"

#include <gtest/gtest.h>

namespace memgov::base {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr core::Instant kStart{seconds(100)};

TEST(TokenBucket, GivesABurstAndThenTheRate) {
  TokenBucket bucket(2, 5);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(bucket.Take(kStart)) << i;
  EXPECT_FALSE(bucket.Take(kStart));
  EXPECT_FALSE(bucket.Take(kStart + milliseconds(499)));
  EXPECT_TRUE(bucket.Take(kStart + milliseconds(500)));
  EXPECT_FALSE(bucket.Take(kStart + milliseconds(501)));
}

TEST(TokenBucket, KeepsNoMoreThanTheBurst) {
  TokenBucket bucket(1000, 3);
  EXPECT_TRUE(bucket.Take(kStart, 3));
  EXPECT_TRUE(bucket.Full(kStart + seconds(3600)));
  EXPECT_FALSE(bucket.Take(kStart + seconds(3600), 4));
  EXPECT_TRUE(bucket.Take(kStart + seconds(3600), 3));
}

TEST(TokenBucket, WhatWasSpentBeyondTheLevelIsWaitedFor) {
  TokenBucket bucket(10, 10);
  bucket.Spend(kStart, 15);
  EXPECT_FALSE(bucket.Take(kStart));
  const core::Duration wait = bucket.UntilPositive(kStart);
  EXPECT_EQ(wait, milliseconds(600));
  EXPECT_EQ(bucket.UntilPositive(kStart + wait), core::Duration::zero());
}

TEST(TokenBucket, TimeThatGoesBackChangesNothing) {
  TokenBucket bucket(1, 1);
  EXPECT_TRUE(bucket.Take(kStart));
  EXPECT_FALSE(bucket.Take(kStart - seconds(50)));
  EXPECT_FALSE(bucket.Take(kStart));
}

}  // namespace
}  // namespace memgov::base
