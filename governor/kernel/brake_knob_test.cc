#include "governor/kernel/brake_knob.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "governor/kernel/test_cgroups.h"
#include "governor/kernel/test_wait.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::kMiB;

constexpr core::CgroupId kId{1};

class BrakeKnobTest : public testing::Test {
 protected:
  BrakeKnobTest() { fake_.Add("/a", 10 * kMiB); }

  absl::Status Set(std::optional<core::Bytes> high, const std::string& path = "/a") {
    std::optional<absl::Status> result;
    knob_.Set(kId, path, high, [&](absl::Status status) { result = std::move(status); });
    EXPECT_FALSE(result.has_value());  // never from within
    while (!result.has_value()) {
      io_.restart();
      io_.run_for(std::chrono::milliseconds(10));
    }
    return *result;
  }
  std::string High() { return ReadFile(fake_.Directory("/a/memory.high")); }
  void SetHigh(const std::string& text) { WriteFile(fake_.Directory("/a/memory.high"), text); }
  std::string State() { return ReadFile(state_); }
  std::string LineOf(core::Bytes value) {
    return absl::StrCat("/a ", BrakeFile::Open(fake_.layout(), "/a")->inode(), " ", value, "\n");
  }
  template <typename Condition>
  bool Becomes(Condition condition) {
    return RunUntil(io_, condition);
  }
  // Another cgroup under the same path.
  void MakeAnew() {
    fake_.Add("/other", 10 * kMiB);  // before the old one goes: a file system may use an inode number again
    fake_.Remove("/a");
    std::filesystem::rename(fake_.Directory("/other"), fake_.Directory("/a"));
  }

  FakeHierarchy fake_{MemoryVersion::kV2};
  const std::string state_ = fake_.Directory("/run/brake.state");
  boost::asio::io_context io_;
  std::vector<core::BrakeLost> lost_;
  BrakeKnob knob_{fake_.layout(), state_, io_, [this](core::BrakeLost lost) { lost_.push_back(lost); }};
};

TEST_F(BrakeKnobTest, SetsMovesAndLetsGo) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  EXPECT_EQ(High(), absl::StrCat(64 * kMiB, "\n"));
  EXPECT_EQ(State(), LineOf(64 * kMiB));
  ASSERT_TRUE(Set(32 * kMiB).ok());
  EXPECT_EQ(High(), absl::StrCat(32 * kMiB, "\n"));
  EXPECT_EQ(State(), LineOf(32 * kMiB));
  ASSERT_TRUE(Set(std::nullopt).ok());
  EXPECT_EQ(High(), "max\n");
  EXPECT_FALSE(std::filesystem::exists(state_));
  EXPECT_TRUE(Set(std::nullopt).ok());
}

TEST_F(BrakeKnobTest, WritesWholePages) {
  ASSERT_TRUE(Set(64 * kMiB + 4095).ok());
  EXPECT_EQ(High(), absl::StrCat(64 * kMiB, "\n"));
}

TEST_F(BrakeKnobTest, NeverReplacesAForeignValue) {
  for (const core::Bytes foreign : {32 * kMiB, 128 * kMiB}) {
    SetHigh(absl::StrCat(foreign, "\n"));
    const absl::Status status = Set(64 * kMiB);
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_EQ(status.message(), absl::StrCat("memory.high of /a is ", foreign, ", set by somebody else"));
    EXPECT_TRUE(Set(std::nullopt).ok());
    EXPECT_EQ(High(), absl::StrCat(foreign, "\n"));
  }
}

TEST_F(BrakeKnobTest, AValueThatReplacedOursIsForeign) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  SetHigh("1048576\n");
  EXPECT_TRUE(absl::IsFailedPrecondition(Set(32 * kMiB)));
  EXPECT_TRUE(Set(std::nullopt).ok());
  EXPECT_EQ(High(), "1048576\n");
  EXPECT_FALSE(std::filesystem::exists(state_));
}

TEST_F(BrakeKnobTest, ABrakeThatSomebodyResetIsSetAgain) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  SetHigh("max\n");
  ASSERT_TRUE(Set(64 * kMiB).ok());
  EXPECT_EQ(High(), absl::StrCat(64 * kMiB, "\n"));
}

