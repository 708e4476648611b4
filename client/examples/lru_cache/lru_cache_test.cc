#include "client/examples/lru_cache/lru_cache.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "client/c/testing/fake_governor.h"

namespace memgov::examples {
namespace {

using Cache = LruCache<int, std::string>;

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;

void Fill(Cache* cache, int from, int to) {
  for (int i = from; i < to; ++i) cache->Put(i, std::string(kKiB, 'v'), kKiB);
}

TEST(LruCacheTest, WhatWasUsedLongestAgoGoesFirst) {
  Cache cache("test", 100 * kKiB);
  Fill(&cache, 0, 80);
  EXPECT_TRUE(cache.Get(0));  // now it is the newest
  Fill(&cache, 80, 100);
  EXPECT_LE(cache.bytes(), 100 * kKiB);
  EXPECT_TRUE(cache.Get(0));
  EXPECT_FALSE(cache.Get(1));
  EXPECT_TRUE(cache.Get(99));
}

TEST(LruCacheTest, AValueTakesTheOldOnesPlace) {
  Cache cache("test", 100 * kKiB);
  cache.Put(1, "old", 10 * kKiB);
  cache.Put(1, "new", 5 * kKiB);
  EXPECT_EQ(cache.Get(1), "new");
  EXPECT_LT(cache.bytes(), 6 * kKiB);
  cache.Put(1, "too large", 101 * kKiB);
  EXPECT_FALSE(cache.Get(1));
  EXPECT_EQ(cache.bytes(), 0u);
}

TEST(LruCacheTest, ASheddingFreesWhatWasAskedAndTheOldestFirst) {
  Cache cache("test", kMiB);
  Fill(&cache, 0, 500);
  const std::uint64_t before = cache.bytes();
  const std::uint64_t given = cache.Shed(100 * kKiB);
  EXPECT_GE(given, 100 * kKiB);
  EXPECT_LT(given, 102 * kKiB);
  EXPECT_EQ(cache.bytes(), before - given);
  EXPECT_FALSE(cache.Get(0));
  EXPECT_TRUE(cache.Get(499));
  EXPECT_EQ(cache.Shed(kMiB), before - given);  // all there is
  EXPECT_EQ(cache.Shed(kMiB), 0u);
}

Cache::Clock::time_point g_now;

TEST(LruCacheTest, AfterASheddingItGrowsBackWithinAMinute) {
  g_now = Cache::Clock::time_point(std::chrono::hours(1));
  Cache cache("test", 600 * kKiB, 0, [] { return g_now; });
  Fill(&cache, 0, 500);
  EXPECT_EQ(cache.limit(), 600 * kKiB);
  cache.Shed(400 * kKiB);
  const std::uint64_t left = cache.bytes();
  EXPECT_EQ(cache.limit(), left);
  Fill(&cache, 1000, 2000);
  EXPECT_LE(cache.bytes(), left);
  g_now += std::chrono::seconds(6);
  EXPECT_EQ(cache.limit(), left + 60 * kKiB);
  Fill(&cache, 2000, 3000);
  EXPECT_GT(cache.bytes(), left + 58 * kKiB);
  g_now += std::chrono::seconds(54);
  EXPECT_EQ(cache.limit(), 600 * kKiB);
}

TEST(LruCacheTest, ASheddingEndsWhenItsTimeIsUp) {
  Cache cache("test", kMiB);
  Fill(&cache, 0, 500);
  const std::uint64_t given = cache.Shed(kMiB, 1);  // long ago
  EXPECT_GT(given, 0u);
  EXPECT_LT(given, 100 * kKiB);
}

TEST(LruCacheTest, TheGovernorShedsItWhileItIsUsed) {
  const testing::SocketDirectory directory;
  testing::FakeGovernor governor(directory.path());
  Cache cache("pages", 16 * kMiB);
  ASSERT_TRUE(cache.hook());
  Fill(&cache, 0, 8000);
  const Session session({.socket = directory.path()});
  ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return !heard.reports.empty(); }));
  EXPECT_TRUE(governor.heard().hellos.at(0).capabilities().shed());

  std::atomic<bool> enough = false;
  std::vector<std::thread> users;
  users.reserve(2);
  for (int n = 0; n < 2; ++n) {
    users.emplace_back([&] {
      for (int i = 0; !enough; i = (i + 7) % 8000) {
        if (!cache.Get(i)) cache.Put(i, std::string(kKiB, 'v'), kKiB);
      }
    });
  }
  v1::Directive shed;
  shed.mutable_shed()->set_bytes(2 * kMiB);
  for (int i = 0; i < 3; ++i) {
    const v1::Outcome outcome = governor.Ask(shed);
    EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DONE) << outcome.why();
    EXPECT_EQ(outcome.why().rfind("gave 20", 0), 0u) << outcome.why();  // 2048 KiB or one entry more
  }
  enough = true;
  for (std::thread& user : users) user.join();
  EXPECT_LE(cache.bytes(), cache.limit());
}

}  // namespace
}  // namespace memgov::examples
