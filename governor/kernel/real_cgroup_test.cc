// The room against this machine's own kernel: whatever version of the memory controller it has.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/kernel/alarms.h"
#include "governor/kernel/brake_knob.h"
#include "governor/kernel/cgroup_tree.h"
#include "governor/kernel/clock.h"
#include "governor/kernel/guard.h"
#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"
#include "tests/cpp/temporary_directory.h"

namespace memgov::kernel {
namespace {

using core::kMiB;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr core::CgroupId kId{1};

class RealCgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    RealHierarchy real = FindRealHierarchy();
    if (!real.layout.has_value()) GTEST_SKIP() << "no memory controller that we may write: " << real.why_not;
    layout_ = *std::move(real.layout);
    cgroup_ = std::make_unique<RealCgroup>(layout_);
  }
  bool v1() const { return layout_.memory_version == MemoryVersion::kV1; }
  std::string StateFile() const { return directory_.path() + "/brake.state"; }
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
  void RunFor(milliseconds time) {
    io_.restart();
    io_.run_for(time);
  }
  core::CgroupSample Read(CgroupTree& tree, core::CgroupId id) {
    core::Snapshot snapshot;
    EXPECT_TRUE(tree.Sample(id, MonotonicClock().Now(), true, &snapshot));
    return snapshot.samples.empty() ? core::CgroupSample{} : snapshot.samples[0];
  }
  absl::Status Arm(Alarms& alarms, core::CgroupId id, const std::string& path, core::Bytes at) {
    std::optional<absl::Status> result;
    alarms.Arm(id, path, at, [&](absl::Status status) { result = std::move(status); });
    EXPECT_FALSE(result.has_value());  // never from within
    EXPECT_TRUE(RunUntil([&] { return result.has_value(); }));
    return result.value_or(absl::DeadlineExceededError("no answer"));
  }
  absl::Status SetBrake(BrakeKnob& knob, std::optional<core::Bytes> high) {
    std::optional<absl::Status> result;
    knob.Set(kId, cgroup_->path(), high, [&](absl::Status status) { result = std::move(status); });
    EXPECT_TRUE(RunUntil([&] { return result.has_value(); }));
    return result.value_or(absl::DeadlineExceededError("no answer"));
  }

  CgroupLayout layout_;
  std::unique_ptr<RealCgroup> cgroup_;
  const TemporaryDirectory directory_;  // others may write in /tmp, so no state is kept there
  boost::asio::io_context io_;
};

TEST_F(RealCgroupTest, ASampleFollowsWhatAProcessTakes) {
  cgroup_->SetLimit(128 * kMiB);
  CgroupTree tree(layout_, {cgroup_->path()});
  core::Snapshot scanned;
  tree.Scan(core::Instant{}, &scanned);
  ASSERT_EQ(scanned.appeared.size(), 1U);
  EXPECT_EQ(scanned.appeared[0].has_brake, !v1());
  const core::CgroupId id = scanned.appeared[0].id;
  Hog hog(*cgroup_);
  const core::CgroupSample before = Read(tree, id);
  EXPECT_EQ(before.limit, 128 * kMiB);
  EXPECT_EQ(before.memory_high, std::nullopt);
  ASSERT_TRUE(hog.Take(48 * kMiB));
  const core::CgroupSample after = Read(tree, id);
  EXPECT_GE(after.usage - before.usage, 47 * kMiB);
  ASSERT_TRUE(before.stat.has_value() && after.stat.has_value());
  EXPECT_GT(after.stat->anon, 40 * kMiB);  // per-CPU counts lag a little
  EXPECT_EQ(after.pressure.has_value(),
            layout_.pressure_mount.has_value() &&
                std::filesystem::exists(*layout_.pressure_mount + cgroup_->path() + "/memory.pressure"));
}

TEST_F(RealCgroupTest, AChangedLimitIsToldAtOnce) {
  cgroup_->SetLimit(128 * kMiB);
  CgroupTree tree(layout_, {cgroup_->path()});
  core::Snapshot scanned;
  tree.Scan(core::Instant{}, &scanned);
  const core::CgroupId id = scanned.appeared.at(0).id;
  EXPECT_EQ(Read(tree, id).limit, 128 * kMiB);
  EXPECT_THAT(tree.ReadInotify().knobs_written, testing::IsEmpty());
  cgroup_->SetLimit(64 * kMiB);
  EXPECT_THAT(tree.ReadInotify().knobs_written, testing::ElementsAre(id));
  EXPECT_EQ(Read(tree, id).limit, 64 * kMiB);
}