TEST_F(BrakeKnobTest, NeverGoesToUsageOrBelow) {
  for (const core::Bytes high : {5 * kMiB, 10 * kMiB, core::Bytes{0}, core::Bytes{-1}}) {
    EXPECT_TRUE(absl::IsOutOfRange(Set(high))) << high;
    EXPECT_EQ(High(), "max\n");
    EXPECT_FALSE(std::filesystem::exists(state_));
  }
  ASSERT_TRUE(Set(10 * kMiB + 4096).ok());
  EXPECT_TRUE(absl::IsOutOfRange(Set(10 * kMiB)));  // the brake that is there stays
  EXPECT_EQ(High(), absl::StrCat(10 * kMiB + 4096, "\n"));
  EXPECT_EQ(State(), LineOf(10 * kMiB + 4096));
}

TEST_F(BrakeKnobTest, ACgroupThatIsGoneIsSaidOnceAndForgotten) {
  EXPECT_TRUE(absl::IsNotFound(Set(64 * kMiB, "/nowhere")));
  ASSERT_TRUE(Set(64 * kMiB).ok());
  fake_.Remove("/a");
  EXPECT_TRUE(Set(std::nullopt).ok());
  EXPECT_FALSE(std::filesystem::exists(state_));
}

TEST_F(BrakeKnobTest, AMarkGoesWhenSettingFindsTheCgroupGone) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  fake_.Remove("/a");
  EXPECT_TRUE(absl::IsNotFound(Set(32 * kMiB)));
  EXPECT_FALSE(std::filesystem::exists(state_));
}

TEST_F(BrakeKnobTest, AMarkGoesWithItsCgroup) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  fake_.Remove("/a");
  knob_.Forget(kId);
  EXPECT_TRUE(Becomes([this] { return !std::filesystem::exists(state_); }));
  knob_.Forget(kId);
}

TEST_F(BrakeKnobTest, ACgroupMadeAnewUnderTheSamePathIsNotTheOneWeBraked) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  MakeAnew();
  SetHigh(absl::StrCat(64 * kMiB, "\n"));  // its owner's choice, equal by chance
  knob_.Forget(kId);
  EXPECT_TRUE(Becomes([this] { return !std::filesystem::exists(state_); }));
  EXPECT_EQ(High(), absl::StrCat(64 * kMiB, "\n"));
}

TEST_F(BrakeKnobTest, AReleaseThatFailsIsTriedUntilItSucceeds) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  SetHigh("unreadable\n");
  EXPECT_FALSE(Set(std::nullopt).ok());
  SetHigh(absl::StrCat(64 * kMiB, "\n"));
  EXPECT_TRUE(Becomes([this] { return High() == "max\n" && !std::filesystem::exists(state_); }));
}

TEST_F(BrakeKnobTest, ANewWishEndsTheTryingToLetGo) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  SetHigh("unreadable\n");
  EXPECT_FALSE(Set(std::nullopt).ok());
  // The wish comes before the retry that would succeed, or after; it holds either way.
  SetHigh(absl::StrCat(64 * kMiB, "\n"));
  ASSERT_TRUE(Set(48 * kMiB).ok());
  io_.restart();
  io_.run_for(std::chrono::milliseconds(100));
  EXPECT_EQ(High(), absl::StrCat(48 * kMiB, "\n"));
}

TEST_F(BrakeKnobTest, AReleaseOfACgroupThatGoesWhileItFailsIsOver) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  SetHigh("unreadable\n");
  EXPECT_FALSE(Set(std::nullopt).ok());
  fake_.Remove("/a");
  EXPECT_TRUE(Becomes([this] { return !std::filesystem::exists(state_); }));
}

TEST_F(BrakeKnobTest, AForeignWriteIsToldAtOnceAndOursForgotten) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  SetHigh("1048576\n");
  ASSERT_TRUE(Becomes([this] { return !lost_.empty(); }));
  EXPECT_EQ(lost_[0].cgroup, kId);
  EXPECT_TRUE(lost_[0].foreign);
  EXPECT_FALSE(std::filesystem::exists(state_));
  EXPECT_EQ(High(), "1048576\n");
}

TEST_F(BrakeKnobTest, AResetIsToldToo) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  SetHigh("max\n");
  EXPECT_TRUE(Becomes([this] { return !lost_.empty(); }));
}

TEST_F(BrakeKnobTest, OurOwnWritesAreNoLoss) {
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(Set((20 + i) * kMiB).ok());
  ASSERT_TRUE(Set(std::nullopt).ok());
  ASSERT_TRUE(Set(64 * kMiB).ok());
  SetHigh("max\n");  // rings after all that was ours
  ASSERT_TRUE(Becomes([this] { return !lost_.empty(); }));
  io_.restart();
  io_.run_for(std::chrono::milliseconds(20));
  EXPECT_EQ(lost_.size(), 1U);
}

