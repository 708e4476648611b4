// Shedding through the C ABI and a real gRPC server: what a governor sees of pressure hooks, and when.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/c/memgov.h"
#include "client/c/testing/fake_governor.h"
#include "client/c/testing/recorder.h"

namespace memgov::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::uint64_t kMiB = 1 << 20;

v1::Directive Shed(std::uint64_t bytes) {
  v1::Directive directive;
  directive.set_level(v1::LEVEL_CRITICAL);
  directive.mutable_shed()->set_level(v1::LEVEL_CRITICAL);
  directive.mutable_shed()->set_bytes(bytes);
  return directive;
}

class PressureTest : public ::testing::Test {
 protected:
  using Give = std::function<std::uint64_t(const memgov_pressure&)>;

  ~PressureTest() override {
    memgov_stop();
    for (const memgov_handle handle : handles_) memgov_off_pressure(handle);
  }

  // A hook that is registered until the test ends.
  memgov_handle Register(const char* name, Give give) {
    gives_.push_back(std::make_unique<Give>(std::move(give)));
    memgov_pressure_hook hook = MEMGOV_PRESSURE_HOOK_INIT;
    hook.name = name;
    hook.give = [](void* user, const memgov_pressure* pressure) {
      return (*static_cast<Give*>(user))(*pressure);
    };
    hook.user = gives_.back().get();
    handles_.push_back(0);
    EXPECT_EQ(memgov_on_pressure(&hook, &handles_.back()), 0);
    return handles_.back();
  }

  void Start() {
    const memgov_options options = recorder_.OptionsFor(socket_);
    ASSERT_EQ(memgov_start(&options), 0);
    ASSERT_NE(recorder_.Wait(MEMGOV_EVENT_WELCOMED).event.kind, 0);
  }

  SocketDirectory directory_;
  const std::string socket_ = directory_.path();
  Recorder recorder_;
  std::vector<std::unique_ptr<Give>> gives_;
  std::vector<memgov_handle> handles_;
};

TEST_F(PressureTest, AShedIsGivenByTheHooksAndTheOutcomeSaysByWhich) {
  FakeGovernor governor(socket_);
  std::string cache(64 * kMiB, 'c');  // mapped for itself, so that it leaves the process when it is freed
  memgov_pressure heard = {};
  Register("blocks", [&](const memgov_pressure& pressure) {
    heard = pressure;
    const std::uint64_t bytes = cache.size();
    std::string().swap(cache);
    return bytes;
  });
  Register("thumbnails", [](const memgov_pressure&) { return MEMGOV_HOOK_FAILED; });
  Start();
  EXPECT_TRUE(governor.heard().hellos.at(0).capabilities().shed());

  const v1::Outcome outcome = governor.Ask(Shed(100 * kMiB));
  const RecordedEvent done = recorder_.Wait(MEMGOV_EVENT_OUTCOME);  // also orders what the hook wrote
  EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DONE);
  EXPECT_THAT(outcome.why(), StartsWith("gave 64 MiB of 100 MiB: blocks 64 MiB"));
  EXPECT_THAT(outcome.why(), HasSubstr(", thumbnails failed"));
  EXPECT_EQ(heard.level, MEMGOV_LEVEL_CRITICAL);
  EXPECT_EQ(heard.bytes, 100 * kMiB);
  EXPECT_GT(heard.until_ns, 0u);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their malloc keeps what is freed
  EXPECT_GE(outcome.before_bytes(), outcome.after_bytes() + 60 * kMiB);
#endif
  EXPECT_EQ(done.event.action, MEMGOV_ACTION_SHED);
  EXPECT_EQ(done.text, outcome.why());
}

TEST_F(PressureTest, WithoutAHookAShedIsDeclined) {
  FakeGovernor governor(socket_);
  Start();
  EXPECT_FALSE(governor.heard().hellos.at(0).capabilities().shed());
  EXPECT_EQ(governor.Ask(Shed(kMiB)).why(), "the application has registered no cache");
  Register("a", [](const memgov_pressure&) { return 0; });
  EXPECT_EQ(governor.Ask(Shed(0)).why(), "it asks for 0 bytes");
}

