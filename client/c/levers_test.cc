// How directives become calls of allocators, with allocators that only keep a record.

#include "client/c/levers.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace {

std::vector<std::string> g_calls;
const char* g_failure = nullptr;
const char* g_stopped = nullptr;
bool g_declines = false;
mg_release g_asked;
std::uint64_t g_second_retains = 500 << 20;

mg_estimate Exact(const mg_process*) { return {100, 50, 10, MG_ESTIMATE_EXACT}; }
mg_estimate Bound(const mg_process*) { return {1000, g_second_retains, 0, MG_ESTIMATE_BOUND}; }
const char* ReleaseFirst(mg_release* release) {
  g_asked = *release;
  if (g_stopped != nullptr) std::snprintf(release->stopped, sizeof(release->stopped), "%s", g_stopped);
  release->declined = g_declines;
  g_calls.emplace_back("release first");
  return g_failure;
}
const char* ReleaseSecond(mg_release*) {
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
    g_failure = g_stopped = nullptr;
    g_declines = false;
    g_second_retains = 500 << 20;
    first_.capabilities.set_release_mode = first_.capabilities.release = true;
    first_.capabilities.release_in_chunks = first_.capabilities.retroactive = true;
    first_.capabilities.needs_owner_thread = true;
    first_.capabilities.stall = MG_STALL_SHORT;
    second_.capabilities.release = true;
    second_.capabilities.stall = MG_STALL_LONG;
    mg_levers_init(&levers_, {{&first_, &second_}, 2, ""}, statm_);
  }
  ~LeversTest() override { close(statm_); }

  mg_outcome Do(mg_directive directive, std::uint64_t received_ns = mg_now_ns()) {
    directive.id = 5;
    return mg_levers_carry_out(&levers_, &directive, received_ns);
  }

  const int statm_ = mg_statm_open();
  mg_allocator first_ = {.name = "first 1",
                         .capabilities = {},
                         .startup_mode = MG_MODE_LAZY,
                         .why_no_mode = nullptr,
                         .why_no_lazy = nullptr,
                         .estimate = Exact,
                         .release = ReleaseFirst,
                         .set_mode = SetMode,
                         .restore_mode = RestoreMode};
  mg_allocator second_ = {.name = "second 2",
                          .capabilities = {},
                          .startup_mode = MG_MODE_UNKNOWN,
                          .why_no_mode = "no modes",
                          .why_no_lazy = nullptr,
                          .estimate = Bound,
                          .release = ReleaseSecond,
                          .set_mode = nullptr,
                          .restore_mode = nullptr};
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
  EXPECT_TRUE(hello.capabilities.needs_owner_thread);
}

TEST_F(LeversTest, AReleaseStopsAtItsBytesOnlyIfAllAllocatorsCan) {
  mg_hello hello = {};
  mg_levers_describe(&levers_, &hello);
  EXPECT_FALSE(hello.capabilities.release_in_chunks);
  second_.capabilities.release_in_chunks = true;
  mg_levers_describe(&levers_, &hello);
  EXPECT_TRUE(hello.capabilities.release_in_chunks);
  levers_.allocators.count = 0;
  mg_levers_describe(&levers_, &hello);
  EXPECT_FALSE(hello.capabilities.release_in_chunks);
}