TEST_F(BrakeKnobTest, LettingGoOfAllIsToldForEachAndLeavesTheKnobReady) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  knob_.LetGoOfAll();
  ASSERT_TRUE(Becomes([this] { return !lost_.empty(); }));
  EXPECT_FALSE(lost_[0].foreign);
  EXPECT_EQ(High(), "max\n");
  EXPECT_FALSE(std::filesystem::exists(state_));
  EXPECT_TRUE(Set(64 * kMiB).ok());
  EXPECT_EQ(High(), absl::StrCat(64 * kMiB, "\n"));
}

TEST_F(BrakeKnobTest, WhatAnEarlierRestoringLeftIsLetGoInTheBackground) {
  fake_.Add("/left", 0);
  const std::string state = fake_.Directory("/run/left.state");
  const auto file = BrakeFile::Open(fake_.layout(), "/left");
  ASSERT_TRUE(StoreBrakeState(state, {{.path = "/left", .inode = file->inode(), .value = 4096}}).ok());
  WriteFile(fake_.Directory("/left/memory.high"), "4096\n");
  BrakeKnob knob(fake_.layout(), state, io_);
  EXPECT_TRUE(Becomes([&] { return ReadFile(fake_.Directory("/left/memory.high")) == "max\n"; }));
  EXPECT_TRUE(Becomes([&] { return !std::filesystem::exists(state); }));
}

TEST_F(BrakeKnobTest, RestoreAllTriesAgainToo) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  SetHigh("unreadable\n");
  std::thread mender([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    SetHigh(absl::StrCat(64 * kMiB, "\n"));
  });
  EXPECT_TRUE(knob_.RestoreAll().ok());
  mender.join();
  EXPECT_EQ(High(), "max\n");
}

// Whoever loses or tears the record must not leave a brake behind: this daemon knows what is its own.
TEST_F(BrakeKnobTest, RestoreAllLetsGoOfWhatTheRecordHasLost) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  std::filesystem::remove(state_);
  EXPECT_TRUE(knob_.RestoreAll().ok());
  EXPECT_EQ(High(), "max\n");
}

TEST_F(BrakeKnobTest, RestoreAllLetsGoOfWhatATornRecordHides) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  WriteFile(state_, State().substr(0, 5));
  knob_.RestoreAll().IgnoreError();  // it complains of the line
  EXPECT_EQ(High(), "max\n");
}

TEST_F(BrakeKnobTest, WithoutARecordNothingIsWritten) {
  WriteFile(fake_.Directory("/run"), "a file where the directory should be");
  EXPECT_FALSE(Set(64 * kMiB).ok());
  EXPECT_EQ(High(), "max\n");
}

TEST_F(BrakeKnobTest, RestoreAllLetsGoAndEndsIt) {
  fake_.Add("/b", 0);
  ASSERT_TRUE(Set(64 * kMiB).ok());
  ASSERT_TRUE(Set(64 * kMiB, "/b").ok());
  EXPECT_TRUE(knob_.RestoreAll().ok());
  EXPECT_EQ(High(), "max\n");
  EXPECT_EQ(ReadFile(fake_.Directory("/b/memory.high")), "max\n");
  EXPECT_FALSE(std::filesystem::exists(state_));
  EXPECT_TRUE(absl::IsFailedPrecondition(Set(64 * kMiB)));
  EXPECT_EQ(High(), "max\n");
  EXPECT_TRUE(knob_.RestoreAll().ok());
}

TEST_F(BrakeKnobTest, EveryRequestIsAnsweredAndTheLastOneHolds) {
  int answers = 0;
  int dropped = 0;
  for (int i = 1; i <= 200; ++i) {
    knob_.Set(kId, "/a", (20 + i % 2) * kMiB, [&](const absl::Status& status) {
      ++answers;
      if (absl::IsCancelled(status)) ++dropped;
    });
  }
  EXPECT_TRUE(Set(40 * kMiB).ok());
  EXPECT_EQ(answers, 200);
  EXPECT_LE(dropped, 200);
  EXPECT_EQ(High(), absl::StrCat(40 * kMiB, "\n"));
}

