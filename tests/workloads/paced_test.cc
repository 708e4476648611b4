#include "tests/workloads/paced.h"

#include <gtest/gtest.h>

#include <vector>

namespace memgov::workloads {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

TEST(PacedTest, RequestsAreDueOnePeriodAfterAnother) {
  Answers answers(1000 * kMs, 100);
  EXPECT_EQ(answers.NextDue(), 1010 * kMs);
  answers.Note(1010 * kMs, 1013 * kMs);
  EXPECT_EQ(answers.NextDue(), 1020 * kMs);
  EXPECT_EQ(answers.latencies_us(), std::vector<std::uint32_t>{3000});
  EXPECT_EQ(answers.busy_ns(), 3 * kMs);
}

TEST(PacedTest, AStallDelaysAllThatCameDueMeanwhile) {
  Answers answers(0, 100);
  answers.Note(10 * kMs, 45 * kMs);
  answers.Note(45 * kMs, 46 * kMs);
  answers.Note(46 * kMs, 47 * kMs);
  answers.Note(47 * kMs, 48 * kMs);
  answers.Note(50 * kMs, 51 * kMs);
  EXPECT_EQ(answers.latencies_us(), (std::vector<std::uint32_t>{35000, 26000, 17000, 8000, 1000}));
  EXPECT_EQ(answers.busy_ns(), 39 * kMs);
  EXPECT_EQ(answers.LaterThan(20 * kMs), 2u);
  EXPECT_EQ(answers.LaterThan(17 * kMs), 2u);
}

TEST(PacedTest, TimeOfAThreadPasses) {
  const ThreadTime time;
  const std::uint64_t before = time.Now();
  ThreadTime::Sleep(2 * kMs);
  EXPECT_GE(time.Now() - before, kMs);
}

}  // namespace
}  // namespace memgov::workloads
