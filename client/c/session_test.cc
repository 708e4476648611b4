// What a well-behaved governor and libmemgov say to each other, through the C ABI and a real gRPC server.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "client/c/memgov.h"
#include "client/c/testing/fake_governor.h"
#include "client/c/testing/recorder.h"
#include "client/c/testing/rude_peer.h"

namespace memgov::testing {
namespace {

using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::uint64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000u + static_cast<std::uint64_t>(now.tv_nsec);
}

class SessionTest : public ::testing::Test {
 protected:
  ~SessionTest() override { memgov_stop(); }

  void Start() {
    const memgov_options options = recorder_.OptionsFor(socket_);
    ASSERT_EQ(memgov_start(&options), 0);
  }
  // ... and waits for the Welcome.
  void StartWith(FakeGovernor&) {
    Start();
    ASSERT_NE(recorder_.Wait(MEMGOV_EVENT_WELCOMED).event.kind, 0);
  }

  SocketDirectory directory_;
  const std::string socket_ = directory_.path();
  Recorder recorder_;
};

TEST_F(SessionTest, HelloSaysWhoWeAreAndWhatWeCanDo) {
  FakeGovernor governor(socket_);
  StartWith(governor);
  const v1::Hello hello = governor.heard().hellos.at(0);
  EXPECT_EQ(hello.client(), std::string("memgov-c ") + memgov_version());
  EXPECT_EQ(hello.name(), "test");
  EXPECT_THAT(hello.runtime(), ::testing::AnyOf(StartsWith("glibc 2."), HasSubstr("unknown allocator")));
  EXPECT_EQ(hello.capabilities().release(), hello.runtime()[0] == 'g');
  EXPECT_FALSE(hello.capabilities().collect());
  EXPECT_FALSE(hello.capabilities().release_in_chunks());
}

TEST_F(SessionTest, ANameThatIsNotUtf8IsMadeSoInsteadOfRefused) {
  FakeGovernor governor(socket_);
  memgov_options options = recorder_.OptionsFor(socket_);
  options.name = "caf\xc3\xa9 \xff\xc3";
  ASSERT_EQ(memgov_start(&options), 0);
  ASSERT_NE(recorder_.Wait(MEMGOV_EVENT_WELCOMED).event.kind, 0);
  EXPECT_EQ(governor.heard().hellos.at(0).name(), "caf\xc3\xa9 ??");
}

TEST_F(SessionTest, StatusFollowsTheWelcome) {
  EXPECT_EQ(memgov_status(), MEMGOV_OFF);
  Start();
  EXPECT_EQ(memgov_status(), MEMGOV_NOT_CONNECTED);
  {
    FakeGovernor observing(socket_, {.enforcing = false, .cgroup = "/kubepods/pod1"});
    const RecordedEvent welcomed = recorder_.Wait(MEMGOV_EVENT_WELCOMED);
    EXPECT_EQ(welcomed.text, "/kubepods/pod1");
    EXPECT_FALSE(welcomed.event.enforcing);
    ASSERT_NE(recorder_.Wait(MEMGOV_EVENT_CONNECTED).event.kind, 0);
    ASSERT_TRUE(observing.WaitFor([](const auto& heard) { return !heard.reports.empty(); }));
    EXPECT_EQ(memgov_status(), MEMGOV_OBSERVING);
  }
  FakeGovernor enforcing(socket_);
  ASSERT_TRUE(recorder_.Wait(MEMGOV_EVENT_WELCOMED, 2).event.enforcing);
  ASSERT_TRUE(enforcing.WaitFor([](const auto& heard) { return !heard.reports.empty(); }));
  EXPECT_EQ(memgov_status(), MEMGOV_ENFORCING);
  memgov_stop();
  EXPECT_EQ(memgov_status(), MEMGOV_OFF);
}

TEST_F(SessionTest, ALongCgroupAndReasonAreCutNotRefused) {
  FakeGovernor governor(socket_, {.cgroup = "/" + std::string(5000, 'c')});
  StartWith(governor);
  EXPECT_THAT(recorder_.Wait(MEMGOV_EVENT_WELCOMED).text, StartsWith("/cccc"));
  v1::Directive directive = Collect();
  directive.mutable_reason()->set_rule(std::string(3000, 'r'));
  directive.mutable_reason()->set_text("usage 91 % " + std::string(3000, 't'));
  EXPECT_EQ(governor.Ask(directive).status(), v1::Outcome::STATUS_DECLINED);
  EXPECT_THAT(recorder_.Wait(MEMGOV_EVENT_DIRECTIVE).text, StartsWith("usage 91 % ttt"));
}

TEST_F(SessionTest, AReleaseIsCarriedOutWhereThereIsALever) {
  FakeGovernor governor(socket_);
  StartWith(governor);
  const std::uint64_t before_ns = MonotonicNs();
  const v1::Outcome outcome = governor.Ask(Release(64 << 20));
  if (governor.heard().hellos.at(0).capabilities().release()) {
    EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DONE) << outcome.why();
    EXPECT_THAT(outcome.why(), IsEmpty());
  } else {  // a sanitizer owns malloc
    EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DECLINED);
    EXPECT_THAT(outcome.why(), HasSubstr("no levers"));
  }
  EXPECT_THAT(outcome.before_bytes(), Gt(1u << 20));
  EXPECT_THAT(outcome.after_bytes(), Gt(1u << 20));

  const memgov_event received = recorder_.Wait(MEMGOV_EVENT_DIRECTIVE).event;
  EXPECT_EQ(received.size, sizeof(memgov_event));
  EXPECT_EQ(received.directive_id, outcome.id());
  EXPECT_EQ(received.action, MEMGOV_ACTION_RELEASE);
  EXPECT_EQ(received.bytes, 64u << 20);
  EXPECT_GE(received.at_ns, before_ns);
  const memgov_event done = recorder_.Wait(MEMGOV_EVENT_OUTCOME).event;
  EXPECT_EQ(done.directive_id, outcome.id());
  EXPECT_EQ(static_cast<int>(done.outcome), static_cast<int>(outcome.status()));
  EXPECT_EQ(done.before_bytes, outcome.before_bytes());
  EXPECT_EQ(done.after_bytes, outcome.after_bytes());
  EXPECT_EQ(done.wall_ns / 1000, outcome.wall_us());
}

