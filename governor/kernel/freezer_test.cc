#include "governor/kernel/freezer.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/kernel/page_out.h"
#include "governor/kernel/test_cgroups.h"
#include "governor/kernel/test_holder.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::kMiB;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

TEST(FreezeStateTest, IsOneLineForEachCgroup) {
  std::vector<std::string> complaints;
  EXPECT_THAT(ParseFreezeState("/a 12\n/with space/b 18446744073709551615\n", "f", &complaints),
              ElementsAre(FreezeMark{"/a", 12}, FreezeMark{"/with space/b", 18446744073709551615U}));
  EXPECT_TRUE(complaints.empty());
}

TEST(FreezeStateTest, BrokenLinesAreNamedAndTheOthersKept) {
  std::vector<std::string> complaints;
  const std::string text = "/a\n/ 1\n/../b 2\n/c -3\nd 4\n\n/e 5 \n/f 99999999999999999999\n/g 7";
  EXPECT_THAT(ParseFreezeState(text, "f", &complaints), ElementsAre(FreezeMark{"/g", 7}));
  EXPECT_EQ(complaints.size(), 8U);
  EXPECT_EQ(complaints[2], "f:3: \"/../b 2\" is not \"/path inode\"");
}

// A freezer hierarchy of plain files: v1, next to a memory hierarchy with the same processes.
class FakeFreezerTest : public testing::Test {
 protected:
  FakeFreezerTest() {
    Add("/pod", "");
    freezer_ = std::make_unique<Freezer>(memory_.layout(), layout(), state_file_);
  }
  FreezerLayout layout() const {
    return {.version = MemoryVersion::kV1, .mount = frozen_.layout().memory_mount};
  }
  void Add(const std::string& path, const std::string& pids) {
    for (FakeHierarchy* hierarchy : {&memory_, &frozen_}) {
      hierarchy->Add(path);
      WriteFile(hierarchy->Directory(path) + "/cgroup.procs", pids);
    }
    WriteFile(StateOf(path), "THAWED\n");
  }
  std::string StateOf(const std::string& path) const { return frozen_.Directory(path) + "/freezer.state"; }
  FakeHierarchy memory_{MemoryVersion::kV1};
  FakeHierarchy frozen_{MemoryVersion::kV1};
  const TemporaryDirectory directory_;
  const std::string state_file_ = directory_.path() + "/freeze.state";
  std::unique_ptr<Freezer> freezer_;
};

TEST_F(FakeFreezerTest, RefusesTheRootAndWhatIsNoPath) {
  for (const char* path : {"/", "", "pod", "/pod/../.."}) {
    EXPECT_TRUE(absl::IsInvalidArgument(freezer_->Freeze(path))) << path;
  }
}

TEST_F(FakeFreezerTest, AHierarchyThatDoesNotMirrorThePathIsNotFound) {
  memory_.Add("/elsewhere");
  EXPECT_TRUE(absl::IsNotFound(freezer_->Freeze("/elsewhere")));
  EXPECT_EQ(ReadFile(state_file_), "");
}

TEST_F(FakeFreezerTest, RefusesWhereWeAreOurselves) {
  Add("/pod/us", absl::StrCat(::getpid(), "\n"));
  for (const char* path : {"/pod/us", "/pod"}) {
    const absl::Status status = freezer_->Freeze(path);
    EXPECT_TRUE(absl::IsFailedPrecondition(status));
    EXPECT_THAT(std::string(status.message()), HasSubstr("ourselves"));
  }
  EXPECT_EQ(ReadFile(StateOf("/pod")), "THAWED\n");
}

TEST_F(FakeFreezerTest, RefusesToStopProcessesOfOthers) {
  WriteFile(frozen_.Directory("/pod") + "/cgroup.procs", absl::StrCat(::getppid(), "\n"));
  const absl::Status status = freezer_->Freeze("/pod");
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("which the memory controller's does not"));
}

TEST_F(FakeFreezerTest, LeavesAForeignFreezeAlone) {
  WriteFile(StateOf("/pod"), "FREEZING\n");
  EXPECT_TRUE(absl::IsFailedPrecondition(freezer_->Freeze("/pod")));
  EXPECT_TRUE(freezer_->Thaw("/pod").ok());
  EXPECT_EQ(ReadFile(StateOf("/pod")), "FREEZING\n");
}

