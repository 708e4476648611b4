#include "governor/kernel/reclaimer.h"

#include <stdio.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "governor/kernel/test_holder.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::kGiB;
using core::kMiB;
using std::chrono::milliseconds;
using std::chrono::seconds;

class ReclaimerTest : public testing::Test {
 protected:
  // Runs handlers until `done`, for 20 s at most.
  bool RunUntil(const std::function<bool()>& done) {
    const auto give_up = std::chrono::steady_clock::now() + seconds(20);
    while (!done()) {
      if (std::chrono::steady_clock::now() > give_up) return false;
      io_.restart();
      io_.run_one_for(milliseconds(50));
    }
    return true;
  }
  Reclaimer::Done Keep() {
    return [this](ReclaimResult result) { results_.push_back(std::move(result)); };
  }
  boost::asio::io_context io_;
  std::vector<ReclaimResult> results_;
};

TEST_F(ReclaimerTest, AnswersFromTheLoopAndNeverFromWithinStart) {
  FakeHierarchy fake(MemoryVersion::kV1);
  Reclaimer reclaimer(fake.layout(), io_);
  reclaimer.Start({.path = "/gone", .bytes = kMiB}, Keep());
  EXPECT_TRUE(results_.empty());
  ASSERT_TRUE(RunUntil([&] { return !results_.empty(); }));
  EXPECT_TRUE(absl::IsNotFound(results_[0].status)) << results_[0].status;
  EXPECT_GT(results_[0].wall.count(), 0);
}

TEST_F(ReclaimerTest, OnePathHasOneOrderAtATime) {
  FakeHierarchy fake(MemoryVersion::kV1);
  Reclaimer reclaimer(fake.layout(), io_);
  for (const char* path : {"/a", "/a", "/b"}) reclaimer.Start({.path = path, .bytes = kMiB}, Keep());
  ASSERT_TRUE(RunUntil([&] { return results_.size() == 3; }));
  EXPECT_EQ(std::count_if(results_.begin(), results_.end(),
                          [](const ReclaimResult& r) { return absl::IsAlreadyExists(r.status); }),
            1);
  results_.clear();
  reclaimer.Start({.path = "/a", .bytes = kMiB}, Keep());
  ASSERT_TRUE(RunUntil([&] { return results_.size() == 1; }));
  EXPECT_TRUE(absl::IsNotFound(results_[0].status));
}

TEST_F(ReclaimerTest, ItsEndCancelsWhatWaitsAndStillAnswers) {
  FakeHierarchy fake(MemoryVersion::kV1);
  {
    Reclaimer reclaimer(fake.layout(), io_);
    for (const char* path : {"/a", "/b", "/c", "/d"}) reclaimer.Start({.path = path, .bytes = kMiB}, Keep());
  }
  ASSERT_TRUE(RunUntil([&] { return results_.size() == 4; }));
}

TEST_F(ReclaimerTest, TakesHalfAGibibyteFromAProcessThatKnowsNothingOfUs) {
  const RealHierarchy real = FindRealHierarchy();
  if (!real.layout.has_value()) GTEST_SKIP() << real.why_not;
  RealCgroup cgroup(*real.layout);
  cgroup.SetLimit(kGiB);
  Holder holder(cgroup);
  const Holder::Region region = holder.Map(500 * kMiB);
  holder.Write(region, 0, 500 * kMiB);
  holder.FreeLazily(region, 0, 500 * kMiB);
  Reclaimer reclaimer(*real.layout, io_);
  reclaimer.Start({.path = cgroup.path(), .bytes = 450 * kMiB, .longest = seconds(20)}, Keep());
  ASSERT_TRUE(RunUntil([&] { return !results_.empty(); }));
  const ReclaimResult& result = results_[0];
  EXPECT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(result.end, ReclaimEnd::kEnough);
  EXPECT_GE(result.usage_before - result.usage_after, 450 * kMiB);
  EXPECT_NEAR(static_cast<double>(result.confirmed), 500.0 * kMiB, kMiB);
  EXPECT_GT(result.cpu.count(), 0);
  ::printf("[   saw    ] 450 of 500 MiB in %.0f ms wall, %.0f ms CPU\n",
           static_cast<double>(result.wall.count()) / 1e6, static_cast<double>(result.cpu.count()) / 1e6);
}

TEST(ProbeReclaimTest, TellsWhatThisMachineOffers) {
  const RealHierarchy real = FindRealHierarchy();
  if (!real.layout.has_value()) GTEST_SKIP() << real.why_not;
  const ReclaimAbilities abilities = ProbeReclaim(*real.layout);
  ::printf("[   saw    ] page out: %s; memory.reclaim: %s; swappiness argument: %s\n",
           abilities.page_out.ToString().c_str(), abilities.reclaim.ToString().c_str(),
           abilities.swappiness_argument ? "yes" : "no");
  EXPECT_EQ(absl::IsUnimplemented(abilities.reclaim), real.layout->memory_version == MemoryVersion::kV1);
  if (!abilities.reclaim.ok()) {
    EXPECT_FALSE(abilities.swappiness_argument);
  }
}

TEST(LookAtReclaimTest, WritesNothing) {
  FakeHierarchy fake(MemoryVersion::kV2);
  EXPECT_TRUE(absl::IsUnimplemented(LookAtReclaim(fake.layout()).reclaim));
  const std::string knob = fake.Directory("/memory.reclaim");
  WriteFile(knob, "as it was");
  EXPECT_TRUE(LookAtReclaim(fake.layout()).reclaim.ok());
  EXPECT_EQ(ReadFile(knob), "as it was");
  EXPECT_TRUE(ProbeReclaim(fake.layout()).reclaim.ok());
  EXPECT_NE(ReadFile(knob), "as it was") << "which trying does";
}

TEST(LookAtReclaimTest, SeesWhatTryingShows) {
  const RealHierarchy real = FindRealHierarchy();
  if (!real.layout.has_value()) GTEST_SKIP() << real.why_not;
  const ReclaimAbilities seen = LookAtReclaim(*real.layout);
  const ReclaimAbilities tried = ProbeReclaim(*real.layout);
  EXPECT_EQ(seen.page_out.ok(), tried.page_out.ok()) << seen.page_out << "; " << tried.page_out;
  EXPECT_EQ(seen.reclaim.ok(), tried.reclaim.ok()) << seen.reclaim << "; " << tried.reclaim;
}

}  // namespace
}  // namespace memgov::kernel