TEST_F(SessionTest, WhatThisClientCannotDoIsDeclinedWithTheReason) {
  FakeGovernor governor(socket_);
  StartWith(governor);
  const auto declined = [&](v1::Directive directive) {
    const v1::Outcome outcome = governor.Ask(std::move(directive));
    EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DECLINED);
    EXPECT_EQ(outcome.before_bytes() > 0, true);
    return outcome.why();
  };
  EXPECT_THAT(declined(Collect()), HasSubstr("no garbage collector"));
  v1::Directive limit;
  limit.mutable_set_soft_limit()->set_bytes(1 << 20);
  EXPECT_THAT(declined(limit), HasSubstr("no soft limit"));
  v1::Directive shed;
  shed.mutable_shed()->set_level(v1::LEVEL_CRITICAL);
  EXPECT_THAT(declined(shed), HasSubstr("no cache"));
  EXPECT_THAT(declined(v1::Directive()), HasSubstr("does not know"));
  EXPECT_THAT(declined(SetMode(v1::RELEASE_MODE_EAGER, 0)), HasSubstr("ttl_ms is 0"));
  EXPECT_THAT(declined(SetMode(v1::RELEASE_MODE_UNSPECIFIED, 1000)), HasSubstr("neither LAZY nor EAGER"));
}

TEST_F(SessionTest, InObserveModeDirectivesAreDeclined) {
  FakeGovernor governor(socket_, {.enforcing = false});
  StartWith(governor);
  const v1::Outcome outcome = governor.Ask(Release(1));
  EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DECLINED);
  EXPECT_THAT(outcome.why(), HasSubstr("observe mode"));
}

TEST_F(SessionTest, ADirectiveFromTheFutureIsDeclinedAndTheSessionLives) {
  FakeGovernor governor(socket_);
  StartWith(governor);
  v1::Directive directive;
  directive.GetReflection()->MutableUnknownFields(&directive)->AddLengthDelimited(99, "compress");
  EXPECT_THAT(governor.Ask(directive).why(), HasSubstr("does not know"));
  v1::GovernorMessage unknown;
  unknown.GetReflection()->MutableUnknownFields(&unknown)->AddLengthDelimited(98, "news");
  ASSERT_TRUE(governor.Send(unknown));
  EXPECT_EQ(governor.Ask(Collect()).status(), v1::Outcome::STATUS_DECLINED);
  EXPECT_EQ(governor.heard().sessions, 1);
}

TEST_F(SessionTest, AFloodOfDirectivesIsAnsweredToTheLast) {
  FakeGovernor governor(socket_);
  StartWith(governor);
  constexpr std::size_t kMany = 500;
  std::uint64_t last = 0;
  for (std::size_t i = 0; i < kMany; ++i) last = governor.Send(Collect());
  ASSERT_NE(last, 0u);
  ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return heard.outcomes.size() == kMany; }));
  const auto heard = governor.heard();
  EXPECT_EQ(heard.sessions, 1);
  for (const v1::Outcome& outcome : heard.outcomes) EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DECLINED);
}

