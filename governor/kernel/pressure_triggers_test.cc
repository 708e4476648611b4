#include "governor/kernel/pressure_triggers.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <ctime>
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
              .on_degraded = [this](std::string what) { said_.push_back(std::move(what)); }});
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

  CgroupLayout layout_;
  boost::asio::io_context io_;
  std::vector<core::CgroupId> rings_;
  std::vector<std::string> said_;
  std::unique_ptr<PressureTriggers> triggers_;
};

TEST_F(PressureTriggersTest, WithoutPressureFilesACgroupCannotBeArmed) {
  EXPECT_TRUE(absl::IsUnavailable(Triggers().Arm(kId, "/a", kSlow)));
  EXPECT_EQ(Triggers().size(), 0U);
}

TEST_F(PressureTriggersTest, AMissingCgroupIsNotADegradedNode) {
  layout_.pressure_mount = "/nowhere";
  EXPECT_TRUE(absl::IsNotFound(Triggers().Arm(kId, "/a", kSlow)));
  EXPECT_THAT(said_, IsEmpty());
}

TEST_F(PressureTriggersTest, FilesThatCannotBeWrittenAreSaidOnce) {
  const FakeHierarchy fake(MemoryVersion::kV2);
  layout_.pressure_mount = fake.layout().memory_mount;
  std::filesystem::create_directories(fake.Directory("/a/memory.pressure"));  // EISDIR
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(absl::IsUnavailable(Triggers().Arm(kId, "/a", kSlow)));
  EXPECT_THAT(said_, ElementsAre(HasSubstr("seen by polling only")));
}

TEST_F(PressureTriggersTest, TriggersThatNoKernelTakesAreRefused) {
  for (const PressureTrigger& trigger :
       {PressureTrigger{.stall = milliseconds(1), .window = milliseconds(499)},
        PressureTrigger{.stall = milliseconds(1), .window = milliseconds(10'001)},
        PressureTrigger{.stall = milliseconds(501), .window = milliseconds(500)},
        PressureTrigger{.window = seconds(2)}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Triggers().Arm(core::kNodeId, "/", trigger)));
  }
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
  const absl::Status armed = Triggers().Arm(kId, pressure().path(), kSlow);
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
  ASSERT_TRUE(Triggers().Arm(kId, pressure().path(), kFast).ok());
  ASSERT_TRUE(Triggers().Arm(core::kNodeId, "/", kFast).ok());
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
    return Triggers().Arm(
        kId, pressure().path(),
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
  ASSERT_TRUE(Triggers().Arm(kId, pressure().path(), kSlow).ok());
  ASSERT_TRUE(pressure().Remove());
  EXPECT_TRUE(RunUntil([this] { return !rings_.empty(); }));
  EXPECT_EQ(Triggers().size(), 0U);
  const std::clock_t cpu = std::clock();
  io_.restart();
  io_.run_for(milliseconds(300));
  EXPECT_THAT(rings_, ElementsAre(kId));
  EXPECT_LT(std::clock() - cpu, CLOCKS_PER_SEC / 10) << "it spins";
  EXPECT_TRUE(absl::IsNotFound(Triggers().Arm(kId, pressure().path(), kSlow)));
}

}  // namespace
}  // namespace memgov::kernel
