// When glibc's heap is trimmed again, with time set by hand.

#include "client/c/allocators/trim_pace.h"

#include <gtest/gtest.h>

namespace memgov::testing {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kKiB = 1 << 10;
constexpr std::uint64_t kMiB = 1 << 20;

class TrimPaceTest : public ::testing::Test {
 protected:
  void Trim(std::uint64_t returned, std::uint64_t took_ms = 100) {
    mg_trim_done(&pace_, anon_ + returned, anon_, took_ms * kMs, now_);
  }
  std::uint64_t WaitMs(memgov_level level = MEMGOV_LEVEL_WAKE) {
    return mg_trim_wait_ns(&pace_, level, anon_, now_) / kMs;
  }

  mg_trim_pace pace_ = {};
  std::uint64_t anon_ = 440 * kMiB;
  std::uint64_t now_ = 1'000'000 * kMs;
};

TEST_F(TrimPaceTest, TheFirstIsDoneAtOnce) { EXPECT_EQ(WaitMs(), 0u); }

// The program itself gives and takes 0.9 MiB: not what ends a pause.
TEST_F(TrimPaceTest, OneInVainWaitsTwiceAsLongEachTimeWhateverTheProgramGivesMeanwhile) {
  for (const std::uint64_t pause_ms : {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000}) {
    Trim(900 * kKiB);
    EXPECT_EQ(WaitMs(), pause_ms);
    now_ += pause_ms * kMs - 1;
    EXPECT_EQ(mg_trim_wait_ns(&pace_, MEMGOV_LEVEL_WAKE, anon_, now_), 1u);
    now_ += 1;
    EXPECT_EQ(WaitMs(), 0u);
  }
}

TEST_F(TrimPaceTest, NearAKillItWaitsEightSecondsAtMost) {
  for (int i = 0; i < 6; ++i) Trim(0);
  EXPECT_EQ(WaitMs(), 32000u);
  EXPECT_EQ(WaitMs(MEMGOV_LEVEL_CRITICAL), 8000u);
}

TEST_F(TrimPaceTest, OneThatIsWorthItsTimeEndsTheWaiting) {
  for (int i = 0; i < 6; ++i) Trim(0);
  Trim(100 * 128 * kKiB);
  EXPECT_EQ(WaitMs(), 0u);
  Trim(100 * 128 * kKiB - 1);
  EXPECT_EQ(WaitMs(), 1000u);
}

TEST_F(TrimPaceTest, OneThatTookNoTimeMayBeRepeated) {
  Trim(0, 4);
  EXPECT_EQ(WaitMs(), 0u);
}

TEST_F(TrimPaceTest, MuchMemoryThatCameSinceMayBeFreeByNow) {
  Trim(0);
  anon_ += 55 * kMiB - 1;
  EXPECT_EQ(WaitMs(), 1000u);
  anon_ += 1;
  EXPECT_EQ(WaitMs(), 0u);
}

TEST_F(TrimPaceTest, MuchThatIsNoLongerInUseEndsTheWaiting) {
  Trim(0);
  mg_trim_counted(&pace_, 200 * kMiB);
  mg_trim_counted(&pace_, 176 * kMiB);
  EXPECT_EQ(WaitMs(), 1000u) << "its usual ups and downs";
  mg_trim_counted(&pace_, 175 * kMiB);
  EXPECT_EQ(WaitMs(), 0u);
}

}  // namespace
}  // namespace memgov::testing
