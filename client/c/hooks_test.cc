// The table of pressure hooks and calling them, without an agent: the test's threads are its threads.

#include "client/c/hooks.h"

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

#include "client/c/process.h"

namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr std::uint64_t kMiB = 1 << 20;

// A hook that is registered as long as the object lives, and does what the function says.
class Hook {
 public:
  using Give = std::function<std::uint64_t(const memgov_pressure&)>;
  Hook(const char* name, int priority, Give give) : give_(std::move(give)) {
    memgov_pressure_hook hook = MEMGOV_PRESSURE_HOOK_INIT;
    hook.name = name;
    hook.priority = priority;
    hook.give = [](void* user, const memgov_pressure* pressure) {
      return static_cast<Hook*>(user)->give_(*pressure);
    };
    hook.user = this;
    EXPECT_EQ(memgov_on_pressure(&hook, &handle_), 0);
    EXPECT_NE(handle_, 0u);
  }
  ~Hook() { memgov_off_pressure(handle_); }
  Hook(const Hook&) = delete;
  Hook& operator=(const Hook&) = delete;

  int Off() { return memgov_off_pressure(handle_); }

 private:
  Give give_;
  memgov_handle handle_ = 0;
};

mg_shed Shed(std::uint64_t bytes, std::uint64_t until_ns = 0) {
  return mg_hooks_shed(MEMGOV_LEVEL_WAKE, bytes, until_ns);
}

class HooksTest : public ::testing::Test {
 protected:
  ~HooksTest() override {
    EXPECT_FALSE(mg_hooks_any());
    mg_hooks_stop(false);
  }

  // Gives `bytes` and notes what it was asked for.
  Hook::Give Gives(std::uint64_t bytes, const char* name = "") {
    return [this, bytes, name](const memgov_pressure& pressure) {
      calls_.push_back(std::string(name) + " " + std::to_string(pressure.bytes / kMiB));
      return bytes;
    };
  }

  std::vector<std::string> calls_;
};

TEST_F(HooksTest, WithoutHooksNothingHappens) {
  EXPECT_FALSE(mg_hooks_any());
  const mg_shed shed = Shed(kMiB);
  EXPECT_EQ(shed.called, 0u);
  EXPECT_EQ(shed.given, 0u);
  EXPECT_STREQ(shed.text, "");
}

TEST_F(HooksTest, LowerPrioritiesAreAskedFirstAndEqualOnesByAge) {
  const Hook dear("dear", 10, Gives(0, "dear"));
  const Hook cheap("cheap", -5, Gives(0, "cheap"));
  const Hook first("first", 0, Gives(0, "first"));
  const Hook second("second", 0, Gives(0, "second"));
  EXPECT_TRUE(mg_hooks_any());
  EXPECT_EQ(Shed(kMiB).called, 4u);
  EXPECT_THAT(calls_, ElementsAre("cheap 1", "first 1", "second 1", "dear 1"));
}

TEST_F(HooksTest, EachIsAskedForTheRestAndNobodyWhenItIsEnough) {
  const Hook a("a", 1, Gives(30 * kMiB, "a"));
  const Hook b("b", 2, Gives(40 * kMiB, "b"));
  const Hook c("c", 3, Gives(kMiB, "c"));
  const mg_shed shed = Shed(64 * kMiB);
  EXPECT_THAT(calls_, ElementsAre("a 64", "b 34"));
  EXPECT_EQ(shed.given, 70 * kMiB);
  EXPECT_EQ(shed.left, 0u);
  EXPECT_STREQ(shed.text, "gave 70 MiB of 64 MiB: a 30 MiB, b 40 MiB");
}

TEST_F(HooksTest, AHookHearsTheLevelAndTheTime) {
  memgov_pressure heard = {};
  const Hook hook("a", 0, [&](const memgov_pressure& pressure) {
    heard = pressure;
    return 0;
  });
  mg_hooks_shed(MEMGOV_LEVEL_CRITICAL, 5, UINT64_MAX);
  EXPECT_EQ(heard.size, sizeof(memgov_pressure));
  EXPECT_EQ(heard.level, MEMGOV_LEVEL_CRITICAL);
  EXPECT_EQ(heard.bytes, 5u);
  EXPECT_EQ(heard.until_ns, UINT64_MAX);
}

TEST_F(HooksTest, AFailureGivesNothingAndIsTold) {
  const Hook broken("broken", 1, Gives(MEMGOV_HOOK_FAILED));
  const Hook empty("empty", 2, Gives(0));
  const Hook whole("whole", 3, Gives(12 * kMiB));
  const mg_shed shed = Shed(64 * kMiB);
  EXPECT_EQ(shed.given, 12 * kMiB);
  EXPECT_STREQ(shed.text, "gave 12 MiB of 64 MiB: broken failed, empty nothing, whole 12 MiB");
}