TEST_F(FakeFreezerTest, TheRecordNamesWhatIsFrozenForAsLongAsItIs) {
  Add("/pod/a", "");
  ASSERT_TRUE(freezer_->Freeze("/pod").ok());
  ASSERT_TRUE(freezer_->Freeze("/pod/a").ok());
  EXPECT_EQ(ReadFile(StateOf("/pod")), "FROZEN\n");
  std::vector<std::string> complaints;
  EXPECT_EQ(ParseFreezeState(ReadFile(state_file_), "f", &complaints).size(), 2U);
  ASSERT_TRUE(freezer_->Thaw("/pod").ok());
  EXPECT_EQ(ReadFile(StateOf("/pod")), "THAWED\n");
  EXPECT_THAT(ReadFile(state_file_), StartsWith("/pod/a "));
  ASSERT_TRUE(freezer_->ThawAll().ok());
  EXPECT_EQ(ReadFile(StateOf("/pod/a")), "THAWED\n");
  EXPECT_FALSE(std::filesystem::exists(state_file_));
}

TEST_F(FakeFreezerTest, WithoutARecordNothingIsFrozen) {
  Freezer freezer(memory_.layout(), layout(), "/proc/memgov/freeze.state");
  EXPECT_FALSE(freezer.Freeze("/pod").ok());
  EXPECT_EQ(ReadFile(StateOf("/pod")), "THAWED\n");
}

TEST_F(FakeFreezerTest, WhatDoesNotStopIsThawedAgain) {
  FakeHierarchy v2(MemoryVersion::kV2);
  v2.Add("/pod");
  WriteFile(v2.Directory("/pod") + "/cgroup.procs", "");
  WriteFile(v2.Directory("/pod") + "/cgroup.freeze", "0\n");
  WriteFile(v2.Directory("/pod") + "/cgroup.events", "populated 1\nfrozen 0\n");
  Freezer freezer(v2.layout(), *FindFreezer(v2.layout()), state_file_);
  EXPECT_TRUE(absl::IsDeadlineExceeded(freezer.Freeze("/pod")));
  EXPECT_EQ(ReadFile(v2.Directory("/pod") + "/cgroup.freeze"), "0\n");
  EXPECT_FALSE(std::filesystem::exists(state_file_));
}

TEST_F(FakeFreezerTest, ACgroupMadeAnewUnderThePathIsNotThawed) {
  struct stat info {};
  ASSERT_EQ(::stat(frozen_.Directory("/pod").c_str(), &info), 0);
  WriteFile(StateOf("/pod"), "FROZEN\n");
  WriteFile(state_file_, absl::StrCat("/pod ", info.st_ino + 1, "\n/gone 7\n"));
  EXPECT_TRUE(ThawFromState(layout(), state_file_).ok());
  EXPECT_EQ(ReadFile(StateOf("/pod")), "FROZEN\n");
  EXPECT_FALSE(std::filesystem::exists(state_file_));

  WriteFile(state_file_, absl::StrCat("/pod ", info.st_ino, "\nbroken\n"));
  EXPECT_TRUE(absl::IsDataLoss(ThawFromState(layout(), state_file_)));
  EXPECT_THAT(ReadFile(StateOf("/pod")), HasSubstr("THAWED"));
}

TEST_F(FakeFreezerTest, AnUnknownRecordIsNamedInAFewWords) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "\x1b[2J\n";
  std::vector<std::string> complaints;
  EXPECT_TRUE(ParseFreezeState(text, "f", &complaints).empty());
  ASSERT_EQ(complaints.size(), 17U);
  EXPECT_EQ(complaints[0], "f:1: \"\\033[2J\" is not \"/path inode\"");
  EXPECT_EQ(complaints[16], "f: and more");
}

TEST_F(FakeFreezerTest, ThawsWhereNoDescriptorIsLeft) {
  ASSERT_TRUE(freezer_->Freeze("/pod").ok());
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const absl::Status thawed = freezer_->Thaw("/pod");
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(thawed.ok()) << thawed;
  EXPECT_EQ(ReadFile(StateOf("/pod")), "THAWED\n");
  EXPECT_FALSE(std::filesystem::exists(state_file_));
}

