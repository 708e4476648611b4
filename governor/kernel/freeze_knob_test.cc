#include "governor/kernel/freeze_knob.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <optional>

#include "governor/kernel/test_cgroups.h"
#include "governor/kernel/test_wait.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

// A freezer hierarchy of plain files: v1, next to a memory hierarchy with the same processes.
class FreezeKnobTest : public testing::Test {
 protected:
  FreezeKnobTest() {
    for (const char* path : {"/a", "/b"}) {
      for (FakeHierarchy* hierarchy : {&memory_, &frozen_}) {
        hierarchy->Add(path);
        WriteFile(hierarchy->Directory(path) + "/cgroup.procs", "");
      }
      WriteFile(StateOf(path), "THAWED\n");
    }
    Start();
  }
  void Start() {
    knob_.emplace(memory_.layout(),
                  FreezerLayout{.version = MemoryVersion::kV1, .mount = frozen_.layout().memory_mount},
                  state_file_, io_, [this](absl::Status why) { failing_.push_back(std::move(why)); });
  }
  std::string StateOf(const std::string& path) const { return frozen_.Directory(path) + "/freezer.state"; }
  template <typename Condition>
  bool Becomes(Condition condition) {
    return RunUntil(io_, condition);
  }
  void Freeze(const std::string& path) {
    std::optional<absl::Status> frozen;
    knob_->Freeze(path, [&](absl::Status status) { frozen = std::move(status); });
    ASSERT_TRUE(Becomes([&] { return frozen.has_value(); }));
    ASSERT_TRUE(frozen->ok()) << *frozen;
  }
  bool IsThawed(const std::string& path) const { return ReadFile(StateOf(path)) == "THAWED\n"; }

  FakeHierarchy memory_{MemoryVersion::kV1};
  FakeHierarchy frozen_{MemoryVersion::kV1};
  const TemporaryDirectory directory_;
  const std::string state_file_ = directory_.path() + "/freeze.state";
  boost::asio::io_context io_;
  std::vector<absl::Status> failing_;
  std::optional<FreezeKnob> knob_;
};

TEST_F(FreezeKnobTest, AThawDoesNotWaitForAFreezeThatTakesLong) {
  Freeze("/a");
  // A FIFO holds up whoever reads who is there, until somebody writes.
  const std::string processes = frozen_.Directory("/b") + "/cgroup.procs";
  ::unlink(processes.c_str());
  ASSERT_EQ(::mkfifo(processes.c_str(), 0600), 0);
  std::optional<absl::Status> frozen;
  knob_->Freeze("/b", [&](absl::Status status) { frozen = std::move(status); });
  knob_->Thaw("/a");
  EXPECT_TRUE(Becomes([&] { return IsThawed("/a"); }));
  // Nor does a thaw of the same, and then it is not frozen any more. The open returns once the freeze reads.
  const int writer = ::open(processes.c_str(), O_WRONLY | O_CLOEXEC);
  knob_->Thaw("/b");
  ::close(writer);
  ASSERT_TRUE(Becomes([&] { return frozen.has_value(); }));
  EXPECT_TRUE(absl::IsCancelled(*frozen)) << *frozen;
  EXPECT_TRUE(Becomes([&] { return !std::filesystem::exists(state_file_); }));
  EXPECT_TRUE(IsThawed("/b"));
}

TEST_F(FreezeKnobTest, AThawThatFailsIsTriedUntilItSucceeds) {
  Freeze("/a");
  std::filesystem::remove(state_file_);
  std::filesystem::create_directory(state_file_);  // the record cannot be removed
  knob_->Thaw("/a");
  ASSERT_TRUE(Becomes([&] { return failing_.size() == 1; }));
  EXPECT_FALSE(failing_[0].ok());
  EXPECT_TRUE(IsThawed("/a"));
  std::filesystem::remove(state_file_);
  ASSERT_TRUE(Becomes([&] { return failing_.size() == 2; }));
  EXPECT_TRUE(failing_[1].ok());
}

TEST_F(FreezeKnobTest, WhatAPredecessorLeftIsThawed) {
  Freeze("/a");
  const std::string record = ReadFile(state_file_);
  ASSERT_TRUE(knob_->ThawAll().ok());
  knob_.reset();
  WriteFile(state_file_, record);
  WriteFile(StateOf("/a"), "FROZEN\n");
  Start();
  EXPECT_TRUE(Becomes([&] { return IsThawed("/a") && !std::filesystem::exists(state_file_); }));
}

TEST_F(FreezeKnobTest, ThawAllEndsAFreezeThatWaits) {
  Freeze("/a");
  WriteFile(frozen_.Directory("/b") + "/freezer.state", "THAWED\n");
  std::optional<absl::Status> frozen;
  knob_->Freeze("/b", [&](absl::Status status) { frozen = std::move(status); });
  EXPECT_TRUE(knob_->ThawAll().ok());
  EXPECT_TRUE(IsThawed("/a"));
  EXPECT_TRUE(IsThawed("/b"));
  EXPECT_FALSE(std::filesystem::exists(state_file_));
  knob_->Thaw("/a");  // harmless
  ASSERT_TRUE(Becomes([&] { return frozen.has_value(); }));
}

}  // namespace
}  // namespace memgov::kernel
