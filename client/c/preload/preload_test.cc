// LD_PRELOAD=libmemgov_preload.so on a program that waits, forks and executes (puppet.c), against a gRPC
// server in the test. The real programs are in tests/host/test_preload.py.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "client/c/testing/fake_governor.h"
#include "client/c/testing/puppet_process.h"
#include "client/c/testing/rude_peer.h"

namespace memgov::testing {
namespace {

const std::string kPreload =
    std::filesystem::read_symlink("/proc/self/exe").parent_path() / "libmemgov_preload.so";

class PreloadTest : public ::testing::Test {
 protected:
  PuppetProcess Puppet(const std::string& program = "preload_puppet", std::vector<std::string> more = {}) {
    more.push_back("LD_PRELOAD=" + kPreload);
    more.push_back("MEMGOV_SOCKET=" + socket_);
    return PuppetProcess(program, more);
  }

  bool WaitForHellos(std::size_t count) {
    return governor_.WaitFor([=](const auto& heard) { return heard.hellos.size() == count; });
  }

  bool WaitForSessions(int count) {
    return governor_.WaitFor([=](const auto& heard) { return static_cast<int>(heard.sessions) == count; });
  }

  SocketDirectory directory_;
  const std::string socket_ = directory_.path();
  FakeGovernor governor_{socket_};
};

TEST_F(PreloadTest, AttachesWhenTheProgramWaitsAndNotBefore) {
  PuppetProcess puppet = Puppet();
  EXPECT_EQ(puppet.Number("threads"), 1);
  EXPECT_EQ(puppet.Call("wait"), "0");
  ASSERT_TRUE(WaitForHellos(1));
  EXPECT_EQ(puppet.Number("threads"), 2);
  EXPECT_EQ(governor_.heard().hellos.at(0).name(), "preload_puppet");
  EXPECT_TRUE(governor_.WaitFor([](const auto& heard) { return !heard.reports.empty(); }));
}

TEST_F(PreloadTest, NeverStartsInASignalHandler) {
  PuppetProcess puppet = Puppet();
  EXPECT_EQ(puppet.Call("handle"), "0");
  EXPECT_EQ(puppet.Number("threads"), 1);
  EXPECT_EQ(puppet.Call("wait"), "0");
  EXPECT_TRUE(WaitForHellos(1));
}

TEST_F(PreloadTest, TheEnvironmentSwitchesItOff) {
  PuppetProcess puppet = Puppet("preload_puppet", {"MEMGOV_DISABLE=1"});
  EXPECT_EQ(puppet.Call("wait"), "0");
  EXPECT_EQ(puppet.Number("threads"), 1);
  EXPECT_TRUE(governor_.heard().hellos.empty());
}

TEST_F(PreloadTest, GivesWayToAProgramThatStartsItselfAndCountsAsOneStart) {
  PuppetProcess puppet = Puppet("preload_puppet_memgov");
  EXPECT_EQ(puppet.Call("wait"), "0");
  ASSERT_TRUE(WaitForHellos(1));
  EXPECT_EQ(puppet.Call("start " + socket_), "0");
  ASSERT_TRUE(WaitForHellos(2));
  ASSERT_TRUE(WaitForSessions(1));
  EXPECT_EQ(puppet.Number("threads"), 2);
  EXPECT_EQ(governor_.heard().hellos.at(1).name(), "own");
  EXPECT_EQ(puppet.Call("stop"), "0");
  EXPECT_EQ(puppet.Number("threads"), 2) << "the preload's start goes on";
}

TEST_F(PreloadTest, AProgramThatStartedItselfIsLeftAlone) {
  for (const char* program : {"preload_puppet_memgov", "preload_puppet_memgov_shared"}) {
    const std::size_t before = governor_.heard().hellos.size();
    PuppetProcess puppet = Puppet(program);
    EXPECT_EQ(puppet.Call("start " + socket_), "0");
    ASSERT_TRUE(WaitForHellos(before + 1));
    EXPECT_EQ(puppet.Call("wait"), "0");
    EXPECT_EQ(puppet.Number("threads"), 2);
    EXPECT_EQ(governor_.heard().hellos.size(), before + 1);
  }
}

TEST_F(PreloadTest, ADaemonsChildAttachesItselfAndItsParentStays) {
  PuppetProcess puppet = Puppet();
  EXPECT_EQ(puppet.Call("wait"), "0");
  ASSERT_TRUE(WaitForHellos(1));
  EXPECT_EQ(puppet.Call("daemon"), "0");
  ASSERT_TRUE(WaitForHellos(2));
  EXPECT_TRUE(WaitForSessions(2));
}

TEST_F(PreloadTest, ADaemonsChildAttachesThoughItsParentNeverDid) {
  PuppetProcess puppet = Puppet();
  EXPECT_EQ(puppet.Call("daemon"), "0");
  ASSERT_TRUE(WaitForHellos(1));
  EXPECT_EQ(puppet.Number("threads"), 1);
}

TEST_F(PreloadTest, TenThousandShortChildrenGetNoAgent) {
  PuppetProcess puppet = Puppet();
  EXPECT_EQ(puppet.Call("wait"), "0");
  ASSERT_TRUE(WaitForHellos(1));
  EXPECT_EQ(puppet.Call("fork 10000"), "0");
  EXPECT_EQ(puppet.Call("exec 500"), "0");
  EXPECT_EQ(puppet.Call("vfork 500"), "0");
  EXPECT_EQ(puppet.Number("threads"), 2);
  EXPECT_EQ(governor_.heard().hellos.size(), 1u);
  EXPECT_TRUE(WaitForSessions(1));
}

TEST_F(PreloadTest, ShortChildrenOfADetachedProgramGetNoAgentEither) {
  PuppetProcess puppet = Puppet();
  EXPECT_EQ(puppet.Call("exec 100"), "0");
  EXPECT_EQ(puppet.Call("vfork 100"), "0");
  EXPECT_TRUE(governor_.heard().hellos.empty());
  EXPECT_EQ(puppet.Number("threads"), 1);
  EXPECT_EQ(puppet.Call("wait"), "0");
  EXPECT_TRUE(WaitForHellos(1));
}

// A program that stands in one call for ever (stander.c).
class Stander {
 public:
  Stander(const std::string& socket, const std::string& how, int mib, int ms) {
    const std::string path =
        std::filesystem::read_symlink("/proc/self/exe").parent_path() / "preload_stander";
    pid_ = fork();
    if (pid_ != 0) return;
    setenv("LD_PRELOAD", kPreload.c_str(), 1);
    setenv("MEMGOV_SOCKET", socket.c_str(), 1);
    if (dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO) < 0) _exit(126);
    int in[2];
    if (pipe(in) != 0 || dup2(in[0], STDIN_FILENO) < 0) _exit(126);
    execl(path.c_str(), path.c_str(), how.c_str(), std::to_string(mib).c_str(), std::to_string(ms).c_str(),
          nullptr);
    _exit(127);
  }
  ~Stander() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  // Its exit status, once it ends by itself.
  int Wait() {
    int status = 0;
    waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_;
};

constexpr int kLargeMib = 32, kSettledMs = 150;

class PreloadStandsTest : public PreloadTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(PreloadStandsTest, ALargeProgramIsAttachedWhereverItStands) {
  Stander stander(socket_, GetParam(), kLargeMib, kSettledMs);
  EXPECT_TRUE(WaitForHellos(1));
}

INSTANTIATE_TEST_SUITE_P(Calls, PreloadStandsTest,
                         ::testing::Values("recv", "recvfrom", "recvmsg", "readv", "wait", "waitpid", "wait4",
                                           "waitid", "condition", "timed_condition", "semaphore",
                                           "timed_semaphore", "futex", "join", "pause", "sigsuspend",
                                           "sigwait", "getchar", "getc", "fgets", "fread", "getline",
                                           "scanf"),
                         [](const auto& info) { return info.param; });

TEST_F(PreloadTest, ALargeProgramThatNeverWaitsIsAttachedByItsOutput) {
  for (const char* how : {"fprintf", "fputs"}) {
    const std::size_t before = governor_.heard().hellos.size();
    EXPECT_EQ(Stander(socket_, how, kLargeMib, kSettledMs).Wait(), 2) << how;
    EXPECT_TRUE(WaitForHellos(before + 1)) << how;
  }
}

TEST_F(PreloadTest, ALargeProgramNeedNotSettleBeforeAWaitWithoutEnd) {
  for (const char* how : {"pause", "condition", "waitpid"}) {
    const std::size_t before = governor_.heard().hellos.size();
    Stander stander(socket_, how, kLargeMib, 0);
    EXPECT_TRUE(WaitForHellos(before + 1)) << how;
  }
}

TEST_F(PreloadTest, ASmallProgramThatReadsOrPrintsGetsNoThread) {
  EXPECT_EQ(Stander(socket_, "fprintf", 0, kSettledMs).Wait(), 1);
  EXPECT_EQ(Stander(socket_, "handler", 0, kSettledMs).Wait(), 1);
  EXPECT_TRUE(governor_.heard().hellos.empty());
}

TEST_F(PreloadTest, ALargeProgramIsNotAttachedInAHandlerOfSigchld) {
  EXPECT_EQ(Stander(socket_, "handler", kLargeMib, kSettledMs).Wait(), 1);
}

TEST_F(PreloadTest, AChildThatWritesASnapshotGetsNoThread) {
  EXPECT_EQ(Stander(socket_, "snapshot", kLargeMib, 0).Wait(), 1);
  EXPECT_TRUE(governor_.heard().hellos.empty());
}

}  // namespace
}  // namespace memgov::testing