TEST_F(HooksTest, AHookThatTakesLongDelaysOnlyThoseAfterItAndTheyAreTold) {
  const std::uint64_t until_ns = mg_now_ns() + 20 * 1000000ull;
  const Hook slow("slow", 1, [&](const memgov_pressure& pressure) {
    while (mg_now_ns() < pressure.until_ns) usleep(1000);
    return 2 * kMiB;
  });
  const Hook second("second", 2, Gives(kMiB, "second"));
  const Hook third("third", 3, Gives(kMiB, "third"));
  const mg_shed shed = Shed(64 * kMiB, until_ns);
  EXPECT_THAT(calls_, IsEmpty());
  EXPECT_EQ(shed.called, 1u);
  EXPECT_EQ(shed.left, 2u);
  EXPECT_EQ(shed.given, 2 * kMiB);
  EXPECT_THAT(shed.text, StartsWith("gave 2048 KiB of 64 MiB: slow 2048 KiB"));
  EXPECT_THAT(shed.text, HasSubstr("; the time was up, 2 not asked"));
}

TEST_F(HooksTest, WhenTheAgentStopsNoFurtherHookIsCalled) {
  const Hook a("a", 1, [&](const memgov_pressure&) {
    mg_hooks_stop(true);
    return 0;
  });
  const Hook b("b", 2, Gives(kMiB, "b"));
  EXPECT_THAT(Shed(kMiB).text, HasSubstr("; memgov stops, 1 not asked"));
  EXPECT_THAT(calls_, IsEmpty());
}

TEST_F(HooksTest, ALongListIsCutButSaysWhoWasNotAsked) {
  std::vector<std::unique_ptr<Hook>> hooks;
  hooks.reserve(32);
  for (int i = 0; i < 30; ++i) {
    hooks.push_back(
        std::make_unique<Hook>("a name of more than thirty-one bytes", i, [](const auto&) { return kMiB; }));
  }
  hooks.push_back(std::make_unique<Hook>("last", 30, [](const auto&) {
    mg_hooks_stop(true);
    return 0;
  }));
  hooks.push_back(std::make_unique<Hook>("never", 31, Gives(0)));
  const mg_shed shed = Shed(UINT64_MAX);
  EXPECT_EQ(shed.called, 31u);
  EXPECT_THAT(shed.text, HasSubstr("a name of more than thirty-one  1024 KiB, ..."));
  EXPECT_THAT(shed.text, HasSubstr("; memgov stops, 1 not asked"));
}

TEST_F(HooksTest, WhatIsNoHookIsRefused) {
  memgov_pressure_hook hook = MEMGOV_PRESSURE_HOOK_INIT;
  memgov_handle handle = 0;
  EXPECT_EQ(memgov_on_pressure(nullptr, &handle), EINVAL);
  EXPECT_EQ(memgov_on_pressure(&hook, &handle), EINVAL);  // no function
  hook.give = [](void*, const memgov_pressure*) -> std::uint64_t { return 0; };
  hook.size = sizeof(hook) - 1;
  EXPECT_EQ(memgov_on_pressure(&hook, &handle), EINVAL);
  EXPECT_EQ(handle, 0u);
  EXPECT_EQ(memgov_off_pressure(0), ENOENT);
  EXPECT_EQ(memgov_off_pressure(UINT64_MAX), ENOENT);

  struct {
    memgov_pressure_hook known;
    void* unknown;
  } later = {hook, nullptr};
  later.known.size = sizeof(later);
  EXPECT_EQ(memgov_on_pressure(&later.known, &handle), 0);
  EXPECT_EQ(memgov_off_pressure(handle), 0);
  EXPECT_EQ(memgov_off_pressure(handle), ENOENT);
}

TEST_F(HooksTest, TheTableHasAnEndAndItsPlacesAreUsedAgain) {
  memgov_pressure_hook hook = MEMGOV_PRESSURE_HOOK_INIT;
  hook.give = [](void*, const memgov_pressure*) -> std::uint64_t { return 0; };
  std::vector<memgov_handle> handles(MG_HOOKS_MAX);
  for (memgov_handle& each : handles) ASSERT_EQ(memgov_on_pressure(&hook, &each), 0);
  memgov_handle one_more = 0;
  EXPECT_EQ(memgov_on_pressure(&hook, &one_more), ENOSPC);
  EXPECT_EQ(Shed(kMiB).called, static_cast<unsigned>(MG_HOOKS_MAX));
  EXPECT_EQ(memgov_off_pressure(handles[7]), 0);
  EXPECT_EQ(memgov_on_pressure(&hook, &one_more), 0);
  EXPECT_EQ(memgov_off_pressure(handles[7]), ENOENT);  // its place belongs to another now
  handles[7] = one_more;
  for (const memgov_handle each : handles) EXPECT_EQ(memgov_off_pressure(each), 0);
}

