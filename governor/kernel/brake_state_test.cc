#include "governor/kernel/brake_state.h"

#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/kernel/brake_file.h"
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

  // A mark of the cgroup that has this path now; of none, if none has.
  BrakeMark MarkOf(const std::string& path, core::Bytes value) {
    const auto file = BrakeFile::Open(fake_.layout(), path);
    return {.path = path, .inode = file.ok() ? file->inode() : 1, .value = value};
  }

  FakeHierarchy fake_{MemoryVersion::kV2};
  const std::string state_ = fake_.Directory("/run/brake.state");
};

TEST_F(BrakeStateTest, WhatIsStoredIsLoaded) {
  const std::vector<BrakeMark> marks = {{.path = "/a", .inode = 17, .value = 4096},
                                        {.path = "/with 2 spaces", .inode = 18, .value = 8192},
                                        // No size: the kernel uses all 64 bits of an inode number.
                                        {.path = "/z", .inode = ~std::uint64_t{0}, .value = 4096}};
  ASSERT_TRUE(StoreBrakeState(state_, marks).ok());
  EXPECT_EQ(ReadFile(state_), "/a 17 4096\n/with 2 spaces 18 8192\n/z 18446744073709551615 4096\n");
  std::vector<std::string> complaints;
  const auto loaded = LoadBrakeState(state_, &complaints);
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(*loaded, marks);
  EXPECT_THAT(complaints, IsEmpty());
}

TEST_F(BrakeStateTest, NoMarksAreNoFile) {
  ASSERT_TRUE(StoreBrakeState(state_, {MarkOf("/a", 4096)}).ok());
  ASSERT_TRUE(StoreBrakeState(state_, {}).ok());
  EXPECT_FALSE(std::filesystem::exists(state_));
  EXPECT_TRUE(StoreBrakeState(state_, {}).ok());
  EXPECT_TRUE(RestoreFromState(fake_.layout(), state_).ok());
}

TEST_F(BrakeStateTest, BrokenLinesAreNamedAndLeftOut) {
  std::vector<std::string> complaints;
  const auto marks = ParseBrakeState(
      "/a 1 4096\n\nnonsense\n/b\n/c 1 -1\n/d 1 99999999999999999999\n/e/../f 1 4096\n/ 1 4096\ng 1 4096\n"
      "/i 4096\n 1 2\n/j x 4096\n/h 1 4096",
      "STATE", &complaints);
  EXPECT_THAT(marks, ElementsAre(BrakeMark{"/a", 1, 4096}, BrakeMark{"/h", 1, 4096}));
  ASSERT_EQ(complaints.size(), 11U);
  EXPECT_EQ(complaints[1], "STATE:3: \"nonsense\" is not \"/path inode bytes\"");
}

TEST_F(BrakeStateTest, RestoresOnlyWhatIsStillOurs) {
  for (const char* path : {"/ours", "/foreign", "/reset", "/other"}) fake_.Add(path);
  SetHigh("/ours", absl::StrCat(64 * kMiB, "\n"));
  SetHigh("/foreign", absl::StrCat(32 * kMiB, "\n"));
  SetHigh("/other", absl::StrCat(64 * kMiB, "\n"));
  ASSERT_TRUE(StoreBrakeState(state_, {MarkOf("/ours", 96 * kMiB), MarkOf("/ours", 64 * kMiB),
                                       MarkOf("/foreign", 64 * kMiB), MarkOf("/reset", 64 * kMiB),
                                       MarkOf("/gone", 64 * kMiB)})
                  .ok());
  const absl::Status status = RestoreFromState(fake_.layout(), state_);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(High("/ours"), "max\n");
  EXPECT_EQ(High("/foreign"), absl::StrCat(32 * kMiB, "\n"));
  EXPECT_EQ(High("/reset"), "max\n");
  EXPECT_EQ(High("/other"), absl::StrCat(64 * kMiB, "\n"));
  EXPECT_FALSE(std::filesystem::exists(state_));
}