TEST_F(LeversTest, AReportIsTheSumAndAsTrueAsItsWeakestPart) {
  mg_report report = mg_levers_report(&levers_);
  EXPECT_EQ(report.live_bytes, 1100u);
  EXPECT_EQ(report.retained_bytes, (500u << 20) + 50u);
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

TEST_F(LeversTest, TheSecondAllocatorIsLeftAloneIfItHasNothing) {
  g_second_retains = (1 << 20) - 1;
  EXPECT_EQ(Do({.action = MEMGOV_ACTION_RELEASE, .bytes = 1ull << 40}).status, MEMGOV_OUTCOME_DONE);
  EXPECT_EQ(g_calls, (Calls{"release first"}));
}

TEST_F(LeversTest, AnAllocatorIsToldTheBytesAndTheStallBound) {
  Do({.action = MEMGOV_ACTION_RELEASE, .bytes = 77, .longest_stall_ms = 30});
  EXPECT_EQ(g_asked.bytes, 77u);
  EXPECT_EQ(g_asked.longest_stall_ns, 30000000u);
  Do({.action = MEMGOV_ACTION_RELEASE, .bytes = 78});
  EXPECT_EQ(g_asked.longest_stall_ns, 0u);
}

TEST_F(LeversTest, AReleaseThatTheBoundEndedIsDoneAndSaysSo) {
  g_stopped = "first: stopped after 3 MiB";
  const mg_outcome outcome = Do({.action = MEMGOV_ACTION_RELEASE, .bytes = 1ull << 40});
  EXPECT_EQ(outcome.status, MEMGOV_OUTCOME_DONE);
  EXPECT_STREQ(outcome.why, "first: stopped after 3 MiB");
  EXPECT_EQ(g_calls, (Calls{"release first"}));
}

TEST_F(LeversTest, OneThatDeclinesIsLeftOutAndAloneItIsTheAnswer) {
  g_stopped = "in vain";
  g_declines = true;
  EXPECT_EQ(Do({.action = MEMGOV_ACTION_RELEASE, .bytes = 1ull << 40}).status, MEMGOV_OUTCOME_DONE);
  EXPECT_EQ(g_calls, (Calls{"release first", "release second"}));
  levers_.allocators.count = 1;
  const mg_outcome outcome = Do({.action = MEMGOV_ACTION_RELEASE, .bytes = 1ull << 40});
  EXPECT_EQ(outcome.status, MEMGOV_OUTCOME_DECLINED);
  EXPECT_STREQ(outcome.why, "in vain");
}

// In a child of its own, as locks end with a process. 0: as it should be.
int ReleaseLocked(mg_levers* levers, bool unlock) {
  const mg_directive directive = {.action = MEMGOV_ACTION_RELEASE, .bytes = 1ull << 40};
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) return 77;
  const mg_outcome first = mg_levers_carry_out(levers, &directive, mg_now_ns());
  if (first.status != MEMGOV_OUTCOME_FAILED || std::strstr(first.why, "locked") == nullptr) return 1;
  if (g_calls != Calls{"release first", "release second"}) return 2;
  if (mg_levers_report(levers).retained_kind != MG_ESTIMATE_NONE) return 3;
  if (unlock) munlockall();
  g_calls.clear();
  const mg_outcome second = mg_levers_carry_out(levers, &directive, mg_now_ns());
  if (unlock) return second.status == MEMGOV_OUTCOME_DONE && !g_calls.empty() ? 0 : 4;
  if (second.status != MEMGOV_OUTCOME_DECLINED || std::strstr(second.why, "locked") == nullptr) return 5;
  return g_calls.empty() ? 0 : 6;
}

TEST_F(LeversTest, LockedMemoryIsTriedOnceThenDeclinedAndReportedAsUnknownUntilItIsUnlocked) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "with a sanitizer mlockall does nothing";
#endif
  for (const bool unlock : {false, true}) {
    const pid_t child = fork();
    if (child == 0) _exit(ReleaseLocked(&levers_, unlock));
    int status = 0;
    waitpid(child, &status, 0);
    if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "this user may not lock so much";
    EXPECT_EQ(WEXITSTATUS(status), 0) << unlock;
  }
}

TEST_F(LeversTest, ASettingHoldsForAnHourAtMost) {
  first_.capabilities.set_release_mode = true;
  first_.set_mode = SetMode;
  const std::uint64_t before_ns = mg_now_ns();
  const mg_outcome outcome =
      Do({.ttl_ms = UINT32_MAX, .action = MEMGOV_ACTION_SET_RELEASE_MODE, .mode = MG_MODE_EAGER});
  EXPECT_EQ(outcome.status, MEMGOV_OUTCOME_DONE);
  const std::uint64_t hour_ns = 3600ull * 1000 * MG_NS_PER_MS;
  EXPECT_GE(levers_.revert_at_ns, before_ns + hour_ns);
  EXPECT_LE(levers_.revert_at_ns, mg_now_ns() + hour_ns);
}

TEST_F(LeversTest, AnAllocatorWithoutALazyModeIsAskedForEagerOnly) {
  const auto set = [&](mg_release_mode mode) {
    return Do({.ttl_ms = 5000, .action = MEMGOV_ACTION_SET_RELEASE_MODE, .mode = mode});
  };
  first_.why_no_lazy = "always eager";
  EXPECT_EQ(set(MG_MODE_EAGER).status, MEMGOV_OUTCOME_DONE);
  const mg_outcome lazy = set(MG_MODE_LAZY);
  EXPECT_EQ(lazy.status, MEMGOV_OUTCOME_DECLINED);
  EXPECT_STREQ(lazy.why, "always eager");
  EXPECT_EQ(g_calls, (Calls{"eager"}));
  // Beside one that has it, it goes back to what it was.
  second_.capabilities.set_release_mode = true;
  second_.set_mode = SetMode;
  EXPECT_EQ(set(MG_MODE_LAZY).status, MEMGOV_OUTCOME_DONE);
  EXPECT_EQ(g_calls, (Calls{"eager", "restore", "lazy"}));
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
