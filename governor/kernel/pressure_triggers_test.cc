#include "governor/kernel/pressure_triggers.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <ctime>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::kMiB;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr core::CgroupId kId{1};
constexpr PressureTrigger kSlow{.stall = milliseconds(1), .window = seconds(2)};
constexpr PressureTrigger kFast{.stall = milliseconds(1), .window = milliseconds(500)};

class PressureTriggersTest : public testing::Test {
 protected:
  PressureTriggersTest() {
    layout_.memory_version = MemoryVersion::kV2;
    layout_.memory_mount = "/nowhere";
  }
  PressureTriggers& Triggers() {
    if (!triggers_) {
      triggers_ = std::make_unique<PressureTriggers>(
          io_, layout_,
          PressureTriggers::Callbacks{
              .on_stall = [this](core::CgroupId id) { rings_.push_back(id); },
              .on_degraded = [this](std::string what) { said_.push_back(std::move(what)); },
              .on_failing = [this](bool failing) { failing_.push_back(failing); }},
          RetryPace{.first = milliseconds(1), .longest = milliseconds(1)});
    }
    return *triggers_;
  }
  bool RunUntil(const std::function<bool()>& done) {
    const auto give_up = std::chrono::steady_clock::now() + seconds(60);
    while (!done()) {
      if (std::chrono::steady_clock::now() > give_up) return false;
      io_.restart();
      io_.run_one_for(milliseconds(50));
    }
    return true;
  }

  // What comes of it in the end.
  absl::Status Arm(core::CgroupId id, const std::string& path, const PressureTrigger& trigger) {
    std::optional<absl::Status> result;
    Triggers().Arm(id, path, trigger, [&result](absl::Status status) { result = std::move(status); });
    EXPECT_FALSE(result.has_value()) << "from within Arm";
    return RunUntil([&result] { return result.has_value(); }) ? *result : absl::DeadlineExceededError("");
  }

  CgroupLayout layout_;
  boost::asio::io_context io_;
  std::vector<bool> failing_;
  std::vector<core::CgroupId> rings_;
  std::vector<std::string> said_;
  std::unique_ptr<PressureTriggers> triggers_;
};

TEST_F(PressureTriggersTest, WithoutPressureFilesACgroupCannotBeArmed) {
  EXPECT_TRUE(absl::IsUnavailable(Arm(kId, "/a", kSlow)));
  EXPECT_EQ(Triggers().size(), 0U);
}

TEST_F(PressureTriggersTest, AMissingCgroupIsNotADegradedNode) {
  layout_.pressure_mount = "/nowhere";
  EXPECT_TRUE(absl::IsNotFound(Arm(kId, "/a", kSlow)));
  EXPECT_THAT(said_, IsEmpty());
}

TEST_F(PressureTriggersTest, FilesThatCannotBeWrittenAreSaidOnce) {
  const FakeHierarchy fake(MemoryVersion::kV2);
  layout_.pressure_mount = fake.layout().memory_mount;
  std::filesystem::create_directories(fake.Directory("/a/memory.pressure"));  // EISDIR
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(absl::IsUnavailable(Arm(kId, "/a", kSlow)));
  EXPECT_THAT(said_, ElementsAre(HasSubstr("seen by polling only")));
}