TEST_F(BrakeStateTest, ACgroupMadeAnewUnderTheSamePathIsAnother) {
  fake_.Add("/a");
  const BrakeMark old = MarkOf("/a", 64 * kMiB);
  fake_.Add("/b");  // before the old one goes: a file system may use an inode number again
  fake_.Remove("/a");
  std::filesystem::rename(fake_.Directory("/b"), fake_.Directory("/a"));
  SetHigh("/a", absl::StrCat(64 * kMiB, "\n"));  // its owner's choice, equal by chance
  ASSERT_TRUE(StoreBrakeState(state_, {old}).ok());
  EXPECT_TRUE(RestoreFromState(fake_.layout(), state_).ok());
  EXPECT_EQ(High("/a"), absl::StrCat(64 * kMiB, "\n"));
  EXPECT_FALSE(std::filesystem::exists(state_));
}

TEST_F(BrakeStateTest, ARecordThatCouldNotBeReadAgainIsNotWritten) {
  const std::string name(200, 'x');
  std::vector<BrakeMark> marks;
  for (int i = 0; i < 12'000; ++i)
    marks.push_back({.path = absl::StrCat("/", name, i), .inode = 1, .value = 4096});
  EXPECT_TRUE(absl::IsResourceExhausted(StoreBrakeState(state_, marks)));
  EXPECT_FALSE(std::filesystem::exists(state_));
  marks.resize(9'000);
  ASSERT_TRUE(StoreBrakeState(state_, marks).ok());
  std::vector<std::string> complaints;
  EXPECT_EQ(LoadBrakeState(state_, &complaints)->size(), marks.size());
}

TEST_F(BrakeStateTest, BrokenLinesDoNotKeepTheOthersFromBeingRestored) {
  fake_.Add("/a");
  SetHigh("/a", "4096\n");
  std::filesystem::create_directory(fake_.Directory("/run"));
  WriteFile(state_, absl::StrCat("garbage\n/a ", MarkOf("/a", 4096).inode, " 4096\n"));
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
  ASSERT_TRUE(StoreBrakeState(state_, {MarkOf("/a", 4096), MarkOf("/b", 4096)}).ok());
  const absl::Status status = RestoreFromState(fake_.layout(), state_);
  EXPECT_TRUE(absl::IsInternal(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("/a/memory.high holds \"unreadable"));
  EXPECT_EQ(High("/b"), "max\n");
  EXPECT_EQ(ReadFile(state_), absl::StrCat("/a ", MarkOf("/a", 4096).inode, " 4096\n"));
}

TEST_F(BrakeStateTest, ARecordThatCannotBeBelievedIsRefusedAtOnce) {
  std::filesystem::create_directory(fake_.Directory("/run"));
  ASSERT_EQ(::mkfifo(state_.c_str(), 0600), 0);
  absl::Status status = RestorePatiently(fake_.layout(), state_, std::chrono::hours(1));
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("brake.state is a FIFO"));
  std::filesystem::remove(state_);
  std::filesystem::create_symlink("/dev/zero", state_);
  status = RestorePatiently(fake_.layout(), state_, std::chrono::hours(1));
  EXPECT_THAT(std::string(status.message()), HasSubstr("brake.state is a symbolic link"));
  ASSERT_EQ(::chmod(fake_.Directory("/run").c_str(), 0777), 0);
  status = RestorePatiently(fake_.layout(), state_, std::chrono::hours(1));
  EXPECT_THAT(std::string(status.message()), HasSubstr("others may write"));
}

TEST_F(BrakeStateTest, PatienceRestoresWhatCouldNotBeRestoredAtFirst) {
  fake_.Add("/a");
  SetHigh("/a", "unreadable\n");
  ASSERT_TRUE(StoreBrakeState(state_, {MarkOf("/a", 4096)}).ok());
  EXPECT_TRUE(absl::IsInternal(RestorePatiently(fake_.layout(), state_, std::chrono::milliseconds(0))));
  std::thread mender([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    SetHigh("/a", "4096\n");
  });
  EXPECT_TRUE(RestorePatiently(fake_.layout(), state_, std::chrono::seconds(20)).ok());
  mender.join();
  EXPECT_EQ(High("/a"), "max\n");
}

}  // namespace
}  // namespace memgov::kernel