TEST_F(HooksTest, AHookMayUnregisterItselfAndOthers) {
  std::unique_ptr<Hook> self;
  std::unique_ptr<Hook> other;
  int calls = 0;
  self = std::make_unique<Hook>("self", 0, [&](const memgov_pressure&) {
    ++calls;
    EXPECT_EQ(self->Off(), 0);
    EXPECT_EQ(other->Off(), 0);
    return 0;
  });
  other = std::make_unique<Hook>("other", 1, Gives(0, "other"));
  EXPECT_EQ(Shed(kMiB).called, 1u);
  EXPECT_EQ(Shed(kMiB).called, 0u);
  EXPECT_EQ(calls, 1);
  EXPECT_THAT(calls_, IsEmpty());
}

TEST_F(HooksTest, AHookThatIsRegisteredByAHookIsNotCalledInTheSameShed) {
  std::vector<std::unique_ptr<Hook>> born;
  const Hook mother("mother", 0, [&](const memgov_pressure&) {
    born.push_back(std::make_unique<Hook>("child", 1, Gives(0, "child")));
    return 0;
  });
  EXPECT_EQ(Shed(kMiB).called, 1u);
  EXPECT_EQ(Shed(kMiB).called, 2u);
  EXPECT_EQ(Shed(kMiB).called, 3u);
}

// A hook that waits in the middle of its call, on a thread of its own.
class HeldCall {
 public:
  HeldCall() : hook_("held", 0, [this](const memgov_pressure&) { return Hold(); }) {
    thread_ = std::thread([] { Shed(kMiB); });
    inside_.get_future().wait();
  }
  ~HeldCall() {
    if (thread_.joinable()) LetGo();
  }

  Hook& hook() { return hook_; }
  bool returned() const { return returned_; }
  void LetGo() {
    may_return_.set_value();
    thread_.join();
  }

 private:
  std::uint64_t Hold() {
    inside_.set_value();
    may_return_.get_future().wait();
    returned_ = true;
    return 0;
  }

  std::promise<void> inside_;
  std::promise<void> may_return_;
  std::atomic<bool> returned_ = false;
  Hook hook_;
  std::thread thread_;
};

TEST_F(HooksTest, UnregisteringWaitsForACallThatIsRunning) {
  HeldCall held;
  std::atomic<bool> off = false;
  std::thread first([&] {
    EXPECT_EQ(held.hook().Off(), 0);
    EXPECT_TRUE(held.returned());
    off = true;
  });
  // Whoever unregisters it a second time finds nothing, but may not be sure before the call is over either.
  std::thread second([&] {
    while (mg_hooks_any()) std::this_thread::yield();
    EXPECT_EQ(held.hook().Off(), ENOENT);
    EXPECT_TRUE(held.returned());
  });
  while (mg_hooks_any()) std::this_thread::yield();
  usleep(20000);
  EXPECT_FALSE(off);
  held.LetGo();
  first.join();
  second.join();
}

TEST_F(HooksTest, WhileOneRunsOthersComeAndGo) {
  HeldCall held;
  Hook other("other", 1, Gives(0, "other"));
  EXPECT_EQ(other.Off(), 0);
  EXPECT_FALSE(held.returned());
}

TEST_F(HooksTest, AForkedChildKeepsTheHooksAndWaitsForNobody) {
  HeldCall held;
  Hook other("other", 1, Gives(3 * kMiB));
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // a child that hangs is seen
    if (!mg_hooks_any()) _exit(1);
    if (held.hook().Off() != 0) _exit(2);  // its call runs in the parent alone
    if (Shed(kMiB).given != 3 * kMiB) _exit(3);
    if (other.Off() != 0 || mg_hooks_any()) _exit(4);
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(held.returned());
}

TEST_F(HooksTest, ForksWhileTheTableChanges) {
  std::atomic<bool> stop = false;
  std::thread changing([&] {
    while (!stop) Hook("short", 0, [](const memgov_pressure&) { return 0; });
  });
  for (int i = 0; i < 100; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      memgov_handle handle = 0;
      memgov_pressure_hook hook = MEMGOV_PRESSURE_HOOK_INIT;
      hook.give = [](void*, const memgov_pressure*) -> std::uint64_t { return 1; };
      _exit(memgov_on_pressure(&hook, &handle) == 0 && memgov_off_pressure(handle) == 0 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  stop = true;
  changing.join();
}

// What a hook uses dies right after it was unregistered; a call after that would be seen (and by the
// sanitizers, as a use of freed memory).
TEST_F(HooksTest, RegisteringAndUnregisteringFromManyThreadsDuringSheds) {
  std::atomic<bool> stop = false;
  std::atomic<int> calls = 0;
  std::thread shedding([&] {
    while (!stop) Shed(UINT64_MAX);
  });
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int n = 0; n < 4; ++n) {
    threads.emplace_back([&, n] {
      for (int i = 0; i < 500 || (calls == 0 && i < 1000000); ++i) {
        const auto alive = std::make_unique<std::atomic<bool>>(true);
        const Hook hook("racing", (i + n) % 3, [&](const memgov_pressure&) {
          EXPECT_TRUE(*alive);
          ++calls;
          return 1;
        });
        if (i % 5 == 0) std::this_thread::yield();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  shedding.join();
  EXPECT_GT(calls, 0);
}

}  // namespace
