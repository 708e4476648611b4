// Starting, stopping, forking: the promises of memgov.h that have nothing to do with what a governor says.

#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "client/c/memgov.h"
#include "client/c/testing/fake_governor.h"
#include "client/c/testing/recorder.h"
#include "client/c/testing/rude_peer.h"

namespace memgov::testing {
namespace {

using ::testing::HasSubstr;

std::set<std::string> OpenDescriptors() {
  std::set<std::string> open;
  DIR* directory = opendir("/proc/self/fd");
  while (const dirent* entry = readdir(directory)) {
    char target[256] = "";
    const std::string path = std::string("/proc/self/fd/") + entry->d_name;
    if (readlink(path.c_str(), target, sizeof(target) - 1) > 0)
      open.insert(std::string(entry->d_name) + " " + target);
  }
  closedir(directory);
  return open;
}

std::size_t AgentThreads() {
  std::size_t count = 0;
  DIR* directory = opendir("/proc/self/task");
  while (const dirent* entry = readdir(directory)) {
    std::ifstream file(std::string("/proc/self/task/") + entry->d_name + "/comm");
    std::string name;
    std::getline(file, name);
    count += name == "memgov" ? 1 : 0;
  }
  closedir(directory);
  return count;
}

class LifecycleTest : public ::testing::Test {
 protected:
  ~LifecycleTest() override {
    for (int i = 0; i < 10; ++i) memgov_stop();
  }

  SocketDirectory directory_;
  const std::string socket_ = directory_.path();
  Recorder recorder_;
};

TEST_F(LifecycleTest, BadOptionsAreRefusedAndNothingIsStarted) {
  memgov_options options = MEMGOV_OPTIONS_INIT;
  options.size = 0;
  EXPECT_EQ(memgov_start(&options), EINVAL);
  options.size = sizeof(options) - 1;
  EXPECT_EQ(memgov_start(&options), EINVAL);
  options = MEMGOV_OPTIONS_INIT;
  const std::string longest(107, 'x');
  const std::string too_long(108, 'x');
  options.socket = too_long.c_str();
  EXPECT_EQ(memgov_start(&options), ENAMETOOLONG);
  EXPECT_EQ(memgov_status(), MEMGOV_OFF);
  options.socket = longest.c_str();
  EXPECT_EQ(memgov_start(&options), 0);
}

TEST_F(LifecycleTest, OptionsOfTheFirstVersionAreAcceptedAndWhatFollowsIsNotRead) {
  memgov_options options = MEMGOV_OPTIONS_INIT;
  options.size = offsetof(memgov_options, local);
  options.local = -1;
  EXPECT_EQ(memgov_start(&options), 0);
  EXPECT_EQ(memgov_status(), MEMGOV_NOT_CONNECTED);
}

TEST_F(LifecycleTest, OptionsOfALaterVersionAreAccepted) {
  struct {
    memgov_options known;
    void* unknown;
  } later = {MEMGOV_OPTIONS_INIT, &later};
  later.known.size = sizeof(later);
  EXPECT_EQ(memgov_start(&later.known), 0);
  EXPECT_EQ(memgov_status(), MEMGOV_NOT_CONNECTED);
}

TEST_F(LifecycleTest, StartsAreCounted) {
  FakeGovernor governor(socket_);
  const memgov_options options = recorder_.OptionsFor(socket_);
  ASSERT_EQ(memgov_start(&options), 0);
  ASSERT_EQ(memgov_start(nullptr), 0);
  ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return !heard.reports.empty(); }));
  EXPECT_EQ(AgentThreads(), 1u);
  memgov_stop();
  EXPECT_EQ(memgov_status(), MEMGOV_ENFORCING);
  memgov_stop();
  EXPECT_EQ(memgov_status(), MEMGOV_OFF);
  EXPECT_EQ(AgentThreads(), 0u);
  memgov_stop();  // one too many
  EXPECT_EQ(memgov_start(&options), 0);
  EXPECT_NE(memgov_status(), MEMGOV_OFF);
}

TEST_F(LifecycleTest, TheEnvironmentSwitchesItOff) {
  setenv("MEMGOV_DISABLE", "1", 1);
  EXPECT_EQ(memgov_start(nullptr), 0);
  EXPECT_EQ(memgov_status(), MEMGOV_OFF);
  EXPECT_EQ(AgentThreads(), 0u);
  memgov_stop();
  setenv("MEMGOV_DISABLE", "0", 1);
  EXPECT_EQ(memgov_start(nullptr), 0);
  EXPECT_EQ(memgov_status(), MEMGOV_NOT_CONNECTED);
  unsetenv("MEMGOV_DISABLE");
}