TEST_F(PressureTest, TheFirstHookAndTheLastAreToldByANewSession) {
  FakeGovernor governor(socket_);
  Start();
  ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return !heard.reports.empty(); }));
  std::atomic<bool> disconnected = false;
  std::atomic<bool> watching = true;
  std::thread watcher([&] {
    while (watching) disconnected = disconnected || memgov_status() != MEMGOV_ENFORCING;
  });
  const memgov_handle first = Register("first", [](const memgov_pressure&) { return 0; });
  ASSERT_TRUE(
      governor.WaitFor([](const auto& heard) { return heard.hellos.size() == 2 && heard.sessions == 1; }));
  EXPECT_TRUE(governor.heard().hellos.back().capabilities().shed());
  const memgov_handle second = Register("second", [](const memgov_pressure&) { return 0; });
  EXPECT_EQ(memgov_off_pressure(first), 0);
  EXPECT_EQ(governor.Ask(Shed(kMiB)).status(), v1::Outcome::STATUS_DONE);
  EXPECT_EQ(memgov_off_pressure(second), 0);
  EXPECT_EQ(governor.Ask(Shed(kMiB)).status(), v1::Outcome::STATUS_DECLINED);  // the same session still
  ASSERT_TRUE(
      governor.WaitFor([](const auto& heard) { return heard.hellos.size() == 3 && heard.sessions == 1; }));
  EXPECT_FALSE(governor.heard().hellos.back().capabilities().shed());
  ASSERT_NE(recorder_.Wait(MEMGOV_EVENT_WELCOMED, 3).event.kind, 0);
  watching = false;
  watcher.join();
  EXPECT_FALSE(disconnected);
  EXPECT_EQ(recorder_.Count(MEMGOV_EVENT_DISCONNECTED), 0);
}

TEST_F(PressureTest, AGovernorThatGoesWhileASessionIsRenewedIsMissed) {
  auto governor = std::make_unique<FakeGovernor>(socket_);
  Start();
  Register("late", [](const memgov_pressure&) { return 0; });
  governor.reset();
  EXPECT_NE(recorder_.Wait(MEMGOV_EVENT_DISCONNECTED).event.kind, 0);
  FakeGovernor next(socket_);
  ASSERT_TRUE(next.WaitFor([](const auto& heard) { return heard.hellos.size() == 1; }));
  EXPECT_TRUE(next.heard().hellos.at(0).capabilities().shed());
}

TEST_F(PressureTest, HooksThatComeAndGoDoNotKeepTheGovernorBusy) {
  FakeGovernor governor(socket_, {.report_every_ms = 100});
  Start();
  for (int i = 0; i < 200; ++i) {
    memgov_off_pressure(Register("short", [](const memgov_pressure&) { return 0; }));
    usleep(5000);
  }
  ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return heard.reports.size() > 5; }));
  EXPECT_LE(governor.heard().hellos.size(), 2u);  // at most one a second
}

TEST_F(PressureTest, TheTimeThatADirectiveHasIsTheHooksTime) {
  FakeGovernor governor(socket_);
  Register("slow", [](const memgov_pressure&) {
    usleep(300000);
    return kMiB;
  });
  Register("second", [](const memgov_pressure&) { return kMiB; });
  Start();
  v1::Directive directive = Shed(10 * kMiB);
  directive.set_deadline_ms(200);
  const v1::Outcome outcome = governor.Ask(directive);
  // A loaded machine may be too late even for the first.
  if (outcome.status() == v1::Outcome::STATUS_DONE && outcome.why().rfind("gave 1024", 0) == 0) {
    EXPECT_THAT(outcome.why(), StartsWith("gave 1024 KiB of 10 MiB: slow 1024 KiB in "));
  }
  EXPECT_THAT(outcome.why(), ::testing::AnyOf(HasSubstr("; the time was up, 1 not asked"),
                                              HasSubstr("; the time was up, 2 not asked"),
                                              HasSubstr("had passed before it could begin")));
  EXPECT_EQ(governor.Ask(Shed(kMiB)).status(), v1::Outcome::STATUS_DONE);  // and the session goes on
}

TEST_F(PressureTest, StopWaitsForTheHookThatRunsAndCallsNoOther) {
  FakeGovernor governor(socket_);
  std::promise<void> inside;
  std::promise<void> may_return;
  std::atomic<bool> returned = false;
  std::atomic<int> others = 0;
  Register("held", [&](const memgov_pressure&) {
    inside.set_value();
    may_return.get_future().wait();
    returned = true;
    return 0;
  });
  Register("other", [&](const memgov_pressure&) {
    ++others;
    return 0;
  });
  Start();
  governor.Send(Shed(kMiB));
  inside.get_future().wait();
  std::thread stopping([&] {
    memgov_stop();
    EXPECT_TRUE(returned);
  });
  usleep(50000);
  EXPECT_NE(memgov_status(), MEMGOV_OFF);
  may_return.set_value();
  stopping.join();
  EXPECT_EQ(memgov_status(), MEMGOV_OFF);
  EXPECT_EQ(others, 0);
}

