#include "governor/kernel/probe.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/file.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "governor/kernel/test_cgroups.h"
#include "governor/kernel/unique_fd.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

ProbeRequest Request() {
  return {.cgroup_mount = std::nullopt,
          .roots = {"/"},
          .socket_path = "/tmp/memgov-none.sock",
          .state_dir = "/tmp"};
}

TEST(ProbeNodeTest, FindsOnThisMachineWhatItsFilesSay) {
  const RealHierarchy real = FindRealHierarchy();
  if (!real.layout) GTEST_SKIP() << real.why_not;
  const NodeFacts facts = ProbeNode(Request());
  ASSERT_TRUE(facts.layout.has_value());
  EXPECT_EQ(facts.layout->memory_mount, real.layout->memory_mount);
  EXPECT_FALSE(facts.kernel.empty());
  EXPECT_EQ(facts.uid, ::geteuid());
  EXPECT_TRUE(facts.own_cgroup);
  EXPECT_EQ(facts.oom_counter, 0);
  const bool v1 = real.layout->memory_version == MemoryVersion::kV1;
  EXPECT_EQ(facts.usage_eventfd.has_value(), v1);
  EXPECT_EQ(facts.memory_high.has_value(), !v1);
  EXPECT_EQ(facts.socket_dir_error, 0);
  EXPECT_EQ(facts.daemon_pid, std::nullopt);
  if (facts.system_pressure && !HasCapability(facts.capabilities, CAP_SYS_RESOURCE)) {
    EXPECT_NE(facts.fast_trigger, 0);
  }
}

TEST(ProbeNodeTest, LeavesNoCgroupBehind) {
  const RealHierarchy real = FindRealHierarchy();
  if (!real.layout) GTEST_SKIP() << real.why_not;
  ProbeNode(Request());
  const std::string name = absl::StrCat("/memgov-doctor-", ::getpid());
  EXPECT_FALSE(std::filesystem::exists(real.layout->memory_mount + name));
  if (real.layout->pressure_mount) {
    EXPECT_FALSE(std::filesystem::exists(*real.layout->pressure_mount + name));
  }
}

TEST(ProbeNodeTest, AMountWithoutAMemoryControllerIsSaid) {
  ProbeRequest request = Request();
  request.cgroup_mount = "/proc";
  const NodeFacts facts = ProbeNode(request);
  EXPECT_FALSE(facts.layout.has_value());
  EXPECT_FALSE(facts.layout_error.empty());
}

TEST(LockOwnerTest, IsWhoHoldsTheLockAndAskingTakesNone) {
  const std::string file = absl::StrCat("/tmp/memgov-lock-", ::getpid());
  EXPECT_EQ(LockOwner(file), std::nullopt);
  UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  EXPECT_EQ(LockOwner(file), std::nullopt);
  ASSERT_EQ(::flock(fd.get(), LOCK_EX), 0);
  EXPECT_EQ(LockOwner(file), ::getpid());
  fd.reset();
  EXPECT_EQ(LockOwner(file), std::nullopt);
  ::unlink(file.c_str());
}

TEST(HasCapabilityTest, LooksAtTheRightBit) {
  EXPECT_TRUE(HasCapability(std::uint64_t{1} << CAP_SYSLOG, CAP_SYSLOG));
  EXPECT_FALSE(HasCapability(~(std::uint64_t{1} << CAP_SYSLOG), CAP_SYSLOG));
}

}  // namespace
}  // namespace memgov::kernel