TEST_F(LifecycleTest, TheEnvironmentNamesTheSocket) {
  FakeGovernor governor(socket_);
  setenv("MEMGOV_SOCKET", socket_.c_str(), 1);
  EXPECT_EQ(memgov_start(nullptr), 0);
  EXPECT_TRUE(governor.WaitFor([](const auto& heard) { return heard.hellos.size() == 1; }));
  EXPECT_NE(governor.heard().hellos.at(0).name(), "");
  unsetenv("MEMGOV_SOCKET");
}

TEST_F(LifecycleTest, ACallbackMayAskButNotStartOrStop) {
  struct Seen {
    std::atomic<int> start = -1;
    std::atomic<int> status = -1;
  } seen;
  memgov_options options = MEMGOV_OPTIONS_INIT;
  options.socket = socket_.c_str();
  options.user = &seen;
  options.on_event = [](void* user, const memgov_event*) {
    memgov_stop();
    static_cast<Seen*>(user)->status = memgov_status();
    static_cast<Seen*>(user)->start = memgov_start(nullptr);
  };
  ASSERT_EQ(memgov_start(&options), 0);
  while (seen.start == -1) std::this_thread::yield();
  EXPECT_EQ(seen.start, EDEADLK);
  EXPECT_EQ(seen.status, MEMGOV_NOT_CONNECTED);
  memgov_stop();
}

TEST_F(LifecycleTest, TheLogHasALineForEachEvent) {
  FakeGovernor governor(socket_);
  struct Log {
    std::mutex mutex;
    std::string text;
  } log;
  memgov_options options = MEMGOV_OPTIONS_INIT;
  options.socket = socket_.c_str();
  options.user = &log;
  options.log = [](void* user, const char* line) {
    const std::lock_guard<std::mutex> lock(static_cast<Log*>(user)->mutex);
    static_cast<Log*>(user)->text += std::string(line) + "\n";
  };
  ASSERT_EQ(memgov_start(&options), 0);
  ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return !heard.reports.empty(); }));
  v1::Directive directive = Collect();
  directive.mutable_reason()->set_text("usage 90 % of the limit");
  governor.Ask(directive);
  memgov_stop();
  EXPECT_THAT(log.text, HasSubstr("memgov: connected to " + socket_ + "\n"));
  EXPECT_THAT(log.text, HasSubstr("memgov: governed in /test, directives may come\n"));
  EXPECT_THAT(log.text, HasSubstr(": collect, 0 MiB: usage 90 % of the limit\n"));
  EXPECT_THAT(log.text, HasSubstr(" declined: there is no garbage collector"));
  EXPECT_THAT(log.text, HasSubstr("memgov: not connected: the application stopped memgov\n"));
}

TEST_F(LifecycleTest, AThousandSessionsLeaveNothingBehind) {
  FakeGovernor governor(socket_);
  const memgov_options options = recorder_.OptionsFor(socket_);
  const std::set<std::string> before = OpenDescriptors();
  for (int i = 1; i <= 1000; ++i) {
    ASSERT_EQ(memgov_start(&options), 0);
    ASSERT_TRUE(recorder_.WaitFor([&](const auto& events) {
      return !events.empty() && events.back().event.kind == MEMGOV_EVENT_WELCOMED;
    })) << i;
    memgov_stop();
  }
  ASSERT_TRUE(
      governor.WaitFor([](const auto& heard) { return heard.sessions == 0 && heard.hellos.size() == 1000; }));
  EXPECT_EQ(AgentThreads(), 0u);
  EXPECT_LE(OpenDescriptors().size(), before.size() + 2);  // gRPC's own may still be closing
}

TEST_F(LifecycleTest, ACutConnectionIsTakenUpAgainAndAgain) {
  FakeGovernor governor(directory_.path("back"));
  Relay relay(socket_, directory_.path("back"));
  const memgov_options options = recorder_.OptionsFor(socket_);
  ASSERT_EQ(memgov_start(&options), 0);
  for (std::size_t i = 1; i <= 20; ++i) {
    ASSERT_TRUE(
        governor.WaitFor([&](const auto& heard) { return heard.hellos.size() == i && heard.sessions == 1; }));
    ASSERT_NE(recorder_.Wait(MEMGOV_EVENT_WELCOMED, static_cast<int>(i)).event.kind, 0);
    relay.Cut();
  }
}