TEST_F(FakeFreezerTest, AFreezeThatIsNotWantedAnyMoreWritesNothing) {
  EXPECT_TRUE(absl::IsCancelled(freezer_->Freeze("/pod", [] { return false; })));
  EXPECT_EQ(ReadFile(StateOf("/pod")), "THAWED\n");
  EXPECT_FALSE(std::filesystem::exists(state_file_));
}

TEST_F(FakeFreezerTest, UntilTheLastThawItStaysKnownAsOurs) {
  ASSERT_TRUE(freezer_->Freeze("/pod").ok());
  ASSERT_TRUE(freezer_->Thaw("/pod", /*last=*/false).ok());
  EXPECT_EQ(ReadFile(StateOf("/pod")), "THAWED\n");
  WriteFile(StateOf("/pod"), "FROZEN\n");  // the write that was under way
  EXPECT_TRUE(std::filesystem::exists(state_file_));
  ASSERT_TRUE(freezer_->Thaw("/pod").ok());
  EXPECT_EQ(ReadFile(StateOf("/pod")), "THAWED\n");
  EXPECT_FALSE(std::filesystem::exists(state_file_));
}

TEST_F(FakeFreezerTest, ARecordThatCannotBeMendedDoesNotThawAForeignFreezeLater) {
  ASSERT_TRUE(freezer_->Freeze("/pod").ok());
  std::filesystem::remove(state_file_);
  std::filesystem::create_directory(state_file_);
  EXPECT_FALSE(freezer_->Thaw("/pod").ok());
  EXPECT_EQ(ReadFile(StateOf("/pod")), "THAWED\n");
  WriteFile(StateOf("/pod"), "FROZEN\n");  // somebody else
  EXPECT_FALSE(freezer_->Thaw("/pod").ok());
  std::filesystem::remove(state_file_);
  EXPECT_TRUE(freezer_->Thaw("/pod").ok());
  EXPECT_EQ(ReadFile(StateOf("/pod")), "FROZEN\n");
}

TEST_F(FakeFreezerTest, WhatAPredecessorLeftIsOursToThaw) {
  struct stat info {};
  ASSERT_EQ(::stat(frozen_.Directory("/pod").c_str(), &info), 0);
  WriteFile(StateOf("/pod"), "FROZEN\n");
  WriteFile(state_file_, absl::StrCat("/pod ", info.st_ino, "\n"));
  Freezer freezer(memory_.layout(), layout(), state_file_);
  EXPECT_THAT(freezer.Frozen(), ElementsAre("/pod"));
  EXPECT_TRUE(freezer.Thaw("/pod").ok());
  EXPECT_EQ(ReadFile(StateOf("/pod")), "THAWED\n");
  EXPECT_FALSE(std::filesystem::exists(state_file_));
}

TEST_F(FakeFreezerTest, ARecordThatIsAFifoIsRefusedAtOnce) {
  ASSERT_EQ(::mkfifo(state_file_.c_str(), 0600), 0);
  EXPECT_TRUE(absl::IsFailedPrecondition(ThawFromState(layout(), state_file_)));
}

TEST_F(FakeFreezerTest, NoRecordIsNothingToThaw) {
  EXPECT_TRUE(ThawFromState(layout(), state_file_).ok());
  EXPECT_TRUE(ThawFromState(memory_.layout(), state_file_).ok());
}

// --- real