TEST_F(PressureTriggersTest, TriggersThatNoKernelTakesAreRefused) {
  for (const PressureTrigger& trigger :
       {PressureTrigger{.stall = milliseconds(1), .window = milliseconds(499)},
        PressureTrigger{.stall = milliseconds(1), .window = milliseconds(10'001)},
        PressureTrigger{.stall = milliseconds(501), .window = milliseconds(500)},
        PressureTrigger{.window = seconds(2)}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Arm(core::kNodeId, "/", trigger)));
  }
}

// The kernel may make us wait where a trigger is made, so the caller's thread does not even open the file. (A
// FIFO that somebody reads stands for it.)
TEST_F(PressureTriggersTest, ArmingIsTheWorkersWork) {
  const FakeHierarchy fake(MemoryVersion::kV2);
  layout_.pressure_mount = fake.layout().memory_mount;
  std::filesystem::create_directories(fake.Directory("/a"));
  const std::string file = fake.Directory("/a/memory.pressure");
  ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
  bool armed = false;
  Triggers().Arm(kId, "/a", kSlow, [&armed](const absl::Status& status) { armed = status.ok(); });
  EXPECT_EQ(Triggers().size(), 0U);
  EXPECT_TRUE(RunUntil([&armed] { return armed; }));
  EXPECT_EQ(Triggers().size(), 1U);
}

TEST_F(PressureTriggersTest, WhatOvertakesCancels) {
  layout_.pressure_mount = "/nowhere";
  std::vector<absl::StatusCode> codes;
  const auto note = [&codes](const absl::Status& status) { codes.push_back(status.code()); };
  Triggers().Arm(kId, "/a", kSlow, note);
  Triggers().Arm(kId, "/a", kFast, note);
  Triggers().Disarm(kId);
  EXPECT_TRUE(RunUntil([&codes] { return codes.size() == 2; }));
  EXPECT_THAT(codes, ElementsAre(absl::StatusCode::kCancelled, absl::StatusCode::kCancelled));
}

TEST_F(PressureTriggersTest, ThereAreNeverMoreThanSoMany) {
  const FakeHierarchy fake(MemoryVersion::kV2);
  layout_.pressure_mount = fake.layout().memory_mount;
  const auto arm = [&](std::uint32_t id) {
    const std::string path = absl::StrCat("/c", id);
    std::filesystem::create_directories(fake.Directory(path));
    // A plain file cannot be waited for, but it can be opened and written, and so it stands for a trigger.
    WriteFile(fake.Directory(path + "/memory.pressure"), "");
    return Arm(core::CgroupId{id}, path, kSlow);
  };
  for (std::uint32_t id = 1; id <= PressureTriggers::kMost; ++id) ASSERT_TRUE(arm(id).ok()) << id;
  EXPECT_THAT(failing_, IsEmpty());
  EXPECT_TRUE(absl::IsResourceExhausted(arm(1000)));
  EXPECT_EQ(Triggers().size(), PressureTriggers::kMost);
  EXPECT_THAT(failing_, ElementsAre(true));
  // Another makes room: the one that waits is armed by itself.
  Triggers().Disarm(core::CgroupId{1});
  EXPECT_TRUE(RunUntil([this] { return failing_.size() == 2; }));
  EXPECT_THAT(failing_, ElementsAre(true, false));
  EXPECT_EQ(Triggers().size(), PressureTriggers::kMost);
}

// --- with the kernel's own
// --------------------------------------------------------------------------------------

class RealPressureTest : public PressureTriggersTest {
 protected:
  void SetUp() override {
    const RealHierarchy real = FindRealHierarchy();
    if (!real.layout) GTEST_SKIP() << real.why_not;
    if (!real.layout->pressure_mount) GTEST_SKIP() << "no PSI";
    layout_ = *real.layout;
    cgroup_ = std::make_unique<RealCgroup>(layout_);
    if (layout_.memory_version == MemoryVersion::kV1) {
      CgroupLayout tree = layout_;
      tree.memory_mount = *layout_.pressure_mount;
      pressure_ = std::make_unique<RealCgroup>(tree);
    }
    if (ReadFile(pressure().File("memory.pressure")).empty()) GTEST_SKIP() << "no memory.pressure";
  }
  void TearDown() override {
    if (reader_ > 0) {
      ::kill(reader_, SIGKILL);
      ::waitpid(reader_, nullptr, 0);
    }
    ::unlink(file_.c_str());
  }
  RealCgroup& pressure() { return pressure_ ? *pressure_ : *cgroup_; }

  // A process that reads a file twice as large as its cgroup may hold, over and over.
  void Thrash() {
    cgroup_->SetLimit(16 * kMiB);
    const UniqueFd file(::open(file_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    ASSERT_TRUE(file);
    const std::string piece(kMiB, 'x');
    for (int i = 0; i < 32; ++i) {
      ASSERT_EQ(::write(file.get(), piece.data(), piece.size()), static_cast<ssize_t>(piece.size()));
    }
    ASSERT_EQ(::fsync(file.get()), 0);  // clean pages can be dropped, and charged to the reader
    ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
    const UniqueFd memory_procs(::open(cgroup_->File("cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    const UniqueFd pressure_procs(::open(pressure().File("cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    reader_ = ::fork();
    if (reader_ != 0) return;
    static std::array<char, 65536> buffer;
    if (::write(memory_procs.get(), "0\n", 2) != 2 || ::write(pressure_procs.get(), "0\n", 2) != 2)
      ::_exit(3);
    for (off_t at = 0;; at = (at + static_cast<off_t>(buffer.size())) % static_cast<off_t>(32 * kMiB)) {
      if (::pread(file.get(), buffer.data(), buffer.size(), at) <= 0) ::_exit(4);
    }
  }

  const std::string file_ = absl::StrCat("/var/tmp/memgov-thrash-", ::getpid());
  std::unique_ptr<RealCgroup> cgroup_;
  std::unique_ptr<RealCgroup> pressure_;
  pid_t reader_ = -1;
};

TEST_F(RealPressureTest, AStallRings) {
  const absl::Status armed = Arm(kId, pressure().path(), kSlow);
  ASSERT_TRUE(armed.ok()) << armed;
  EXPECT_EQ(Triggers().size(), 1U);
  EXPECT_THAT(rings_, IsEmpty());
  Thrash();
  ASSERT_TRUE(RunUntil([this] { return rings_.size() >= 2; }))
      << ReadFile(pressure().File("memory.pressure"));
  EXPECT_EQ(rings_[0], kId);
  EXPECT_THAT(said_, IsEmpty());
}

TEST_F(RealPressureTest, AWindowThatWeMayNotHaveIsStretched) {
  ASSERT_TRUE(Arm(kId, pressure().path(), kFast).ok());
  ASSERT_TRUE(Arm(core::kNodeId, "/", kFast).ok());
  EXPECT_LE(said_.size(), 1U);
  if (!said_.empty()) {
    EXPECT_THAT(said_[0], HasSubstr("CAP_SYS_RESOURCE"));
  }
  Thrash();
  EXPECT_TRUE(RunUntil([this] { return !rings_.empty(); }));
}

TEST_F(RealPressureTest, ArmingAgainMovesTheTriggerAndLeavesOneBehind) {
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                         std::filesystem::directory_iterator());
  };
  const auto arm = [this](int stall_ms) {
    return Arm(kId, pressure().path(),
               {.kind = PressureTrigger::Kind::kFull, .stall = milliseconds(stall_ms), .window = seconds(2)});
  };
  ASSERT_TRUE(arm(1).ok());
  const auto armed = descriptors();
  for (const int stall_ms : {1, 5, 1}) {
    ASSERT_TRUE(arm(stall_ms).ok());
    EXPECT_TRUE(RunUntil([&] { return descriptors() == armed; }));  // closed by the worker
  }
  Triggers().Disarm(kId);
  Triggers().Disarm(kId);
  EXPECT_TRUE(RunUntil([&] { return descriptors() == armed - 1; }));
}

TEST_F(RealPressureTest, ARemovedCgroupRingsOnceAndCostsNothingMore) {
  ASSERT_TRUE(Arm(kId, pressure().path(), kSlow).ok());
  ASSERT_TRUE(pressure().Remove());
  EXPECT_TRUE(RunUntil([this] { return !rings_.empty(); }));
  EXPECT_EQ(Triggers().size(), 0U);
  const std::clock_t cpu = std::clock();
  io_.restart();
  io_.run_for(milliseconds(300));
  EXPECT_THAT(rings_, ElementsAre(kId));
  EXPECT_LT(std::clock() - cpu, CLOCKS_PER_SEC / 10) << "it spins";
  EXPECT_TRUE(absl::IsNotFound(Arm(kId, pressure().path(), kSlow)));
}

}  // namespace
}  // namespace memgov::kernel