TEST_F(RealCgroupTest, AnOomKillIsCountedInItsCgroup) {
  cgroup_->SetLimit(32 * kMiB);
  CgroupTree tree(layout_, {cgroup_->path()});
  core::Snapshot scanned;
  tree.Scan(core::Instant{}, &scanned);
  const core::CgroupId id = scanned.appeared.at(0).id;
  Hog hog(*cgroup_);
  EXPECT_EQ(Read(tree, id).oom_kills, 0U);
  EXPECT_FALSE(hog.Take(64 * kMiB));
  EXPECT_EQ(hog.Died(), SIGKILL);
  EXPECT_EQ(Read(tree, id).oom_kills, 1U);
}

TEST_F(RealCgroupTest, NewChildrenAreNoticedAndRemovedOnesVanish) {
  cgroup_->LetChildrenHaveMemory();
  CgroupTree tree(layout_, {cgroup_->path()});
  core::Snapshot first;
  tree.Scan(core::Instant{}, &first);
  EXPECT_FALSE(tree.ReadInotify().scan_needed);
  RealCgroup child(layout_, cgroup_.get());
  EXPECT_TRUE(tree.ReadInotify().scan_needed);
  core::Snapshot second;
  tree.Scan(core::Instant{}, &second);
  ASSERT_EQ(second.appeared.size(), 1U);
  EXPECT_EQ(second.appeared[0].path, child.path());
  EXPECT_EQ(second.appeared[0].parent, first.appeared.at(0).id);

  const core::CgroupId id = second.appeared[0].id;
  Read(tree, id);  // opens what is kept
  ASSERT_TRUE(child.Remove());
  child.Make();
  core::Snapshot third;
  EXPECT_FALSE(tree.Sample(id, MonotonicClock().Now(), true, &third));
  tree.Scan(core::Instant{}, &third);
  EXPECT_THAT(third.vanished, testing::ElementsAre(id));
  ASSERT_EQ(third.appeared.size(), 1U);
  EXPECT_EQ(third.appeared[0].path, child.path());
  EXPECT_NE(third.appeared[0].id, id);
}

TEST_F(RealCgroupTest, AScanFindsAReplacedCgroupWithoutHavingReadIt) {
  cgroup_->LetChildrenHaveMemory();
  RealCgroup child(layout_, cgroup_.get());
  CgroupTree tree(layout_, {cgroup_->path()});
  core::Snapshot first;
  tree.Scan(core::Instant{}, &first);
  ASSERT_TRUE(child.Remove());
  child.Make();
  core::Snapshot second;
  tree.Scan(core::Instant{}, &second);
  EXPECT_THAT(second.vanished, testing::ElementsAre(first.appeared.at(1).id));
  EXPECT_EQ(second.appeared.size(), 1U);
}

// --- alarms
// ---------------------------------------------------------------------------------------------------

TEST_F(RealCgroupTest, AnAlarmRingsWhenUsageCrossesTheWire) {
  cgroup_->SetLimit(256 * kMiB);
  int rings = 0;
  Alarms alarms(io_, layout_, [&](core::CgroupId id) { rings += id == kId ? 1 : 0; });
  BrakeKnob knob(layout_, StateFile(), io_);
  Hog hog(*cgroup_);
  ASSERT_TRUE(hog.Take(16 * kMiB));
  const absl::Status armed = Arm(alarms, kId, cgroup_->path(), 64 * kMiB);
  ASSERT_TRUE(armed.ok()) << armed;
  // On v2 the wire is memory.high.
  if (!v1()) {
    ASSERT_TRUE(SetBrake(knob, 64 * kMiB).ok());
  }
  RunFor(milliseconds(20));
  EXPECT_EQ(rings, 0);
  hog.TakeUnwatched(80 * kMiB);
  EXPECT_TRUE(RunUntil([&] { return rings > 0; }));
  EXPECT_TRUE(knob.RestoreAll().ok());
}

