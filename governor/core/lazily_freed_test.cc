#include "governor/core/lazily_freed.h"

#include "gtest/gtest.h"

namespace memgov::core {
namespace {

// A cgroup with 100 MiB of anonymous memory, 40 MiB of page cache and 8 MiB of tmpfs, nothing freed.
MemoryStat Plain() {
  return {.anon = 100 * kMiB,
          .file = 48 * kMiB,  // tmpfs is file, too
          .shmem = 8 * kMiB,
          .inactive_anon = 90 * kMiB,
          .active_anon = 18 * kMiB,  // and lies on the anonymous lists
          .inactive_file = 30 * kMiB,
          .active_file = 10 * kMiB};
}

void FreeLazily(MemoryStat& stat, Bytes bytes) {
  stat.inactive_anon -= bytes;
  stat.inactive_file += bytes;
}

TEST(LazilyFreedTest, NothingFreedIsZero) {
  const LazyBounds bounds = LazilyFreedBounds(Plain());
  EXPECT_EQ(bounds.at_least, 0);
  EXPECT_EQ(bounds.at_most, 0);
  EXPECT_EQ(LazilyFreedBounds({}).at_most, 0);
}

TEST(LazilyFreedTest, BothBoundsAreExactAmongPageCacheAndTmpfs) {
  MemoryStat stat = Plain();
  FreeLazily(stat, 60 * kMiB);
  const LazyBounds bounds = LazilyFreedBounds(stat);
  EXPECT_EQ(bounds.at_least, 60 * kMiB);
  EXPECT_EQ(bounds.at_most, 60 * kMiB);
}

TEST(LazilyFreedTest, LockedPageCacheLowersTheLowerBound) {
  MemoryStat stat = Plain();
  FreeLazily(stat, 60 * kMiB);
  stat.active_file -= 10 * kMiB;
  stat.unevictable += 10 * kMiB;
  const LazyBounds bounds = LazilyFreedBounds(stat);
  EXPECT_EQ(bounds.at_least, 50 * kMiB);
  EXPECT_EQ(bounds.at_most, 60 * kMiB);
}

TEST(LazilyFreedTest, LockedAnonymousMemoryAndTmpfsRaiseTheUpperBound) {
  MemoryStat stat = Plain();
  FreeLazily(stat, 60 * kMiB);
  stat.active_anon -= 12 * kMiB;
  stat.inactive_anon -= 8 * kMiB;
  stat.unevictable += 20 * kMiB;
  const LazyBounds bounds = LazilyFreedBounds(stat);
  EXPECT_EQ(bounds.at_least, 60 * kMiB);
  EXPECT_EQ(bounds.at_most, 80 * kMiB);
}

TEST(LazilyFreedTest, LockedPageCacheAloneIsNotBelowZero) {
  MemoryStat stat = Plain();
  stat.active_file -= 10 * kMiB;
  stat.unevictable += 10 * kMiB;
  const LazyBounds bounds = LazilyFreedBounds(stat);
  EXPECT_EQ(bounds.at_least, 0);
  EXPECT_EQ(bounds.at_most, 0);
}

TEST(LazilyFreedTest, PagesOnTheirWayBetweenListsDoNotSwapTheBounds) {
  MemoryStat stat = Plain();
  FreeLazily(stat, 60 * kMiB);
  stat.inactive_file += 31 * 4 * kKiB;  // counted there already, not yet taken off here
  const LazyBounds bounds = LazilyFreedBounds(stat);
  EXPECT_LE(bounds.at_least, bounds.at_most);
  stat.inactive_file -= 62 * 4 * kKiB;
  EXPECT_LE(LazilyFreedBounds(stat).at_least, LazilyFreedBounds(stat).at_most);
}

}  // namespace
}  // namespace memgov::core
