// nanopb and Google's protobuf must agree about every message, and no bytes may do harm.

#include "client/c/wire.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <random>
#include <string>

#include "memgov/v1/session.pb.h"

namespace {

namespace v1 = memgov::v1;

v1::ClientMessage Parse(const std::uint8_t* bytes, std::size_t size) {
  v1::ClientMessage message;
  EXPECT_GT(size, 0u);
  EXPECT_TRUE(message.ParseFromArray(bytes, static_cast<int>(size)));
  return message;
}

TEST(WireTest, Hello) {
  mg_hello hello = {};
  std::snprintf(hello.runtime, sizeof(hello.runtime), "jemalloc 5.3.0");
  std::snprintf(hello.client, sizeof(hello.client), "memgov-c 1");
  std::snprintf(hello.name, sizeof(hello.name), "checkout");
  hello.capabilities = {.set_release_mode = true,
                        .release = true,
                        .release_in_chunks = false,
                        .retroactive = true,
                        .needs_owner_thread = true,
                        .stall = MG_STALL_SHORT};
  hello.startup_mode = MG_MODE_LAZY;
  hello.shed = true;
  std::uint8_t out[MG_WIRE_MAX];
  const v1::Hello read = Parse(out, mg_wire_hello(&hello, out)).hello();
  EXPECT_EQ(read.runtime(), "jemalloc 5.3.0");
  EXPECT_EQ(read.client(), "memgov-c 1");
  EXPECT_EQ(read.name(), "checkout");
  EXPECT_TRUE(read.capabilities().set_release_mode());
  EXPECT_TRUE(read.capabilities().release());
  EXPECT_TRUE(read.capabilities().retroactive());
  EXPECT_TRUE(read.capabilities().shed());
  EXPECT_FALSE(read.capabilities().release_in_chunks());
  EXPECT_TRUE(read.capabilities().needs_owner_thread());
  EXPECT_EQ(read.capabilities().stall_class(), v1::STALL_CLASS_SHORT);
  EXPECT_EQ(read.startup_release_mode(), v1::RELEASE_MODE_LAZY);
}

TEST(WireTest, StringsAreCutAtWholeCharactersAndMadeUtf8) {
  const struct {
    std::string from, to;
  } cases[] = {
      {"", ""},
      {"plain", "plain"},
      {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
      {"\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80"},
      {"\xff\xfe", "??"},
      {"\xc3", "?"},                 // ends too early
      {"\xc0\xaf", "??"},            // overlong
      {"\xed\xa0\x80", "???"},       // a surrogate
      {"\xf4\x90\x80\x80", "????"},  // beyond U+10FFFF
      {std::string(62, 'a') + "\xc3\xbc", std::string(62, 'a')},
  };
  for (const auto& each : cases) {
    mg_hello hello = {};
    std::snprintf(hello.name, sizeof(hello.name), "%s", each.from.c_str());
    std::uint8_t out[MG_WIRE_MAX];
    const std::string name = Parse(out, mg_wire_hello(&hello, out)).hello().name();
    // snprintf has cut the last character in half, so that the last case ends with one '?'.
    EXPECT_EQ(name, each.from.size() > 63 ? each.to + "?" : each.to);
  }
}

TEST(WireTest, Report) {
  const mg_report report = {.live_bytes = 1,
                            .retained_bytes = UINT64_MAX,
                            .retained_kind = MG_ESTIMATE_EXACT,
                            .lazily_freed_bytes = 3,
                            .non_heap_bytes = 4,
                            .mode = MG_MODE_EAGER};
  std::uint8_t out[MG_WIRE_MAX];
  const v1::Report read = Parse(out, mg_wire_report(&report, out)).report();
  EXPECT_EQ(read.live_bytes(), 1u);
  EXPECT_EQ(read.retained_bytes(), UINT64_MAX);
  EXPECT_EQ(read.retained_kind(), v1::ESTIMATE_KIND_EXACT);
  EXPECT_EQ(read.lazily_freed_bytes(), 3u);
  EXPECT_EQ(read.non_heap_bytes(), 4u);
  EXPECT_EQ(read.release_mode(), v1::RELEASE_MODE_EAGER);
  EXPECT_FALSE(read.has_soft_limit_bytes());
}

TEST(WireTest, Outcome) {
  mg_outcome outcome = {.id = 7,
                        .status = MEMGOV_OUTCOME_FAILED,
                        .why = "because",
                        .before_bytes = 10,
                        .after_bytes = 9,
                        .wall_ns = 1234567,
                        .cpu_ns = 999};
  std::uint8_t out[MG_WIRE_MAX];
  const v1::Outcome read = Parse(out, mg_wire_outcome(&outcome, out)).outcome();
  EXPECT_EQ(read.id(), 7u);
  EXPECT_EQ(read.status(), v1::Outcome::STATUS_FAILED);
  EXPECT_EQ(read.why(), "because");
  EXPECT_EQ(read.before_bytes(), 10u);
  EXPECT_EQ(read.after_bytes(), 9u);
  EXPECT_EQ(read.wall_us(), 1234u);
  EXPECT_EQ(read.cpu_us(), 0u);
}

TEST(WireTest, TheLargestMessagesFit) {
  mg_hello hello;
  std::memset(&hello, 'x', sizeof(hello));
  hello.runtime[sizeof(hello.runtime) - 1] = hello.client[sizeof(hello.client) - 1] = '\0';
  hello.name[sizeof(hello.name) - 1] = '\0';
  hello.capabilities = {.set_release_mode = true,
                        .release = true,
                        .release_in_chunks = true,
                        .retroactive = true,
                        .needs_owner_thread = true,
                        .stall = MG_STALL_LONG};
  hello.shed = true;
  hello.startup_mode = MG_MODE_EAGER;
  mg_outcome outcome;
  std::memset(&outcome, 'x', sizeof(outcome));
  outcome.status = MEMGOV_OUTCOME_FAILED;
  outcome.why[sizeof(outcome.why) - 1] = '\0';
  std::uint8_t out[MG_WIRE_MAX];
  EXPECT_EQ(Parse(out, mg_wire_hello(&hello, out)).hello().name().size(), sizeof(hello.name) - 1);
  EXPECT_EQ(Parse(out, mg_wire_outcome(&outcome, out)).outcome().why().size(), sizeof(outcome.why) - 1);
}

mg_governor_message Read(const v1::GovernorMessage& message) {
  const std::string bytes = message.SerializeAsString();
  mg_governor_message read;
  EXPECT_EQ(mg_wire_parse(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), &read), nullptr);
  return read;
}

TEST(WireTest, Welcome) {
  v1::GovernorMessage message;
  message.mutable_welcome()->set_cgroup("/a/b");
  message.mutable_welcome()->set_container(std::string(9000, 'c'));
  message.mutable_welcome()->set_enforcing(true);
  message.mutable_welcome()->set_report_every_ms(250);
  const mg_governor_message read = Read(message);
  ASSERT_EQ(read.kind, MG_MESSAGE_WELCOME);
  EXPECT_STREQ(read.welcome.cgroup, "/a/b");
  EXPECT_TRUE(read.welcome.enforcing);
  EXPECT_EQ(read.welcome.report_every_ms, 250u);
}

TEST(WireTest, Directive) {
  v1::GovernorMessage message;
  v1::Directive* directive = message.mutable_directive();
  directive->set_id(9);
  directive->set_deadline_ms(100);
  directive->set_ttl_ms(200);
  directive->set_level(v1::LEVEL_CRITICAL);
  directive->mutable_reason()->set_rule("default");
  directive->mutable_reason()->set_observed(91.5);
  directive->mutable_reason()->set_text(std::string(5000, 'r'));
  directive->mutable_release()->set_bytes(1 << 20);
  directive->mutable_release()->set_longest_stall_ms(30);
  mg_governor_message read = Read(message);
  ASSERT_EQ(read.kind, MG_MESSAGE_DIRECTIVE);
  EXPECT_EQ(read.directive.id, 9u);
  EXPECT_EQ(read.directive.deadline_ms, 100u);
  EXPECT_EQ(read.directive.ttl_ms, 200u);
  EXPECT_EQ(read.directive.level, MEMGOV_LEVEL_CRITICAL);
  EXPECT_EQ(read.directive.reason, std::string(255, 'r'));
  EXPECT_EQ(read.directive.action, MEMGOV_ACTION_RELEASE);
  EXPECT_EQ(read.directive.bytes, 1u << 20);
  EXPECT_EQ(read.directive.longest_stall_ms, 30u);

  directive->mutable_set_release_mode()->set_mode(v1::RELEASE_MODE_EAGER);
  read = Read(message);
  EXPECT_EQ(read.directive.action, MEMGOV_ACTION_SET_RELEASE_MODE);
  EXPECT_EQ(read.directive.mode, MG_MODE_EAGER);
  directive->mutable_collect()->set_bytes(5);
  EXPECT_EQ(Read(message).directive.action, MEMGOV_ACTION_COLLECT);
  directive->mutable_set_soft_limit()->set_bytes(6);
  EXPECT_EQ(Read(message).directive.bytes, 6u);
  directive->mutable_shed()->set_bytes(7);
  EXPECT_EQ(Read(message).directive.action, MEMGOV_ACTION_SHED);
  directive->clear_action();
  EXPECT_EQ(Read(message).directive.action, MEMGOV_ACTION_NONE);
}

TEST(WireTest, NoBytesDoHarm) {
  v1::GovernorMessage message;
  message.mutable_directive()->set_id(300);
  message.mutable_directive()->mutable_reason()->set_text("usage 90 % of the limit");
  message.mutable_directive()->mutable_release()->set_bytes(1 << 30);
  const std::string good = message.SerializeAsString();
  std::mt19937 random(11);
  int refused = 0;
  for (int round = 0; round < 50000; ++round) {
    std::string bytes = good;
    for (unsigned i = 0; i <= random() % 4; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    if (round % 3 == 0) bytes.resize(random() % bytes.size());
    mg_governor_message read;
    const char* error =
        mg_wire_parse(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), &read);
    refused += error != nullptr ? 1 : 0;
    if (error == nullptr && read.kind == MG_MESSAGE_DIRECTIVE) {
      ASSERT_LT(std::strlen(read.directive.reason), sizeof(read.directive.reason));
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