TEST_F(RealCgroupTest, ArmingAgainMovesTheWireAndLeavesOneBehind) {
  if (!v1()) GTEST_SKIP() << "on v2 the wire is memory.high, which BrakeKnob moves";
  int rings = 0;
  Alarms alarms(io_, layout_, [&](core::CgroupId) { ++rings; });
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                         std::filesystem::directory_iterator());
  };
  Hog hog(*cgroup_);
  ASSERT_TRUE(Arm(alarms, kId, cgroup_->path(), 32 * kMiB).ok());
  const auto before = descriptors();
  ASSERT_TRUE(Arm(alarms, kId, cgroup_->path(), 32 * kMiB).ok());
  ASSERT_TRUE(Arm(alarms, kId, cgroup_->path(), 96 * kMiB).ok());
  EXPECT_EQ(descriptors(), before);
  EXPECT_EQ(alarms.size(), 1U);
  ASSERT_TRUE(hog.Take(64 * kMiB));
  RunFor(milliseconds(50));
  EXPECT_EQ(rings, 0);  // the old wire is gone
  ASSERT_TRUE(hog.Take(64 * kMiB));
  EXPECT_TRUE(RunUntil([&] { return rings > 0; }));
  alarms.Disarm(kId);
  EXPECT_EQ(alarms.size(), 0U);
  EXPECT_EQ(descriptors(), before - 1);
}

TEST_F(RealCgroupTest, AWireBelowUsageRingsAtOnceButNotFromWithin) {
  if (!v1()) GTEST_SKIP() << "a v2 alarm has no wire of its own";
  int rings = 0;
  Alarms alarms(io_, layout_, [&](core::CgroupId) { ++rings; });
  Hog hog(*cgroup_);
  ASSERT_TRUE(hog.Take(32 * kMiB));
  ASSERT_TRUE(Arm(alarms, kId, cgroup_->path(), 16 * kMiB).ok());
  EXPECT_TRUE(RunUntil([&] { return rings == 1; }));
}

TEST_F(RealCgroupTest, ALaterRequestOvertakesAnAlarmThatIsBeingArmed) {
  if (!v1()) GTEST_SKIP() << "a v2 alarm is armed at once";
  Alarms alarms(io_, layout_, [](core::CgroupId) {});
  std::vector<std::string> answers;
  const auto answer = [&](const absl::Status& status) {
    answers.push_back(status.ok() ? "ok" : "cancelled");
  };
  alarms.Arm(kId, cgroup_->path(), 32 * kMiB, answer);
  alarms.Arm(kId, cgroup_->path(), 64 * kMiB, answer);
  EXPECT_TRUE(RunUntil([&] { return answers.size() == 2; }));
  EXPECT_THAT(answers, testing::ElementsAre("cancelled", "ok"));
  EXPECT_EQ(alarms.size(), 1U);
  alarms.Arm(kId, cgroup_->path(), 96 * kMiB, answer);
  alarms.Disarm(kId);
  RunFor(milliseconds(50));
  EXPECT_THAT(answers, testing::ElementsAre("cancelled", "ok", "cancelled"));
  EXPECT_EQ(alarms.size(), 0U);
}

TEST_F(RealCgroupTest, AlarmsMayEndWhileTheyAreBeingArmed) {
  for (int i = 0; i < 10; ++i) {
    Alarms alarms(io_, layout_, [](core::CgroupId) {});
    alarms.Arm(kId, cgroup_->path(), 32 * kMiB, [](const absl::Status&) {});
  }
  RunFor(milliseconds(50));
}

