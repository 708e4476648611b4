#include "governor/sim/process.h"

#include <gtest/gtest.h>

namespace memgov::sim {
namespace {

constexpr double kSlack = 1 * kMiBf;

Instant At(double seconds) { return Instant(std::chrono::hours(1)) + Seconds(seconds); }

// Runs it alone to `end`.
void Play(Process& process, double from, double end) {
  double now = from;
  process.Settle(At(now));
  process.Redraw(1, 1);
  while (now < end) {
    now = std::min(end, now + process.NextChange().value_or(end - now) + 1e-9);
    process.Settle(At(now));
    process.Redraw(1, 1);
  }
}

ServicePlan PlanOf(Heap heap, Demand demand) {
  ServicePlan plan{.heap = heap, .manner = Manner::kHonest};
  plan.demand = std::move(demand);
  plan.keep = 1;
  return plan;
}

TEST(Process, KeepsWhatItFreedAndUsesItAgainBeforeItGrows) {
  const ServicePlan plan =
      PlanOf(Heap::kAllocator, Demand({{0, 100 * kMiBf}, {10, 40 * kMiBf}, {20, 120 * kMiBf}}));
  Process process(&plan);
  process.Begin(At(0));
  Play(process, 0, 10);
  EXPECT_NEAR(process.retained(), 60 * kMiBf, kSlack);
  EXPECT_NEAR(process.usage(), 100 * kMiBf, kSlack);
  Play(process, 10, 17);
  EXPECT_NEAR(process.usage(), 100 * kMiBf, kSlack);
  Play(process, 17, 20);
  EXPECT_NEAR(process.retained(), 0, kSlack);
  EXPECT_NEAR(process.usage(), 120 * kMiBf, kSlack);
}

TEST(Process, ReleasesWhatItKeepsAndNoMore) {
  const ServicePlan plan = PlanOf(Heap::kAllocator, Demand({{0, 100 * kMiBf}, {1, 40 * kMiBf}}));
  Process process(&plan);
  process.Begin(At(0));
  Play(process, 0, 2);
  EXPECT_NEAR(process.Release(20 * kMiBf), 20 * kMiBf, kSlack);
  EXPECT_NEAR(process.Release(1000 * kMiBf), 40 * kMiBf, kSlack);
  EXPECT_NEAR(process.usage(), 40 * kMiBf, kSlack);
}

TEST(Process, FreesLazilyWhatTheKernelCanTake) {
  const ServicePlan plan = PlanOf(Heap::kLazy, Demand({{0, 100 * kMiBf}, {1, 40 * kMiBf}}));
  Process process(&plan);
  process.Begin(At(0));
  Play(process, 0, 2);
  EXPECT_NEAR(process.lazy(), 60 * kMiBf, kSlack);
  EXPECT_NEAR(process.TakeLazy(1000 * kMiBf), 60 * kMiBf, kSlack);
}

TEST(Process, WithACollectedHeapFillsUpToTwiceItsLiveMemoryAndStaysUnderASoftLimit) {
  ServicePlan plan = PlanOf(Heap::kCollected, Demand::Steady(100 * kMiBf));
  plan.garbage_per_second = 50 * kMiBf;
  Process process(&plan);
  process.Begin(At(0));
  Play(process, 0, 5);
  EXPECT_NEAR(process.usage(), 204 * kMiBf, kSlack);
  process.Release(1000 * kMiBf);
  EXPECT_NEAR(process.usage(), 100 * kMiBf, kSlack);
  process.SetSoftLimit(150 * kMiBf, At(15));
  Play(process, 5, 14);
  EXPECT_NEAR(process.usage(), 150 * kMiBf, 2 * kSlack);
  Play(process, 14, 25);  // the limit has ended
  EXPECT_NEAR(process.usage(), 204 * kMiBf, 2 * kSlack);
}

TEST(Process, UnderATightSoftLimitWorksLess) {
  ServicePlan plan = PlanOf(Heap::kCollected, Demand::Steady(2048 * kMiBf));
  plan.garbage_per_second = 300 * kMiBf;
  Process free(&plan), limited(&plan);
  free.Begin(At(0));
  limited.Begin(At(0));
  limited.SetSoftLimit(1, At(100));
  Play(free, 0, 50);
  Play(limited, 0, 50);
  EXPECT_LT(limited.work(), free.work());
}

TEST(Process, ThatDiesHoldsNothingAndLoadsAnew) {
  const ServicePlan plan = PlanOf(Heap::kPlain, Demand::Steady(100 * kMiBf));
  Process process(&plan);
  process.Begin(At(0));
  Play(process, 0, 10);
  process.Die(At(10));
  EXPECT_EQ(process.usage(), 0);
  process.Settle(At(20));
  EXPECT_NEAR(process.work(), 10, 1e-6);
  process.Restart(At(20));
  Play(process, 20, 20.25);
  EXPECT_NEAR(process.usage(), 50 * kMiBf, kSlack);
  Play(process, 20.25, 22);
  EXPECT_NEAR(process.usage(), 100 * kMiBf, kSlack);
}

}  // namespace
}  // namespace memgov::sim
