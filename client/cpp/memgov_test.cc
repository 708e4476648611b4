#include "client/cpp/memgov.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
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

TEST_F(SessionTest, TheVersionIsTheLibrarys) { EXPECT_EQ(Session::Version(), memgov_version()); }

}  // namespace
}  // namespace memgov