class RealFreezerTest : public testing::Test {
 protected:
  void SetUp() override {
    RealHierarchy real = FindRealHierarchy();
    if (!real.layout.has_value()) GTEST_SKIP() << real.why_not;
    layout_ = *std::move(real.layout);
    auto freezer = FindFreezer(layout_);
    if (!freezer.ok()) GTEST_SKIP() << freezer.status();
    freezer_layout_ = *std::move(freezer);
    cgroup_ = std::make_unique<RealCgroup>(layout_);
    holder_ = std::make_unique<Holder>(*cgroup_);
    if (Apart()) {
      ASSERT_EQ(::mkdir(Directory().c_str(), 0755), 0) << std::strerror(errno);
      WriteFile(Directory() + "/cgroup.procs", absl::StrCat(holder_->pid(), "\n"));
    }
    freezer_ = std::make_unique<Freezer>(layout_, freezer_layout_, state_file_);
  }
  void TearDown() override {
    if (freezer_ != nullptr) {
      EXPECT_TRUE(freezer_->ThawAll().ok());
    }
    holder_.reset();
    if (freezer_ == nullptr || !Apart()) return;
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (::rmdir(Directory().c_str()) != 0 && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  bool Apart() const { return freezer_layout_.mount != layout_.memory_mount; }
  std::string Directory() const { return freezer_layout_.mount + cgroup_->path(); }
  std::string KernelState() const {
    const bool v1 = freezer_layout_.version == MemoryVersion::kV1;
    return ReadFile(Directory() + (v1 ? "/freezer.state" : "/cgroup.freeze"));
  }
  bool IsThawed() const { return KernelState() == "THAWED\n" || KernelState() == "0\n"; }

  CgroupLayout layout_;
  FreezerLayout freezer_layout_;
  std::unique_ptr<RealCgroup> cgroup_;
  std::unique_ptr<Holder> holder_;
  std::unique_ptr<Freezer> freezer_;
  const TemporaryDirectory directory_;
  const std::string state_file_ = directory_.path() + "/freeze.state";
};

TEST_F(RealFreezerTest, StopsAProcessAndLetsItGoOn) {
  const auto began = std::chrono::steady_clock::now();
  ASSERT_TRUE(freezer_->Freeze(cgroup_->path()).ok());
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
  ::printf("[   saw    ] frozen after %.1f ms\n", took.count());
  EXPECT_FALSE(IsThawed());
  EXPECT_TRUE(freezer_->Freeze(cgroup_->path()).ok()) << "again is harmless";
  ASSERT_TRUE(freezer_->Thaw(cgroup_->path()).ok());
  EXPECT_TRUE(IsThawed());
  EXPECT_FALSE(std::filesystem::exists(state_file_));
  holder_->Map(kMiB);  // it answers
}

TEST_F(RealFreezerTest, WhatOurDeathLeftBehindIsThawedFromTheRecord) {
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    Freezer freezer(layout_, freezer_layout_, state_file_);
    if (!freezer.Freeze(cgroup_->path()).ok()) ::_exit(9);
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(daemon, &status, 0), daemon);
  ASSERT_TRUE(WIFSIGNALED(status)) << status;
  EXPECT_FALSE(IsThawed());
  EXPECT_TRUE(ThawFromState(layout_, state_file_).ok());
  EXPECT_TRUE(IsThawed());
  EXPECT_FALSE(std::filesystem::exists(state_file_));
}

TEST_F(RealFreezerTest, AKilledProcessOfV1DiesOnlyWhenItIsThawed) {
  ASSERT_TRUE(freezer_->Freeze(cgroup_->path()).ok());
  ::kill(holder_->pid(), SIGKILL);
  const auto child = static_cast<id_t>(holder_->pid());
  siginfo_t info{};
  if (Apart()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));  // were it to die, it had the time
    ASSERT_EQ(::waitid(P_PID, child, &info, WEXITED | WNOWAIT | WNOHANG), 0);
    EXPECT_EQ(info.si_pid, 0);
    ASSERT_TRUE(freezer_->ThawAll().ok());
  }
  ASSERT_EQ(::waitid(P_PID, child, &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(info.si_pid, holder_->pid());
}

TEST_F(RealFreezerTest, MemoryCanBeTakenFromAFrozenProcess) {
  const Holder::Region region = holder_->Map(64 * kMiB);
  holder_->Write(region, 0, 64 * kMiB);
  holder_->FreeLazily(region, 0, 64 * kMiB);
  ASSERT_TRUE(freezer_->Freeze(cgroup_->path()).ok());
  const ReclaimResult result =
      PageOut(layout_, {.path = cgroup_->path(), .bytes = 60 * kMiB}, [] { return true; });
  EXPECT_EQ(result.end, ReclaimEnd::kEnough) << result.status;
  EXPECT_FALSE(IsThawed());
}

}  // namespace
}  // namespace memgov::kernel
