#include "governor/kernel/brake_state.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::kMiB;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class BrakeStateTest : public testing::Test {
 protected:
  std::string High(const std::string& path) { return ReadFile(fake_.Directory(path) + "/memory.high"); }
  void SetHigh(const std::string& path, const std::string& text) {
    WriteFile(fake_.Directory(path) + "/memory.high", text);
  }

  FakeHierarchy fake_{MemoryVersion::kV2};
  const std::string state_ = fake_.Directory("/run/brake.state");
};

TEST_F(BrakeStateTest, WhatIsStoredIsLoaded) {
  const std::vector<BrakeMark> marks = {{.path = "/a", .value = 4096},
                                        {.path = "/with a space", .value = 8192}};
  ASSERT_TRUE(StoreBrakeState(state_, marks).ok());
  EXPECT_EQ(ReadFile(state_), "/a 4096\n/with a space 8192\n");
  std::vector<std::string> complaints;
  const auto loaded = LoadBrakeState(state_, &complaints);
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(*loaded, marks);
  EXPECT_THAT(complaints, IsEmpty());
}

TEST_F(BrakeStateTest, NoMarksAreNoFile) {
  ASSERT_TRUE(StoreBrakeState(state_, {{.path = "/a", .value = 4096}}).ok());
  ASSERT_TRUE(StoreBrakeState(state_, {}).ok());
  EXPECT_FALSE(std::filesystem::exists(state_));
  EXPECT_TRUE(StoreBrakeState(state_, {}).ok());
  EXPECT_TRUE(RestoreFromState(fake_.layout(), state_).ok());
}

TEST_F(BrakeStateTest, BrokenLinesAreNamedAndLeftOut) {
  std::vector<std::string> complaints;
  const auto marks = ParseBrakeState(
      "/a 4096\n\nnonsense\n/b\n/c -1\n/d 99999999999999999999\n/e/../f 4096\n/ 4096\ng 4096\n/h 4096",
      "STATE", &complaints);
  EXPECT_THAT(marks, ElementsAre(BrakeMark{"/a", 4096}, BrakeMark{"/h", 4096}));
  ASSERT_EQ(complaints.size(), 8U);
  EXPECT_EQ(complaints[1], "STATE:3: \"nonsense\" is not \"/path bytes\"");
}

TEST_F(BrakeStateTest, RestoresOnlyWhatIsStillOurs) {
  for (const char* path : {"/ours", "/foreign", "/reset", "/other"}) fake_.Add(path);
  SetHigh("/ours", absl::StrCat(64 * kMiB, "\n"));
  SetHigh("/foreign", absl::StrCat(32 * kMiB, "\n"));
  SetHigh("/other", absl::StrCat(64 * kMiB, "\n"));
  ASSERT_TRUE(StoreBrakeState(state_, {{.path = "/ours", .value = 96 * kMiB},
                                       {.path = "/ours", .value = 64 * kMiB},
                                       {.path = "/foreign", .value = 64 * kMiB},
                                       {.path = "/reset", .value = 64 * kMiB},
                                       {.path = "/gone", .value = 64 * kMiB}})
                  .ok());
  const absl::Status status = RestoreFromState(fake_.layout(), state_);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(High("/ours"), "max\n");
  EXPECT_EQ(High("/foreign"), absl::StrCat(32 * kMiB, "\n"));
  EXPECT_EQ(High("/reset"), "max\n");
  EXPECT_EQ(High("/other"), absl::StrCat(64 * kMiB, "\n"));
  EXPECT_FALSE(std::filesystem::exists(state_));
}

TEST_F(BrakeStateTest, BrokenLinesDoNotKeepTheOthersFromBeingRestored) {
  fake_.Add("/a");
  SetHigh("/a", "4096\n");
  std::filesystem::create_directory(fake_.Directory("/run"));
  WriteFile(state_, "garbage\n/a 4096\n");
  const absl::Status status = RestoreFromState(fake_.layout(), state_);
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("brake.state:1: \"garbage\""));
  EXPECT_EQ(High("/a"), "max\n");
  EXPECT_TRUE(RestoreFromState(fake_.layout(), state_).ok());  // said once
}

TEST_F(BrakeStateTest, WhatCannotBeRestoredStaysInTheFile) {
  fake_.Add("/a");
  fake_.Add("/b");
  SetHigh("/a", "unreadable\n");
  SetHigh("/b", "4096\n");
  ASSERT_TRUE(StoreBrakeState(state_, {{.path = "/a", .value = 4096}, {.path = "/b", .value = 4096}}).ok());
  const absl::Status status = RestoreFromState(fake_.layout(), state_);
  EXPECT_TRUE(absl::IsInternal(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("/a/memory.high holds \"unreadable"));
  EXPECT_EQ(High("/b"), "max\n");
  EXPECT_EQ(ReadFile(state_), "/a 4096\n");
}

}  // namespace
}  // namespace memgov::kernel