TEST_F(RealCgroupTest, ARemovedCgroupRingsAtMostOnceAndThenIsSilent) {
  int rings = 0;
  Alarms alarms(io_, layout_, [&](core::CgroupId) { ++rings; });
  ASSERT_TRUE(Arm(alarms, kId, cgroup_->path(), 64 * kMiB).ok());
  ASSERT_TRUE(cgroup_->Remove());
  // Linux 6.1 wakes nobody who waits for memory.events of a cgroup that is removed.
  if (v1()) {
    EXPECT_TRUE(RunUntil([&] { return rings > 0; }));
  }
  const std::clock_t cpu = std::clock();
  RunFor(milliseconds(500));
  EXPECT_LE(rings, 2);
  EXPECT_LT(std::clock() - cpu, CLOCKS_PER_SEC / 5) << "it spins";
  alarms.Disarm(kId);
  EXPECT_EQ(alarms.size(), 0U);
  EXPECT_TRUE(absl::IsNotFound(Arm(alarms, core::CgroupId{2}, cgroup_->path(), 64 * kMiB)));
}

TEST_F(RealCgroupTest, AnAlarmMayDisarmItselfAndEndTheAlarms) {
  if (!v1()) GTEST_SKIP() << "needs a ring on removal, which v1 has";
  int rings = 0;
  std::unique_ptr<Alarms> alarms;
  alarms = std::make_unique<Alarms>(io_, layout_, [&](core::CgroupId id) {
    ++rings;
    alarms->Disarm(id);
    alarms.reset();
  });
  ASSERT_TRUE(Arm(*alarms, kId, cgroup_->path(), 64 * kMiB).ok());
  ASSERT_TRUE(cgroup_->Remove());
  EXPECT_TRUE(RunUntil([&] { return rings > 0; }));
  RunFor(milliseconds(20));
  EXPECT_EQ(rings, 1);
}

TEST_F(RealCgroupTest, AWireNeedsACgroupAndAnAmount) {
  Alarms alarms(io_, layout_, [](core::CgroupId) {});
  EXPECT_TRUE(absl::IsInvalidArgument(Arm(alarms, kId, cgroup_->path(), 0)));
  EXPECT_TRUE(absl::IsNotFound(Arm(alarms, kId, "/memgov-kt-nowhere", kMiB)));
  EXPECT_EQ(alarms.size(), 0U);
  alarms.Disarm(kId);
}

// --- the brake
// ------------------------------------------------------------------------------------------------

TEST_F(RealCgroupTest, TheBrakeIsSetInPagesAndRestored) {
  if (v1()) GTEST_SKIP() << "memory.high needs cgroup v2";
  cgroup_->SetLimit(256 * kMiB);
  BrakeKnob knob(layout_, StateFile(), io_);
  Hog hog(*cgroup_);
  ASSERT_TRUE(hog.Take(16 * kMiB));
  EXPECT_TRUE(absl::IsOutOfRange(SetBrake(knob, 8 * kMiB)));
  EXPECT_EQ(ReadFile(cgroup_->File("memory.high")), "max\n");
  ASSERT_TRUE(SetBrake(knob, 64 * kMiB + 5).ok());
  EXPECT_EQ(ReadFile(cgroup_->File("memory.high")), absl::StrCat(64 * kMiB, "\n"));
  ASSERT_TRUE(SetBrake(knob, 96 * kMiB + 5).ok());
  EXPECT_EQ(ReadFile(cgroup_->File("memory.high")), absl::StrCat(96 * kMiB, "\n"));
  EXPECT_TRUE(knob.RestoreAll().ok());
  EXPECT_EQ(ReadFile(cgroup_->File("memory.high")), "max\n");
  EXPECT_EQ(ReadFile(cgroup_->File("memory.max")), absl::StrCat(256 * kMiB, "\n"));
}

TEST_F(RealCgroupTest, TheGuardLetsGoOfARealBrake) {
  if (v1()) GTEST_SKIP() << "memory.high needs cgroup v2";
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    const auto guard = StartGuard(layout_, StateFile());
    boost::asio::io_context io;
    BrakeKnob knob(layout_, StateFile(), io);
    if (!guard.ok()) ::_exit(9);
    knob.Set(kId, cgroup_->path(), 64 * kMiB, [](const absl::Status&) { ::raise(SIGKILL); });
    for (;;) io.run_for(seconds(1)), io.restart();
  }
  int status = 0;
  ASSERT_EQ(::waitpid(daemon, &status, 0), daemon);
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_TRUE(RunUntil([&] { return ReadFile(cgroup_->File("memory.high")) == "max\n"; }));
}

}  // namespace
}  // namespace memgov::kernel
