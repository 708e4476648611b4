#include "governor/kernel/brake_knob.h"

#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "governor/kernel/test_cgroups.h"
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

  FakeHierarchy fake_{MemoryVersion::kV2};
  const std::string state_ = fake_.Directory("/run/brake.state");
  boost::asio::io_context io_;
  BrakeKnob knob_{fake_.layout(), state_, io_};
};

TEST_F(BrakeKnobTest, SetsMovesAndLetsGo) {
  ASSERT_TRUE(Set(64 * kMiB).ok());
  EXPECT_EQ(High(), absl::StrCat(64 * kMiB, "\n"));
  EXPECT_EQ(State(), absl::StrCat("/a ", 64 * kMiB, "\n"));
  ASSERT_TRUE(Set(32 * kMiB).ok());
  EXPECT_EQ(High(), absl::StrCat(32 * kMiB, "\n"));
  EXPECT_EQ(State(), absl::StrCat("/a ", 32 * kMiB, "\n"));
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
    EXPECT_TRUE(absl::IsFailedPrecondition(Set(high))) << high;
    EXPECT_EQ(High(), "max\n");
    EXPECT_FALSE(std::filesystem::exists(state_));
  }
  ASSERT_TRUE(Set(10 * kMiB + 4096).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Set(10 * kMiB)));  // the brake that is there stays
  EXPECT_EQ(High(), absl::StrCat(10 * kMiB + 4096, "\n"));
  EXPECT_EQ(State(), absl::StrCat("/a ", 10 * kMiB + 4096, "\n"));
}

TEST_F(BrakeKnobTest, ACgroupThatIsGoneIsSaidOnceAndForgotten) {
  EXPECT_TRUE(absl::IsNotFound(Set(64 * kMiB, "/nowhere")));
  ASSERT_TRUE(Set(64 * kMiB).ok());
  fake_.Remove("/a");
  EXPECT_TRUE(Set(std::nullopt).ok());
  EXPECT_FALSE(std::filesystem::exists(state_));
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

TEST_F(BrakeKnobTest, V1HasNone) {
  const FakeHierarchy v1(MemoryVersion::kV1);
  BrakeKnob knob(v1.layout(), state_, io_);
  absl::Status result;
  knob.Set(kId, "/a", kMiB, [&](absl::Status status) { result = std::move(status); });
  io_.restart();
  io_.run();
  EXPECT_TRUE(absl::IsFailedPrecondition(result));
  EXPECT_TRUE(knob.RestoreAll().ok());
}

}  // namespace
}  // namespace memgov::kernel
