#include "governor/session/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>

namespace memgov::session {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr std::uint64_t kPiB = std::uint64_t{1} << 50;

std::string ErrorOf(const v1::ClientMessage& message) {
  const absl::StatusOr<ClientSaid> said = FromWire(message);
  if (said.ok()) return "no error";
  EXPECT_EQ(said.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(said.status().message());
}

TEST(FromWire, Hello) {
  v1::ClientMessage message;
  v1::Hello& hello = *message.mutable_hello();
  hello.set_name("web");
  hello.set_runtime("go1.22.4");
  hello.set_client("memgov-go 0.1.0");
  hello.mutable_capabilities()->set_collect(true);
  hello.mutable_capabilities()->set_set_soft_limit(true);
  hello.mutable_capabilities()->set_stall_class(v1::STALL_CLASS_MEDIUM);
  hello.set_startup_release_mode(v1::RELEASE_MODE_EAGER);
  const auto request = std::get<AttachRequest>(*FromWire(message));
  EXPECT_EQ(request.name, "web");
  EXPECT_EQ(request.runtime, "go1.22.4");
  EXPECT_EQ(request.library, "memgov-go 0.1.0");
  EXPECT_TRUE(request.capabilities.collect);
  EXPECT_TRUE(request.capabilities.set_soft_limit);
  EXPECT_FALSE(request.capabilities.release);
  EXPECT_EQ(request.capabilities.stall_class, core::StallClass::kMedium);
  EXPECT_EQ(request.startup_release_mode, core::ReleaseMode::kEager);
}

TEST(FromWire, Report) {
  v1::ClientMessage message;
  v1::Report& report = *message.mutable_report();
  report.set_live_bytes(1);
  report.set_retained_bytes(kPiB);
  report.set_retained_kind(v1::ESTIMATE_KIND_BOUND);
  report.set_lazily_freed_bytes(3);
  report.set_non_heap_bytes(4);
  report.set_soft_limit_bytes(5);
  report.set_gc_cpu_fraction(1);
  report.set_release_mode(v1::RELEASE_MODE_LAZY);
  const auto result = std::get<core::ClientReport>(*FromWire(message));
  EXPECT_EQ(result.live, 1);
  EXPECT_EQ(result.retained, static_cast<core::Bytes>(kPiB));
  EXPECT_EQ(result.retained_kind, core::EstimateKind::kBound);
  EXPECT_EQ(result.lazily_freed, 3);
  EXPECT_EQ(result.non_heap, 4);
  EXPECT_EQ(result.soft_limit, 5);
  EXPECT_EQ(result.gc_cpu_fraction, 1);
  EXPECT_EQ(result.release_mode, core::ReleaseMode::kLazy);
}

TEST(FromWire, WhatAReportLeavesOutIsAbsentNotZero) {
  v1::ClientMessage message;
  message.mutable_report()->set_live_bytes(1);
  const auto result = std::get<core::ClientReport>(*FromWire(message));
  EXPECT_EQ(result.soft_limit, std::nullopt);
  EXPECT_EQ(result.gc_cpu_fraction, std::nullopt);
}

TEST(FromWire, BytesOfKindNoneMeanNothing) {
  v1::ClientMessage message;
  message.mutable_report()->set_retained_bytes(4096);
  for (const int kind : {v1::ESTIMATE_KIND_NONE, v1::ESTIMATE_KIND_UNSPECIFIED, v1::EstimateKind(99)}) {
    message.mutable_report()->set_retained_kind(static_cast<v1::EstimateKind>(kind));
    const auto result = std::get<core::ClientReport>(*FromWire(message));
    EXPECT_EQ(result.retained_kind, core::EstimateKind::kNone) << kind;
    EXPECT_EQ(result.retained, 0) << kind;
  }
}

TEST(FromWire, Outcome) {
  v1::ClientMessage message;
  v1::Outcome& outcome = *message.mutable_outcome();
  outcome.set_id(7);
  outcome.set_status(v1::Outcome::STATUS_DECLINED);
  outcome.set_why("GOMEMLIMIT is set by the user");
  outcome.set_before_bytes(2);
  outcome.set_after_bytes(1);
  outcome.set_wall_us(1500);
  outcome.set_cpu_us(1);
  const auto result = std::get<core::ClientOutcome>(*FromWire(message));
  EXPECT_EQ(result.directive, core::DirectiveId{7});
  EXPECT_EQ(result.status, core::OutcomeStatus::kDeclined);
  EXPECT_EQ(result.why, "GOMEMLIMIT is set by the user");
  EXPECT_EQ(result.before, 2);
  EXPECT_EQ(result.after, 1);
  EXPECT_EQ(result.wall, std::chrono::microseconds(1500));
  EXPECT_EQ(result.cpu, std::chrono::microseconds(1));
}

TEST(FromWire, EveryByteCountHasALimit) {
  const auto report = [](auto set) {
    v1::ClientMessage message;
    set(*message.mutable_report());
    return ErrorOf(message);
  };
  EXPECT_EQ(report([](v1::Report& r) { r.set_live_bytes(kPiB + 1); }),
            "report.live_bytes: 1125899906842625 bytes are more than 1 PiB");
  EXPECT_EQ(report([](v1::Report& r) { r.set_live_bytes(kPiB); }), "no error");
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  EXPECT_THAT(report([](v1::Report& r) { r.set_retained_bytes(kMax); }), HasSubstr("report.retained_bytes:"));
  EXPECT_THAT(report([](v1::Report& r) { r.set_lazily_freed_bytes(kMax); }),
              HasSubstr("report.lazily_freed_bytes:"));
  EXPECT_THAT(report([](v1::Report& r) { r.set_non_heap_bytes(kMax); }), HasSubstr("report.non_heap_bytes:"));
  EXPECT_THAT(report([](v1::Report& r) { r.set_soft_limit_bytes(kMax); }),
              HasSubstr("report.soft_limit_bytes:"));
  const auto outcome = [](auto set) {
    v1::ClientMessage message;
    message.mutable_outcome()->set_status(v1::Outcome::STATUS_DONE);
    set(*message.mutable_outcome());
    return ErrorOf(message);
  };
  EXPECT_THAT(outcome([](v1::Outcome& o) { o.set_before_bytes(kMax); }), HasSubstr("outcome.before_bytes:"));
  EXPECT_THAT(outcome([](v1::Outcome& o) { o.set_after_bytes(kMax); }), HasSubstr("outcome.after_bytes:"));
  EXPECT_THAT(outcome([](v1::Outcome& o) { o.set_wall_us(kMax); }), HasSubstr("outcome.wall_us:"));
  EXPECT_THAT(outcome([](v1::Outcome& o) { o.set_cpu_us(kMax); }), HasSubstr("outcome.cpu_us:"));
}

TEST(FromWire, AFractionIsBetweenZeroAndOne) {
  v1::ClientMessage message;
  for (const double bad : {-0.01, 1.01, std::nan(""), std::numeric_limits<double>::infinity()}) {
    message.mutable_report()->set_gc_cpu_fraction(bad);
    EXPECT_THAT(ErrorOf(message), HasSubstr("report.gc_cpu_fraction:")) << bad;
  }
}

TEST(FromWire, TextHasALimitAndNoControlCharacters) {
  v1::ClientMessage message;
  message.mutable_hello()->set_name(std::string(256, 'x'));
  EXPECT_EQ(ErrorOf(message), "no error");
  message.mutable_hello()->set_name(std::string(257, 'x'));
  EXPECT_EQ(ErrorOf(message), "hello.name: 257 bytes are more than 256");
  message.mutable_hello()->set_name("a\x1b[31m\n\x7f\xc2\x9b\xc3\xbc");
  EXPECT_EQ(std::get<AttachRequest>(*FromWire(message)).name, "a[31m\xc3\xbc");
  message.mutable_hello()->set_runtime(std::string(300, 'x'));
  EXPECT_THAT(ErrorOf(message), HasSubstr("hello.runtime:"));
  message.mutable_hello()->clear_runtime();
  message.mutable_hello()->set_client(std::string(300, 'x'));
  EXPECT_THAT(ErrorOf(message), HasSubstr("hello.client:"));
  message.mutable_outcome()->set_status(v1::Outcome::STATUS_DONE);
  message.mutable_outcome()->set_why(std::string(300, 'x'));
  EXPECT_THAT(ErrorOf(message), HasSubstr("outcome.why:"));
}

TEST(FromWire, AnOutcomeHasAStatusAndAMessageABody) {
  v1::ClientMessage message;
  EXPECT_EQ(ErrorOf(message), "body: neither hello, report nor outcome");
  message.mutable_outcome()->set_id(1);
  EXPECT_EQ(ErrorOf(message), "outcome.status: 0 is not done, declined or failed");
  message.mutable_outcome()->set_status(static_cast<v1::Outcome::Status>(9));
  EXPECT_EQ(ErrorOf(message), "outcome.status: 9 is not done, declined or failed");
}

TEST(FromWire, GarbageIsRefusedOrHarmless) {
  std::mt19937 random(4711);
  int parsed = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(random() % 40, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    // Half of them begin like a body, so that more than the outermost layer is reached.
    if (i % 2 == 0 && bytes.size() > 2) {
      bytes[0] = static_cast<char>(0x0a + 8 * (i / 2 % 3));
      bytes[1] = static_cast<char>(bytes.size() - 2);
    }
    v1::ClientMessage message;
    if (!message.ParseFromString(bytes)) continue;
    ++parsed;
    const absl::StatusOr<ClientSaid> said = FromWire(message);
    if (!said.ok()) continue;
    if (const auto* report = std::get_if<core::ClientReport>(&*said)) {
      EXPECT_GE(report->live, 0);
      EXPECT_LE(report->live, static_cast<core::Bytes>(kPiB));
    }
  }
  EXPECT_GT(parsed, 100);
}

TEST(WelcomeToWire, CarriesWhatTheClientShallKnow) {
  const v1::GovernorMessage message = WelcomeToWire(
      {.cgroup = "/a/b", .container = "redis.service", .enforcing = true, .report_every = milliseconds(500)},
      "memgovd 0.1.0");
  EXPECT_EQ(message.welcome().cgroup(), "/a/b");
  EXPECT_EQ(message.welcome().container(), "redis.service");
  EXPECT_TRUE(message.welcome().enforcing());
  EXPECT_EQ(message.welcome().report_every_ms(), 500u);
  EXPECT_EQ(message.welcome().governor(), "memgovd 0.1.0");
}

TEST(WelcomeToWire, WritesUtf8WhateverTheCgroupIsCalled) {
  const auto cgroup = [](const char* name) {
    WelcomeInfo info;
    info.cgroup = name;
    return WelcomeToWire(info, "").welcome().cgroup();
  };
  EXPECT_EQ(cgroup("/gr\xc3\xbc\xc3\x9f"), "/gr\xc3\xbc\xc3\x9f");
  EXPECT_EQ(cgroup("/\xf0\x9f\x90\xb3/\xe2\x82\xac"), "/\xf0\x9f\x90\xb3/\xe2\x82\xac");
  EXPECT_EQ(cgroup("/a\\x2db"), "/a\\x2db");
  EXPECT_EQ(cgroup("/bad\xff"), "/bad\\xff");
  for (const char* bad : {"\x80", "\xc0\x80", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82"}) {
    EXPECT_THAT(cgroup(bad), HasSubstr("\\x"));
  }
}

core::Directive DirectiveWith(core::Action action) {
  core::Directive directive;
  directive.id = core::DirectiveId{42};
  directive.level = core::Level::kCritical;
  directive.deadline = std::chrono::seconds(2);
  directive.ttl = std::chrono::seconds(30);
  directive.action = action;
  directive.reason = {.rule = "web",
                      .signal = core::Signal::kTimeToLimit,
                      .observed = 0.25,
                      .threshold = 1,
                      .held = milliseconds(7)};
  return directive;
}

TEST(DirectiveToWire, CarriesItsReason) {
  const v1::GovernorMessage message = DirectiveToWire(DirectiveWith(core::Collect{.bytes = 5}), "because");
  const v1::Directive& directive = message.directive();
  EXPECT_EQ(directive.id(), 42u);
  EXPECT_EQ(directive.deadline_ms(), 2000u);
  EXPECT_EQ(directive.ttl_ms(), 30'000u);
  EXPECT_EQ(directive.level(), v1::LEVEL_CRITICAL);
  EXPECT_EQ(directive.reason().rule(), "web");
  EXPECT_EQ(directive.reason().signal(), "time_to_limit");
  EXPECT_EQ(directive.reason().observed(), 0.25);
  EXPECT_EQ(directive.reason().threshold(), 1);
  EXPECT_EQ(directive.reason().held_ms(), 7u);
  EXPECT_EQ(directive.reason().text(), "because");
  EXPECT_EQ(directive.collect().bytes(), 5u);
}

TEST(DirectiveToWire, EveryAction) {
  const auto wire = [](core::Action action) {
    return DirectiveToWire(DirectiveWith(action), "").directive();
  };
  EXPECT_EQ(wire(core::SetReleaseMode{core::ReleaseMode::kEager}).set_release_mode().mode(),
            v1::RELEASE_MODE_EAGER);
  EXPECT_EQ(wire(core::SetReleaseMode{core::ReleaseMode::kLazy}).set_release_mode().mode(),
            v1::RELEASE_MODE_LAZY);
  EXPECT_EQ(wire(core::Release{.bytes = 9, .longest_stall = milliseconds(3)}).release().bytes(), 9u);
  EXPECT_EQ(wire(core::Release{.bytes = 9, .longest_stall = milliseconds(3)}).release().longest_stall_ms(),
            3u);
  EXPECT_EQ(wire(core::SetSoftLimit{.bytes = 8}).set_soft_limit().bytes(), 8u);
  EXPECT_EQ(wire(core::Shed{.bytes = 7}).shed().bytes(), 7u);
  EXPECT_EQ(wire(core::Shed{.bytes = 7}).shed().level(), v1::LEVEL_CRITICAL);
}

TEST(DirectiveToWire, NeverWrapsAround) {
  core::Directive directive = DirectiveWith(core::Release{.bytes = -1, .longest_stall = milliseconds(-5)});
  directive.deadline = std::chrono::microseconds(1);
  directive.ttl = core::Duration::max();
  const v1::GovernorMessage message = DirectiveToWire(directive, "");
  EXPECT_EQ(message.directive().release().bytes(), 0u);
  EXPECT_EQ(message.directive().release().longest_stall_ms(), 0u);
  EXPECT_EQ(message.directive().deadline_ms(), 1u) << "0 would mean at once";
  EXPECT_EQ(message.directive().ttl_ms(), std::numeric_limits<std::uint32_t>::max());
}

}  // namespace
}  // namespace memgov::session