// A FIFO in the place of memory.current holds up whoever sets a brake there, until somebody writes.
class HeldUp {
 public:
  HeldUp(FakeHierarchy& fake, const std::string& path) : file_(fake.Directory(path) + "/memory.current") {
    ::unlink(file_.c_str());
    EXPECT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  }
  // Returns once the setter waits; it goes on with this usage.
  void Answer(const std::string& usage) {
    const int writer = ::open(file_.c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_EQ(::write(writer, usage.data(), usage.size()), static_cast<ssize_t>(usage.size()));
    ::close(writer);
  }

 private:
  const std::string file_;
};

TEST_F(BrakeKnobTest, LettingGoDoesNotWaitForASettingThatTakesLong) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  fake_.Add("/slow");
  HeldUp slow(fake_, "/slow");
  std::optional<absl::Status> set;
  knob_.Set(core::CgroupId{2}, "/slow", 64 * kMiB, [&](absl::Status status) { set = std::move(status); });
  EXPECT_TRUE(Set(std::nullopt).ok());
  EXPECT_EQ(High(), "max\n");
  EXPECT_FALSE(set.has_value());
  slow.Answer("0\n");
  EXPECT_TRUE(Becomes([&] { return set.has_value(); }));
  EXPECT_TRUE(set->ok()) << *set;
}

TEST_F(BrakeKnobTest, LettingGoOfACgroupWhoseBrakeIsBeingMovedLeavesNone) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  HeldUp slow(fake_, "/a");
  std::optional<absl::Status> moved;
  std::optional<absl::Status> let_go;
  knob_.Set(kId, "/a", 32 * kMiB, [&](absl::Status status) { moved = std::move(status); });
  ASSERT_TRUE(Becomes([this] { return State() == LineOf(32 * kMiB) + LineOf(64 * kMiB); }));
  knob_.Set(kId, "/a", std::nullopt, [&](absl::Status status) { let_go = std::move(status); });
  ASSERT_TRUE(Becomes([&] { return let_go.has_value(); }));
  EXPECT_TRUE(let_go->ok());
  EXPECT_EQ(High(), "max\n");
  EXPECT_NE(State(), "") << "the move that is under way may still write";
  slow.Answer("0\n");
  ASSERT_TRUE(Becomes([&] { return moved.has_value(); }));
  EXPECT_TRUE(absl::IsCancelled(*moved)) << *moved;
  EXPECT_TRUE(Becomes([this] { return !std::filesystem::exists(state_); }));
  EXPECT_EQ(High(), "max\n");
  EXPECT_TRUE(lost_.empty());
}

TEST_F(BrakeKnobTest, LetsGoWhereNoDescriptorIsLeft) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const absl::Status let_go = Set(std::nullopt);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(let_go.ok()) << let_go;
  EXPECT_EQ(High(), "max\n");
  EXPECT_FALSE(std::filesystem::exists(state_));
}

TEST_F(BrakeKnobTest, WhatCannotBeLetGoIsToldAndThatItCouldBe) {
  std::vector<absl::Status> failing;
  const std::string state = fake_.Directory("/run/told.state");
  BrakeKnob knob(fake_.layout(), state, io_, {},
                 [&](absl::Status why) { failing.push_back(std::move(why)); });
  bool done = false;
  knob.Set(kId, "/a", 64 * kMiB, [&](const absl::Status&) { done = true; });
  ASSERT_TRUE(Becomes([&] { return done; }));
  SetHigh("unreadable\n");
  knob.Set(kId, "/a", std::nullopt, [](const absl::Status&) {});
  ASSERT_TRUE(Becomes([&] { return failing.size() == 1; }));
  EXPECT_FALSE(failing[0].ok());
  SetHigh(absl::StrCat(64 * kMiB, "\n"));
  ASSERT_TRUE(Becomes([&] { return failing.size() == 2; }));
  EXPECT_TRUE(failing[1].ok());
}

TEST_F(BrakeKnobTest, V1HasNone) {
  const FakeHierarchy v1(MemoryVersion::kV1);
  BrakeKnob knob(v1.layout(), state_, io_);
  absl::Status result;
  knob.Set(kId, "/a", kMiB, [&](absl::Status status) { result = std::move(status); });
  EXPECT_TRUE(Becomes([&] { return absl::IsFailedPrecondition(result); }));
  EXPECT_TRUE(knob.RestoreAll().ok());
}

}  // namespace
}  // namespace memgov::kernel