TEST_F(SessionTest, ReportsComeAtTheAskedPaceAndAfterEachOutcome) {
  FakeGovernor governor(socket_, {.report_every_ms = 100});
  StartWith(governor);
  ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return heard.reports.size() >= 3; }));
  for (const v1::Report& report : governor.heard().reports) {
    EXPECT_NE(report.retained_kind(), v1::ESTIMATE_KIND_UNSPECIFIED);
    EXPECT_FALSE(report.has_soft_limit_bytes());
    EXPECT_FALSE(report.has_gc_cpu_fraction());
  }
  memgov_stop();

  FakeGovernor patient(directory_.path("patient"), {.report_every_ms = 60000});
  Recorder recorder;
  const std::string socket = directory_.path("patient");
  const memgov_options options = recorder.OptionsFor(socket);
  ASSERT_EQ(memgov_start(&options), 0);
  ASSERT_TRUE(patient.WaitFor([](const auto& heard) { return heard.reports.size() == 1; }));
  patient.Ask(Collect());
  EXPECT_TRUE(patient.WaitFor([](const auto& heard) { return heard.reports.size() == 2; }));
  memgov_stop();  // before its recorder goes
}

TEST_F(SessionTest, AGovernorThatShutsDownIsLetGoAndItsSuccessorFound) {
  FakeGovernor first(socket_);
  StartWith(first);
  EXPECT_LT(first.Stop(), kPatience);  // the client ended its call, so the server did not have to wait
  EXPECT_THAT(recorder_.Wait(MEMGOV_EVENT_DISCONNECTED).text, HasSubstr("going away"));
  FakeGovernor second(socket_);
  ASSERT_TRUE(second.WaitFor([](const auto& heard) { return heard.hellos.size() == 1; }));
}

TEST_F(SessionTest, ARefusalIsToldAndTriedAgain) {
  {
    FakeGovernor refusing(
        socket_, {.refuse = {grpc::StatusCode::PERMISSION_DENIED, "cgroup /x is not governed: 100 %\n"}});
    Start();
    const RecordedEvent refused = recorder_.Wait(MEMGOV_EVENT_DISCONNECTED);
    EXPECT_EQ(refused.text, "PERMISSION_DENIED: cgroup /x is not governed: 100 %?");
    EXPECT_EQ(memgov_status(), MEMGOV_NOT_CONNECTED);
  }
  FakeGovernor governor(socket_);
  EXPECT_TRUE(governor.WaitFor([](const auto& heard) { return heard.hellos.size() == 1; }));
}

TEST_F(SessionTest, AGovernorThatDiesInTheMiddleOfADirectiveIsReattached) {
  FakeGovernor governor(directory_.path("back"));
  Relay relay(socket_, directory_.path("back"));
  StartWith(governor);
  for (int bytes : {1, 9, 12, 20}) {
    const std::size_t before = governor.heard().hellos.size();
    relay.CutAfter(bytes);
    governor.Send(Release(1));
    ASSERT_TRUE(governor.WaitFor([&](const auto& heard) { return heard.hellos.size() > before; })) << bytes;
  }
  EXPECT_EQ(governor.Ask(Collect()).status(), v1::Outcome::STATUS_DECLINED);
}

TEST_F(SessionTest, WhoTakesMoreThanItsPartOfTheTimeIsDeclined) {
  FakeGovernor governor(socket_);
  memgov_pressure_hook hook = MEMGOV_PRESSURE_HOOK_INIT;
  hook.give = [](void*, const memgov_pressure*) -> std::uint64_t {
    usleep(700000);
    return 0;
  };
  memgov_handle handle = 0;
  ASSERT_EQ(memgov_on_pressure(&hook, &handle), 0);
  StartWith(governor);
  v1::Directive shed;
  shed.mutable_shed()->set_bytes(1 << 20);
  std::string why;
  int carried_out = 0;
  for (int i = 0; i < 20 && why.find("too soon") == std::string::npos; ++i) {
    const v1::Outcome outcome = governor.Ask(shed);
    why = outcome.why();
    carried_out += outcome.status() == v1::Outcome::STATUS_DONE ? 1 : 0;
  }
  memgov_off_pressure(handle);
  EXPECT_THAT(why, HasSubstr("too soon"));
  EXPECT_GE(carried_out, 3) << "two seconds at once";
}

TEST_F(SessionTest, StopWorksWhileTheGovernorHangs) {
  FakeGovernor governor(directory_.path("back"));
  {
    Relay relay(socket_, directory_.path("back"));
    StartWith(governor);
    relay.Hang(true);
    governor.Send(Release(1));
    memgov_stop();
    EXPECT_EQ(memgov_status(), MEMGOV_OFF);
  }
  EXPECT_TRUE(governor.WaitFor([](const auto& heard) { return heard.sessions == 0; }));
}

// Not a test of speed: prints what a directive costs on the way there and back.
TEST_F(SessionTest, PrintsTheLatencyOfADirective) {
  FakeGovernor governor(socket_);
  StartWith(governor);
  std::vector<double> milliseconds;
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t begin = MonotonicNs();
    ASSERT_NE(governor.Ask(Collect()).id(), 0u);
    milliseconds.push_back(static_cast<double>(MonotonicNs() - begin) / 1e6);
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  std::printf("command to outcome over %zu directives: p50 %.3f ms, p99 %.3f ms, max %.3f ms\n",
              milliseconds.size(), milliseconds[150], milliseconds[297], milliseconds.back());
}

}  // namespace
}  // namespace memgov::testing