TEST_F(PressureTest, AHookMayDoWhatACallbackMay) {
  FakeGovernor governor(socket_);
  std::atomic<int> start = -1;
  memgov_handle self = 0;
  self = Register("self", [&](const memgov_pressure&) {
    memgov_stop();
    start = memgov_start(nullptr);
    memgov_thread_checkpoint();
    EXPECT_EQ(memgov_off_pressure(self), 0);
    Register("next", [](const memgov_pressure&) { return kMiB; });
    return 0;
  });
  gives_.reserve(8);
  handles_.reserve(8);
  Start();
  EXPECT_EQ(governor.Ask(Shed(kMiB)).why(), "gave 0 KiB of 1024 KiB: self nothing");
  EXPECT_EQ(start, EDEADLK);
  EXPECT_THAT(governor.Ask(Shed(kMiB)).why(), StartsWith("gave 1024 KiB of 1024 KiB: next 1024 KiB"));
}

TEST_F(PressureTest, HooksOutliveAStopAndAreThereForTheNextStart) {
  Register("kept", [](const memgov_pressure&) { return kMiB; });
  for (int i = 0; i < 2; ++i) {
    FakeGovernor governor(socket_);
    Recorder recorder;
    const memgov_options options = recorder.OptionsFor(socket_);
    ASSERT_EQ(memgov_start(&options), 0);
    ASSERT_NE(recorder.Wait(MEMGOV_EVENT_WELCOMED).event.kind, 0);
    EXPECT_THAT(governor.Ask(Shed(kMiB)).why(), StartsWith("gave 1024 KiB"));
    memgov_stop();
  }
}

TEST_F(PressureTest, AForkedChildShedsItsOwnCachesWhenItHasAttached) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP()
      << "a lock of the sanitizer that another thread held at the fork is never released in the child, which "
         "waits for it when it starts a thread; the release preset runs this";
#endif
  FakeGovernor governor(socket_);
  std::atomic<int> calls = 0;
  Register("inherited", [&](const memgov_pressure&) {
    ++calls;
    return kMiB;
  });
  Start();
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    memgov_options own = MEMGOV_OPTIONS_INIT;
    own.socket = socket_.c_str();
    if (memgov_start(&own) != 0) _exit(1);
    while (calls == 0) usleep(1000);
    memgov_stop();
    _exit(0);
  }
  ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return heard.hellos.size() == 2; }));
  EXPECT_TRUE(governor.heard().hellos.at(1).capabilities().shed());
  governor.Send(Shed(kMiB));  // to the newest session
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(calls, 0);
  ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return heard.sessions == 1; }));
  EXPECT_THAT(governor.Ask(Shed(kMiB)).why(), StartsWith("gave 1024 KiB"));
  EXPECT_EQ(calls, 1);
}

TEST_F(PressureTest, RegisteringFromManyThreadsWhileSessionsComeAndGo) {
  FakeGovernor governor(socket_);
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  threads.reserve(3);
  for (int n = 0; n < 3; ++n) {
    threads.emplace_back([&] {
      while (!stop) {
        memgov_pressure_hook hook = MEMGOV_PRESSURE_HOOK_INIT;
        hook.give = [](void*, const memgov_pressure*) -> std::uint64_t { return 1; };
        memgov_handle handle = 0;
        EXPECT_EQ(memgov_on_pressure(&hook, &handle), 0);
        memgov_thread_checkpoint();
        EXPECT_EQ(memgov_off_pressure(handle), 0);
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    Recorder recorder;
    const memgov_options options = recorder.OptionsFor(socket_);
    ASSERT_EQ(memgov_start(&options), 0);
    ASSERT_NE(recorder.Wait(MEMGOV_EVENT_WELCOMED).event.kind, 0);
    governor.Send(Shed(UINT64_MAX));
    if (i % 2 == 0) recorder.Wait(MEMGOV_EVENT_OUTCOME);
    memgov_stop();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace memgov::testing
