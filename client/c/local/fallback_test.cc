// A process that has no governor and watches its own cgroup: real cgroups, real allocators (puppet.c), and a
// governor that comes and goes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "client/c/local/testing/real_cgroup.h"
#include "client/c/testing/levers_fixture.h"

namespace memgov::testing {
namespace {

using namespace std::chrono_literals;

template <typename Predicate>
bool WaitUntil(Predicate holds) {
  for (const auto end = std::chrono::steady_clock::now() + kPatience;
       std::chrono::steady_clock::now() < end;) {
    if (holds()) return true;
    std::this_thread::sleep_for(20ms);
  }
  return false;
}

// How many descriptors of a process point to something with this in its name.
int Open(const PuppetProcess& puppet, const std::string& name) {
  int count = 0;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(puppet.pid()) + "/fd")) {
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    count += target.find(name) != std::string::npos ? 1 : 0;
  }
  return count;
}

class FallbackTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cgroup_.good()) GTEST_SKIP() << cgroup_.why_not();
  }

  // In the cgroup, with nine tenths of 200 MiB freed and kept by the allocator. Nobody listens at the socket.
  std::unique_ptr<PuppetProcess> Start(const std::string& program,
                                       const std::vector<std::string>& environment) {
    auto puppet = std::make_unique<PuppetProcess>(program, environment);
    EXPECT_TRUE(cgroup_.Add(puppet->pid()));
    EXPECT_EQ(puppet->Call("start " + directory_.path()), "0");
    puppet->Call("grow 200");
    puppet->Call("free");
    EXPECT_GT(cgroup_.usage(), 150 * kMiB);
    return puppet;
  }
  bool WatchesUsage(const PuppetProcess& puppet) {
    return Open(puppet, "memory.usage_in_bytes") + Open(puppet, "memory.current") == 1;
  }

  SocketDirectory directory_;
  RealCgroup cgroup_{400 * kMiB};
};

TEST_F(FallbackTest, WhenTheLimitIsNearWhatIsKeptIsReleased) {
  for (const char* program : {"puppet_glibc", "puppet_jemalloc"}) {
    SCOPED_TRACE(program);
    ASSERT_TRUE(cgroup_.SetLimit(400 * kMiB));
    const auto puppet = Start(program, {"MEMGOV_LOCAL=1"});
    ASSERT_TRUE(WaitUntil([&] { return WatchesUsage(*puppet); }));
    const long before_kib = puppet->Number("anon");
    std::this_thread::sleep_for(200ms);
    EXPECT_GT(puppet->Number("anon"), before_kib - 20 * 1024) << "nothing is done while there is room";
    ASSERT_TRUE(cgroup_.SetLimit(cgroup_.usage() * 100 / 90));
    EXPECT_TRUE(WaitUntil([&] { return puppet->Number("anon") < before_kib - 100 * 1024; }));
    EXPECT_TRUE(WaitUntil([&] { return cgroup_.usage() < 120 * kMiB; }));
    EXPECT_EQ(puppet->Number("threads"), 2);
  }
}

TEST_F(FallbackTest, TheEagerModeHoldsWhilePressedAndIsRestoredByAGovernor) {
  const auto puppet = Start("puppet_jemalloc", {"MEMGOV_LOCAL=1"});
  ASSERT_TRUE(WaitUntil([&] { return WatchesUsage(*puppet); }));
  ASSERT_TRUE(cgroup_.SetLimit(cgroup_.usage() * 100 / 90));
  ASSERT_TRUE(WaitUntil([&] { return puppet->Call("decay") == "0 0 0 0"; }));
  FakeGovernor governor(directory_.path());
  EXPECT_TRUE(WaitUntil([&] { return puppet->Call("decay") == "10000 0 10000 0"; }));
  EXPECT_TRUE(WaitUntil([&] { return !WatchesUsage(*puppet); })) << "one boss only";
  EXPECT_EQ(Open(*puppet, "memory.pressure"), 0);
}

TEST_F(FallbackTest, ALostGovernorIsWaitedForAndThenItWatchesAgain) {
  auto governor = std::make_unique<FakeGovernor>(directory_.path());
  const auto puppet = Start("puppet_glibc", {"MEMGOV_LOCAL=1"});
  ASSERT_TRUE(governor->WaitFor([](const auto& heard) { return heard.sessions == 1; }));
  governor.reset();
  const auto lost = std::chrono::steady_clock::now();
  ASSERT_TRUE(WaitUntil([&] { return WatchesUsage(*puppet); }));
  EXPECT_GE(std::chrono::steady_clock::now() - lost, 9s);
}

TEST_F(FallbackTest, WithoutTheSwitchNothingIsWatchedOrDone) {
  for (const std::vector<std::string>& environment :
       {std::vector<std::string>{},
        {"MEMGOV_LOCAL=0"},
        {"MEMGOV_LOCAL=1", "MEMORY_PRESSURE_WATCH=/dev/null"}}) {
    ASSERT_TRUE(cgroup_.SetLimit(400 * kMiB));
    const auto puppet = Start("puppet_jemalloc", environment);
    ASSERT_TRUE(cgroup_.SetLimit(cgroup_.usage() * 100 / 90));
    std::this_thread::sleep_for(1500ms);
    EXPECT_FALSE(WatchesUsage(*puppet));
    EXPECT_EQ(puppet->Call("decay"), "10000 0 10000 0");
    EXPECT_GT(cgroup_.usage(), 150 * kMiB);
  }
}

TEST_F(FallbackTest, AServiceManagersFifoReleases) {
  const std::string fifo = directory_.path("pressure");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const auto puppet = Start("puppet_glibc", {"MEMGOV_LOCAL=1", "MEMORY_PRESSURE_WATCH=" + fifo});
  ASSERT_TRUE(WaitUntil([&] { return Open(*puppet, fifo) == 1; }));
  const long before_kib = puppet->Number("anon");
  std::ofstream(fifo) << "x" << std::flush;
  EXPECT_TRUE(WaitUntil([&] { return puppet->Number("anon") < before_kib - 100 * 1024; }));
}

TEST_F(FallbackTest, TheAgentDoesNotMalloc) {
  const auto puppet = Start("puppet_odd", {"MEMGOV_LOCAL=1", "MEMGOV_LOG=1"});
  ASSERT_TRUE(WaitUntil([&] { return WatchesUsage(*puppet); }));
  ASSERT_TRUE(cgroup_.SetLimit(cgroup_.usage() * 100 / 90));
  std::this_thread::sleep_for(500ms);
  EXPECT_EQ(puppet->Number("agent_mallocs"), 0);
}

}  // namespace
}  // namespace memgov::testing
