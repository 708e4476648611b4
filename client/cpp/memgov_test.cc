#include "client/cpp/memgov.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "client/c/testing/fake_governor.h"

namespace memgov {
namespace {

using testing::Collect;
using testing::FakeGovernor;
using testing::SocketDirectory;

static_assert(!std::is_copy_constructible_v<Session>);
static_assert(std::is_nothrow_move_constructible_v<Session>);
static_assert(std::is_nothrow_move_assignable_v<Session>);

class SessionTest : public ::testing::Test {
 protected:
  SocketDirectory directory_;
  const std::string socket_ = directory_.path();
};

TEST_F(SessionTest, LivesAsLongAsTheObject) {
  FakeGovernor governor(socket_);
  {
    const Session session({.socket = socket_, .name = "scoped"});
    ASSERT_TRUE(session);
    EXPECT_FALSE(session.error());
    ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return !heard.reports.empty(); }));
    EXPECT_EQ(Session::Status(), MEMGOV_ENFORCING);
    EXPECT_EQ(governor.heard().hellos.at(0).name(), "scoped");
  }
  EXPECT_EQ(Session::Status(), MEMGOV_OFF);
  EXPECT_TRUE(governor.WaitFor([](const auto& heard) { return heard.sessions == 0; }));
}

TEST_F(SessionTest, FunctionsHearEventsAndLines) {
  FakeGovernor governor(socket_);
  std::atomic<int> outcomes = 0;
  std::atomic<int> lines = 0;
  {
    const auto counted = std::make_unique<int>(1);  // what the functions capture lives until the session ends
    const Session session(
        {.socket = socket_,
         .log = [&, counted = counted.get()](std::string_view) { lines += *counted; },
         .on_event = [&](const Event& event) { outcomes += event.kind == MEMGOV_EVENT_OUTCOME; }});
    ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return !heard.reports.empty(); }));
    EXPECT_EQ(governor.Ask(Collect()).status(), v1::Outcome::STATUS_DECLINED);
  }
  EXPECT_EQ(outcomes, 1);
  EXPECT_EQ(lines, 5);  // connected, welcomed, directive, outcome, stopped
}

TEST_F(SessionTest, AMovedSessionKeepsItsFunctions) {
  FakeGovernor governor(socket_);
  std::atomic<int> events = 0;
  Session first({.socket = socket_, .on_event = [&](const Event&) { ++events; }});
  Session second(std::move(first));
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that it is empty then is the point
  EXPECT_TRUE(second);
  Session third;
  third = std::move(second);
  EXPECT_TRUE(third);
  ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return !heard.reports.empty(); }));
  EXPECT_GE(events, 2);
  third.Stop();
  third.Stop();
  EXPECT_FALSE(third);
  EXPECT_EQ(Session::Status(), MEMGOV_OFF);
}

TEST_F(SessionTest, AFailureIsAnErrorCodeAndNoSession) {
  const Session session({.socket = std::string(200, 'x')});
  EXPECT_FALSE(session);
  EXPECT_EQ(session.error(), std::errc::filename_too_long);
}

// The agent lives on for the second start; what the first session's functions captured may be gone.
TEST_F(SessionTest, NoFunctionIsCalledAfterItsSession) {
  FakeGovernor governor(socket_);
  std::atomic<int> events = 0;
  auto first =
      std::make_unique<Session>(Options{.socket = socket_, .on_event = [&](const Event&) { ++events; }});
  const Session second;
  ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return !heard.reports.empty(); }));
  first.reset();
  const int before = events;
  EXPECT_EQ(governor.Ask(Collect()).status(), v1::Outcome::STATUS_DECLINED);
  EXPECT_EQ(events, before);
}

v1::Directive Shed(std::uint64_t bytes) {
  v1::Directive directive;
  directive.mutable_shed()->set_bytes(bytes);
  return directive;
}

class PressureHookTest : public SessionTest {
 protected:
  // Attaches, with what is registered by then.
  void Start() {
    session_ = std::make_unique<Session>(Options{.socket = socket_});
    ASSERT_TRUE(governor_.WaitFor([](const auto& heard) { return !heard.reports.empty(); }));
  }
  std::string AskToShed() { return governor_.Ask(Shed(1 << 20)).why(); }

  FakeGovernor governor_{socket_};
  std::unique_ptr<Session> session_;
};

static_assert(!std::is_copy_constructible_v<PressureHook>);
static_assert(std::is_nothrow_move_constructible_v<PressureHook>);
static_assert(std::is_nothrow_move_assignable_v<PressureHook>);

TEST_F(PressureHookTest, AFunctionIsCalledAsLongAsItsHookLives) {
  std::atomic<int> calls = 0;
  {
    PressureHook hook("cache", [&calls, owned = std::string(100, 'x')](const Pressure& pressure) {
      calls += owned.size() == 100 ? 1 : 0;
      return pressure.bytes;
    });
    EXPECT_TRUE(hook);
    EXPECT_FALSE(hook.error());
    Start();
    EXPECT_EQ(AskToShed().rfind("gave 1024 KiB of 1024 KiB: cache 1024 KiB", 0), 0u);
    PressureHook moved(std::move(hook));
    EXPECT_FALSE(hook);  // NOLINT(bugprone-use-after-move): that it is empty then is the point
    PressureHook assigned;
    EXPECT_FALSE(assigned);
    assigned = std::move(moved);
    AskToShed();
  }
  EXPECT_EQ(AskToShed(), "the application has registered no cache");
  EXPECT_EQ(calls, 2);
}

TEST_F(PressureHookTest, AFunctionThatThrowsHasGivenNothingAndTheLogSaysSo) {
  std::atomic<bool> told = false;
  const PressureHook throwing("broken", [](const Pressure&) -> std::uint64_t { throw std::bad_alloc(); });
  const PressureHook whole(
      "whole", [](const Pressure&) { return 2048; }, 1);
  session_ =
      std::make_unique<Session>(Options{.socket = socket_, .log = [&](std::string_view line) {
                                          told = told || line.find("broken failed, whole 2 KiB") != line.npos;
                                        }});
  ASSERT_TRUE(governor_.WaitFor([](const auto& heard) { return !heard.reports.empty(); }));
  EXPECT_EQ(AskToShed().rfind("gave 2 KiB of 1024 KiB: broken failed, whole 2 KiB", 0), 0u);
  session_.reset();
  EXPECT_TRUE(told);
}

TEST_F(PressureHookTest, AFunctionMayResetItsOwnHook) {
  std::unique_ptr<PressureHook> hook;
  const auto captured = std::make_shared<int>(7);
  std::atomic<int> seen = 0;
  hook = std::make_unique<PressureHook>("once", [&, captured](const Pressure&) {
    hook.reset();
    seen = *captured;
    return 0;
  });
  Start();
  EXPECT_EQ(AskToShed(), "gave 0 KiB of 1024 KiB: once nothing");
  EXPECT_EQ(seen, 7);
  EXPECT_EQ(AskToShed(), "the application has registered no cache");
  session_.reset();  // joins the thread that reset it
  EXPECT_EQ(captured.use_count(), 1);
}

TEST_F(PressureHookTest, AnEmptyFunctionIsAnError) {
  const PressureHook hook("empty", nullptr);
  EXPECT_FALSE(hook);
  EXPECT_EQ(hook.error(), std::errc::invalid_argument);
}

TEST_F(SessionTest, TheVersionIsTheLibrarys) { EXPECT_EQ(Session::Version(), memgov_version()); }

}  // namespace
}  // namespace memgov