TEST_F(LifecycleTest, StartsAndStopsFromManyThreads) {
  FakeGovernor governor(socket_);
  const memgov_options options = recorder_.OptionsFor(socket_);
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        EXPECT_EQ(memgov_start(&options), 0);
        memgov_status();
        memgov_stop();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(memgov_status(), MEMGOV_OFF);
  EXPECT_EQ(AgentThreads(), 0u);
}

// Runs `body` in a forked child, which must not touch gRPC; returns its exit status.
template <typename Body>
int InChild(Body body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_F(LifecycleTest, AForkedChildIsDetachedAndTheParentIsNot) {
  FakeGovernor governor(directory_.path("back"));
  Relay relay(socket_, directory_.path("back"));  // so that gRPC's sockets are not the ones that we look for
  const memgov_options options = recorder_.OptionsFor(socket_);
  ASSERT_EQ(memgov_start(&options), 0);
  ASSERT_TRUE(
      governor.WaitFor([](const auto& heard) { return heard.sessions == 1 && !heard.reports.empty(); }));
  const std::set<std::string> parents = OpenDescriptors();
  EXPECT_EQ(InChild([&] {
              if (memgov_status() != MEMGOV_OFF) return 1;
              if (AgentThreads() != 0) return 2;
              memgov_stop();  // the parent's start is not the child's
              // Wake, statm and socket are closed; opendir's own descriptor is in both sets.
              return OpenDescriptors().size() == parents.size() - 5 ? 0 : 3;
            }),
            0);
  EXPECT_EQ(memgov_status(), MEMGOV_ENFORCING);
  EXPECT_EQ(governor.Ask(Collect()).status(), v1::Outcome::STATUS_DECLINED);
  EXPECT_EQ(governor.heard().hellos.size(), 1u);
}

TEST_F(LifecycleTest, AForkedChildAttachesWhenItAsks) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP()
      << "a lock of the sanitizer that another thread held at the fork is never released in the child, which "
         "waits for it when it starts a thread; the release preset runs this";
#endif
  FakeGovernor governor(socket_);
  const memgov_options options = recorder_.OptionsFor(socket_);
  ASSERT_EQ(memgov_start(&options), 0);
  ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return heard.sessions == 1; }));
  EXPECT_EQ(InChild([&] {
              memgov_options own = MEMGOV_OPTIONS_INIT;
              own.socket = socket_.c_str();
              own.name = "child";
              if (memgov_start(&own) != 0) return 1;
              for (int i = 0; i < 3000 && memgov_status() != MEMGOV_ENFORCING; ++i) usleep(10000);
              const int result = memgov_status() == MEMGOV_ENFORCING ? 0 : 2;
              memgov_stop();
              return result;
            }),
            0);
  ASSERT_TRUE(
      governor.WaitFor([](const auto& heard) { return heard.hellos.size() == 2 && heard.sessions == 1; }));
  EXPECT_EQ(governor.heard().hellos.at(1).name(), "child");
  EXPECT_EQ(memgov_status(), MEMGOV_ENFORCING);
}

TEST_F(LifecycleTest, AnExecutedProgramInheritsNothing) {
  FakeGovernor governor(directory_.path("back"));
  Relay relay(socket_, directory_.path("back"));
  const memgov_options options = recorder_.OptionsFor(socket_);
  ASSERT_EQ(memgov_start(&options), 0);
  ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return heard.sessions == 1; }));
  const pid_t child = fork();
  if (child == 0) {
    execl("/bin/sh", "sh", "-c", "readlink /proc/self/fd/* | grep -E 'eventfd|/statm' && exit 1; exit 0",
          nullptr);
    _exit(127);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(governor.heard().hellos.size(), 1u);
}

TEST_F(LifecycleTest, ForksInTheMiddleOfEverything) {
  FakeGovernor governor(directory_.path("back"));
  Relay relay(socket_, directory_.path("back"));
  const memgov_options options = recorder_.OptionsFor(socket_);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(memgov_start(&options), 0);
    if (i % 3 == 0) relay.Cut();
    EXPECT_EQ(InChild([] { return memgov_status() == MEMGOV_OFF ? 0 : 1; }), 0);
    memgov_stop();
  }
}

}  // namespace
}  // namespace memgov::testing
