#include "governor/kernel/oom_alarm.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <iostream>
#include <map>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "governor/kernel/cgroup_tree.h"
#include "governor/kernel/clock.h"
#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::kMiB;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr core::CgroupId kId{1};
constexpr std::size_t kMany = 1000;

TEST(OomAlarmsTest, AreForV1Only) {
  boost::asio::io_context io;
  const FakeHierarchy fake(MemoryVersion::kV2);
  OomAlarms alarms(io, fake.layout(), kMany, [](core::CgroupId, bool) {});
  EXPECT_TRUE(absl::IsUnimplemented(alarms.Arm(kId, "/a")));
}

class RealOomAlarmsTest : public testing::Test {
 protected:
  void SetUp() override {
    RealHierarchy real = FindRealHierarchy();
    if (!real.layout) GTEST_SKIP() << real.why_not;
    if (real.layout->memory_version != MemoryVersion::kV1) GTEST_SKIP() << "v1 only";
    layout_ = *std::move(real.layout);
    parent_ = std::make_unique<RealCgroup>(layout_);
  }
  bool RunUntil(const std::function<bool()>& done) {
    const auto give_up = std::chrono::steady_clock::now() + seconds(20);
    while (!done()) {
      if (std::chrono::steady_clock::now() > give_up) return false;
      io_.restart();
      io_.run_one_for(milliseconds(20));
    }
    return true;
  }

  CgroupLayout layout_;
  std::unique_ptr<RealCgroup> parent_;
  boost::asio::io_context io_;
};

TEST_F(RealOomAlarmsTest, AKillAtAnAncestorsLimitIsLookedAtInTheLeafSeveralTimes) {
  parent_->SetLimit(16 * kMiB);
  const RealCgroup leaf(layout_, parent_.get());
  std::vector<bool> looks;
  OomAlarms alarms(io_, layout_, kMany, [&](core::CgroupId, bool first) { looks.push_back(first); });
  ASSERT_TRUE(alarms.Arm(kId, leaf.path()).ok());
  ASSERT_TRUE(alarms.Arm(kId, leaf.path()).ok());
  EXPECT_EQ(alarms.size(), 1U);
  Hog hog(leaf);
  EXPECT_FALSE(hog.Take(32 * kMiB));
  EXPECT_EQ(hog.Died(), SIGKILL);
  ASSERT_TRUE(RunUntil([&] { return looks.size() > OomAlarms::kLooks.size(); }));
  EXPECT_TRUE(looks[0]);
  for (std::size_t look = 1; look <= OomAlarms::kLooks.size(); ++look) EXPECT_FALSE(looks[look]);
}

TEST_F(RealOomAlarmsTest, ARemovedCgroupRingsAndThenIsSilent) {
  std::size_t looks = 0;
  auto leaf = std::make_unique<RealCgroup>(layout_, parent_.get());
  OomAlarms alarms(io_, layout_, kMany, [&](core::CgroupId, bool) { ++looks; });
  ASSERT_TRUE(alarms.Arm(kId, leaf->path()).ok());
  const std::string path = leaf->path();
  leaf.reset();
  ASSERT_TRUE(RunUntil([&] { return looks == 1 + OomAlarms::kLooks.size(); }));
  const std::clock_t cpu = std::clock();
  io_.restart();
  io_.run_for(milliseconds(300));
  EXPECT_EQ(looks, 1 + OomAlarms::kLooks.size());
  EXPECT_LT(std::clock() - cpu, CLOCKS_PER_SEC / 10) << "it spins";
  EXPECT_TRUE(absl::IsNotFound(alarms.Arm(core::CgroupId{2}, path)));
  alarms.Disarm(kId);
  EXPECT_EQ(alarms.size(), 0U);
}

TEST_F(RealOomAlarmsTest, MayBeDisarmedAndEndedByALook) {
  auto leaf = std::make_unique<RealCgroup>(layout_, parent_.get());
  std::unique_ptr<OomAlarms> alarms;
  int looks = 0;
  alarms = std::make_unique<OomAlarms>(io_, layout_, kMany, [&](core::CgroupId id, bool) {
    ++looks;
    alarms->Disarm(id);
    alarms.reset();
  });
  ASSERT_TRUE(alarms->Arm(kId, leaf->path()).ok());
  leaf.reset();
  ASSERT_TRUE(RunUntil([&] { return looks > 0; }));
  io_.restart();
  io_.run_for(milliseconds(100));
  EXPECT_EQ(looks, 1);
}

TEST_F(RealOomAlarmsTest, AreBounded) {
  const RealCgroup leaf(layout_, parent_.get());
  OomAlarms alarms(io_, layout_, 1, [](core::CgroupId, bool) {});
  ASSERT_TRUE(alarms.Arm(kId, leaf.path()).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(alarms.Arm(core::CgroupId{2}, parent_->path())));
}

// The case it is for: the victim was alone, and its cgroup goes as soon as it has died.
TEST_F(RealOomAlarmsTest, KillsInCgroupsThatAreRemovedAtOnceAreCounted) {
  constexpr int kKills = 50;
  CgroupTree tree(layout_, {parent_->path()});
  int counted = 0;
  std::map<core::CgroupId, std::uint64_t> kills;
  OomAlarms alarms(io_, layout_, kMany, [&](core::CgroupId id, bool) {
    core::Snapshot snapshot;
    if (!tree.Sample(id, MonotonicClock().Now(), true, &snapshot) || snapshot.samples.empty()) return;
    counted += static_cast<int>(snapshot.samples[0].oom_kills -
                                std::exchange(kills[id], snapshot.samples[0].oom_kills));
  });
  for (int kill = 0; kill < kKills; ++kill) {
    RealCgroup leaf(layout_, parent_.get());
    leaf.SetLimit(16 * kMiB);
    core::Snapshot snapshot;
    tree.Scan(core::Instant{}, &snapshot);
    for (const auto& appeared : snapshot.appeared) {
      tree.Sample(appeared.id, MonotonicClock().Now(), true, &snapshot);
      ASSERT_TRUE(alarms.Arm(appeared.id, appeared.path).ok());
    }
    Hog hog(leaf);
    hog.TakeUnwatched(24 * kMiB);
    std::atomic<bool> removed = false;
    std::thread remover([&] {
      EXPECT_EQ(hog.Died(), SIGKILL);
      EXPECT_TRUE(leaf.Remove());
      removed = true;
    });
    EXPECT_TRUE(RunUntil([&] { return removed.load(); }));
    remover.join();
  }
  RecordProperty("counted", counted);
  // A machine so loaded that we do not run within the victim's exit may lose some; the kernel's log has
  // those.
  EXPECT_GE(counted, kKills / 2);
  std::cout << "counted " << counted << " of " << kKills << "\n";
}

}  // namespace
}  // namespace memgov::kernel
