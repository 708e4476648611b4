// How directives become calls of allocators, with allocators that only keep a record.

#include "client/c/levers.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace {

std::vector<std::string> g_calls;
const char* g_failure = nullptr;

mg_estimate Exact(const mg_process*) { return {100, 50, 10, MG_ESTIMATE_EXACT}; }
mg_estimate Bound(const mg_process*) { return {1000, 500, 0, MG_ESTIMATE_BOUND}; }
const char* ReleaseFirst() {
  g_calls.emplace_back("release first");
  return g_failure;
}
const char* ReleaseSecond() {
  g_calls.emplace_back("release second");
  return nullptr;
}
const char* SetMode(mg_release_mode mode) {
  g_calls.emplace_back(mode == MG_MODE_LAZY ? "lazy" : "eager");
  return g_failure;
}
void RestoreMode() { g_calls.emplace_back("restore"); }

class LeversTest : public ::testing::Test {
 protected:
  LeversTest() {
    g_calls.clear();
    g_failure = nullptr;
    first_.capabilities = {
        .set_release_mode = true, .release = true, .retroactive = true, .stall = MG_STALL_SHORT};
    second_.capabilities = {
        .set_release_mode = false, .release = true, .retroactive = false, .stall = MG_STALL_LONG};
    mg_levers_init(&levers_, {{&first_, &second_}, 2, ""}, statm_);
  }
  ~LeversTest() override { close(statm_); }

  mg_outcome Do(mg_directive directive, std::uint64_t received_ns = mg_now_ns()) {
    directive.id = 5;
    return mg_levers_carry_out(&levers_, &directive, received_ns);
  }

  const int statm_ = mg_statm_open();
  mg_allocator first_ = {"first 1", {}, MG_MODE_LAZY, nullptr, Exact, ReleaseFirst, SetMode, RestoreMode};
  mg_allocator second_ = {"second 2",    {},      MG_MODE_UNKNOWN, "no modes", Bound,
                          ReleaseSecond, nullptr, nullptr};
  mg_levers levers_;
};

using Calls = std::vector<std::string>;

TEST_F(LeversTest, TheDescriptionIsOfBoth) {
  mg_hello hello = {};
  mg_levers_describe(&levers_, &hello);
  EXPECT_STREQ(hello.runtime, "first 1 + second 2");
  EXPECT_TRUE(hello.capabilities.set_release_mode);
  EXPECT_EQ(hello.capabilities.stall, MG_STALL_LONG);
  EXPECT_EQ(hello.startup_mode, MG_MODE_LAZY);
}

TEST_F(LeversTest, AReportIsTheSumAndAsTrueAsItsWeakestPart) {
  mg_report report = mg_levers_report(&levers_);
  EXPECT_EQ(report.live_bytes, 1100u);
  EXPECT_EQ(report.retained_bytes, 550u);
  EXPECT_EQ(report.lazily_freed_bytes, 10u);
  EXPECT_EQ(report.retained_kind, MG_ESTIMATE_BOUND);
  EXPECT_EQ(report.non_heap_bytes, 0u);
  levers_.allocators.count = 1;
  report = mg_levers_report(&levers_);
  EXPECT_EQ(report.retained_kind, MG_ESTIMATE_EXACT);
  EXPECT_GT(report.non_heap_bytes, 0u);
  levers_.allocators.count = 0;
  EXPECT_EQ(mg_levers_report(&levers_).retained_kind, MG_ESTIMATE_NONE);
}

TEST_F(LeversTest, TheSecondAllocatorIsReleasedOnlyIfTheFirstDidNotReturnEnough) {
  EXPECT_EQ(Do({.action = MEMGOV_ACTION_RELEASE, .bytes = 1ull << 40}).status, MEMGOV_OUTCOME_DONE);
  EXPECT_EQ(g_calls, (Calls{"release first", "release second"}));
  g_calls.clear();
  EXPECT_EQ(Do({.action = MEMGOV_ACTION_RELEASE, .bytes = 0}).status, MEMGOV_OUTCOME_DONE);
  EXPECT_EQ(g_calls, (Calls{"release first"}));
}

TEST_F(LeversTest, AFailureIsToldInItsWords) {
  g_failure = "mallctl said no";
  const mg_outcome outcome = Do({.action = MEMGOV_ACTION_RELEASE, .bytes = 1ull << 40});
  EXPECT_EQ(outcome.status, MEMGOV_OUTCOME_FAILED);
  EXPECT_STREQ(outcome.why, "mallctl said no");
}

TEST_F(LeversTest, BeforeItsDeadlineADirectiveIsDoneAndAtItDeclined) {
  const std::uint64_t now = mg_now_ns();
  const mg_directive directive = {.deadline_ms = 60000, .action = MEMGOV_ACTION_RELEASE};
  EXPECT_EQ(Do(directive, now - 59000 * 1000000ull).status, MEMGOV_OUTCOME_DONE);
  const mg_outcome late = Do(directive, now - 60000 * 1000000ull);
  EXPECT_EQ(late.status, MEMGOV_OUTCOME_DECLINED);
  EXPECT_STREQ(late.why, "the deadline of 60000 ms had passed before it could begin");
  EXPECT_EQ(Do({.deadline_ms = 0, .action = MEMGOV_ACTION_RELEASE}, 1).status, MEMGOV_OUTCOME_DONE);
}

TEST_F(LeversTest, AModeIsInForceUntilItIsReverted) {
  const std::uint64_t before = mg_now_ns();
  const mg_directive eager = {
      .ttl_ms = 5000, .action = MEMGOV_ACTION_SET_RELEASE_MODE, .mode = MG_MODE_EAGER};
  EXPECT_EQ(Do(eager).status, MEMGOV_OUTCOME_DONE);
  EXPECT_EQ(g_calls, (Calls{"eager"}));
  EXPECT_EQ(mg_levers_report(&levers_).mode, MG_MODE_EAGER);
  EXPECT_GE(levers_.revert_at_ns, before + 5000 * 1000000ull);
  mg_levers_revert(&levers_);
  EXPECT_EQ(g_calls, (Calls{"eager", "restore"}));
  EXPECT_EQ(levers_.revert_at_ns, 0u);
  EXPECT_EQ(mg_levers_report(&levers_).mode, MG_MODE_LAZY);
}

TEST_F(LeversTest, AModeThatCannotBeSetLeavesNothingBehind) {
  g_failure = "no";
  const mg_outcome outcome =
      Do({.ttl_ms = 5000, .action = MEMGOV_ACTION_SET_RELEASE_MODE, .mode = MG_MODE_EAGER});
  EXPECT_EQ(outcome.status, MEMGOV_OUTCOME_FAILED);
  EXPECT_EQ(g_calls, (Calls{"eager", "restore"}));
  EXPECT_EQ(levers_.revert_at_ns, 0u);
}

TEST_F(LeversTest, WithoutALeverTheReasonIsTheAllocators) {
  first_.capabilities.set_release_mode = false;
  first_.why_no_mode = "the user configured it";
  const mg_outcome outcome =
      Do({.ttl_ms = 5000, .action = MEMGOV_ACTION_SET_RELEASE_MODE, .mode = MG_MODE_EAGER});
  EXPECT_EQ(outcome.status, MEMGOV_OUTCOME_DECLINED);
  EXPECT_STREQ(outcome.why, "the user configured it");
  EXPECT_EQ(outcome.id, 5u);
  EXPECT_TRUE(g_calls.empty());
}

}  // namespace
