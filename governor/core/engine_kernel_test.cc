// What the engine makes of memory.stat and memory.pressure: page cache is no need, lazily freed memory is
// collected from outside, and a stall is seen although usage alone would not tell.

#include "gmock/gmock.h"
#include "governor/core/testing.h"
#include "gtest/gtest.h"

namespace memgov::core::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr KernelLevers kPageOut{.page_out = true, .reclaim = true};

MemoryStat Cache(Bytes inactive, Bytes active = 0) {
  return {.file = inactive + active, .inactive_file = inactive, .active_file = active};
}
// `bytes` lazily freed beside some cache: counted as anonymous, listed as inactive file pages.
MemoryStat Lazy(Bytes bytes, Bytes cache = 0) {
  return {.anon = bytes, .file = cache, .inactive_file = bytes + cache};
}
// So that there is evidence for no growth.
void Rest(Node& node, Duration time = seconds(1)) {
  for (Duration passed{}; passed < time; passed += milliseconds(100)) {
    node.Pass(milliseconds(100));
    node.Tick();
  }
}

TEST(EngineKernelTest, PageCacheUpToTheLimitIsNoNeed) {
  Node node;
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  const ClientId client = node.Attach(a);
  node.Report(client, 200 * kMiB);
  node.SetUsage(a, 990 * kMiB);
  node.SetStat(a, Cache(700 * kMiB), true);
  EXPECT_THAT(node.Lines(node.Tick(), {NoteKind::kWoke, NoteKind::kCritical, NoteKind::kAsked}), IsEmpty());
}

TEST(EngineKernelTest, ALevelRisesOnlyByAStatAsFreshAsTheUsage) {
  Node node;
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  node.SetUsage(a, 100 * kMiB);
  node.SetStat(a, Cache(0), true);
  Rest(node);
  // A file was read since: the old stat would make this a need.
  node.SetUsage(a, 990 * kMiB);
  node.SetStat(a, Cache(800 * kMiB));
  node.Pass(seconds(1));
  const Decisions decisions = node.Tick({a});
  EXPECT_THAT(decisions.read_now, ElementsAre(a));
  EXPECT_THAT(node.Lines(decisions, {NoteKind::kWoke, NoteKind::kCritical}), IsEmpty());
  // And when it is a need, the same tick says so.
  node.SetUsage(a, 1000 * kMiB);
  node.SetStat(a, Cache(20 * kMiB), true);
  node.Pass(seconds(1));
  EXPECT_THAT(node.Lines(node.Tick({a}), {NoteKind::kCritical}), SizeIs(1));
}

TEST(EngineKernelTest, AStatThatCannotBeReadHoldsUpNoNeed) {
  Node node;
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  node.SetUsage(a, 100 * kMiB);
  node.SetStat(a, Cache(0), true);
  Rest(node);
  node.SetUsage(a, 990 * kMiB);
  node.SetStat(a, {}, false);
  node.Pass(seconds(1));
  node.SetReadable(a, true);
  Snapshot without_stat;
  without_stat.samples.push_back(
      {.id = a, .taken_at = node.now(), .usage = 990 * kMiB, .limit = 1000 * kMiB});
  EXPECT_THAT(node.engine().Tick(node.now(), without_stat, {}).read_now, ElementsAre(a));
  without_stat.samples[0].taken_at += milliseconds(1);
  const Decisions decisions = node.engine().Tick(node.now() + milliseconds(1), without_stat, {});
  EXPECT_THAT(node.Lines(decisions, {NoteKind::kCritical}), SizeIs(1));
}

TEST(EngineKernelTest, WhatIsAskedForIsWhatPageCacheDoesNotCover) {
  Node node;
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  const ClientId client = node.Attach(a);
  node.Report(client, 900 * kMiB);
  node.SetUsage(a, 1000 * kMiB);
  node.SetStat(a, Cache(100 * kMiB), true);
  const Decisions decisions = node.Tick();
  ASSERT_THAT(decisions.directives, SizeIs(1));
  EXPECT_EQ(std::get<Release>(decisions.directives[0].action).bytes, 100 * kMiB);  // 900 down to 800
}

TEST(EngineKernelTest, ADomainFullOfCacheIsReadWithItsStatBecauseNoAlarmCanStandThere) {
  Node node;
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  node.SetUsage(a, 990 * kMiB);
  node.SetStat(a, Cache(700 * kMiB), true);
  const Decisions far = node.Tick();
  ASSERT_THAT(far.cadences, SizeIs(1));
  EXPECT_EQ(far.cadences[0].usage_every, milliseconds(250));
  EXPECT_EQ(far.cadences[0].stat_every, milliseconds(250));
  node.Pass(seconds(10));
  node.SetStat(a, Cache(400 * kMiB), true);
  const Decisions near = node.Tick();
  ASSERT_THAT(near.cadences, SizeIs(1));
  EXPECT_LE(near.cadences[0].stat_every, milliseconds(100));
}

TEST(EngineKernelTest, SwapPutsTheLimitFurtherAway) {
  const auto woken = [](Bytes swap_left) {
    Node node;
    const CgroupId parent = node.Add("/p");
    const CgroupId a = node.Add("/p/a", 1000 * kMiB);
    node.SetSwapLeft(a, 2 * kGiB);
    node.SetSwapLeft(parent, swap_left);  // the least of all above counts
    bool woke = false;
    for (Bytes usage = 500; usage < 800; usage += 20) {
      node.SetUsage(a, usage * kMiB);
      node.Pass(milliseconds(20));
      woke = woke || !node.Lines(node.Tick(), {NoteKind::kWoke}).empty();
    }
    return woke;
  };
  EXPECT_TRUE(woken(0));
  EXPECT_FALSE(woken(1 * kGiB));
}

TEST(EngineKernelTest, ARisingLevelRecordsHowTheDomainStandsAtEachLevelAbove) {
  Node node;
  const CgroupId pod = node.Add("/pod", 2000 * kMiB);
  const CgroupId a = node.Add("/pod/a", 1000 * kMiB);
  node.SetUsage(pod, 1900 * kMiB);
  node.SetStat(pod, Cache(500 * kMiB), true);
  node.SetUsage(a, 950 * kMiB);
  node.SetStat(a, {.anon = 850 * kMiB, .file = 50 * kMiB, .inactive_file = 50 * kMiB, .slab = 7 * kMiB},
               true);
  node.SetSwapLeft(a, 3 * kMiB);
  const Decisions decisions = node.Tick();
  ASSERT_THAT(decisions.notes, SizeIs(::testing::Ge(1)));
  const Note& woke = decisions.notes[0];
  ASSERT_TRUE(woke.domain == a && woke.facts.has_value());
  EXPECT_EQ(woke.facts->pressing, 900 * kMiB);
  EXPECT_EQ(woke.facts->stat->slab, 7 * kMiB);
  EXPECT_EQ(woke.facts->swap_left, 3 * kMiB);
  ASSERT_THAT(woke.facts->headroom, SizeIs(2));
  EXPECT_EQ(woke.facts->headroom[0].bytes, 100 * kMiB);
  EXPECT_EQ(woke.facts->headroom[1].domain, pod);
  EXPECT_EQ(woke.facts->headroom[1].bytes, 600 * kMiB);
}

// --- lazily freed memory

TEST(EngineKernelTest, LazilyFreedMemoryIsCollectedWithoutAnyClient) {
  Node node;
  node.engine().SetKernelLevers(kPageOut);
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  node.SetUsage(a, 900 * kMiB);
  node.SetStat(a, Lazy(500 * kMiB, 50 * kMiB), true);
  const Decisions decisions = node.Tick();
  ASSERT_THAT(decisions.reclaims, SizeIs(1));
  const Reclaim& request = decisions.reclaims[0];
  EXPECT_EQ(request.cgroup, a);
  EXPECT_EQ(request.lever, ReclaimLever::kPageOut);
  EXPECT_EQ(request.bytes, 50 * kMiB);  // 850 without the cache, down to 800
  EXPECT_THAT(node.Lines(decisions, {NoteKind::kAsked, NoteKind::kWithheld}),
              ElementsAre("asked /a /a page_out 50.0 MiB"));
  node.Pass(milliseconds(100));
  node.Reclaimed(request, 50 * kMiB + kMiB);
  node.SetStat(a, Lazy(449 * kMiB, 50 * kMiB), true);
  const Decisions after = node.Tick();
  EXPECT_THAT(node.Lines(after, {NoteKind::kReturned, NoteKind::kRelaxed}),
              ElementsAre("returned /a /a page_out 51.0 MiB", "relaxed /a"));
}

TEST(EngineKernelTest, ClientsAreAskedForWhatLazilyFreedMemoryDoesNotCover) {
  Node node;
  node.engine().SetKernelLevers(kPageOut);
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  const ClientId client = node.Attach(a);
  node.Report(client, 500 * kMiB);
  node.SetUsage(a, 1000 * kMiB);
  node.SetStat(a, Lazy(150 * kMiB), true);
  const Decisions decisions = node.Tick();
  ASSERT_THAT(decisions.reclaims, SizeIs(1));
  EXPECT_EQ(decisions.reclaims[0].bytes, 150 * kMiB);
  ASSERT_THAT(decisions.directives, SizeIs(1));
  EXPECT_EQ(std::get<Release>(decisions.directives[0].action).bytes, 50 * kMiB);
}

TEST(EngineKernelTest, ACollectionThatTakesTooLongIsNotCountedOn) {
  Node node;
  node.engine().SetKernelLevers(kPageOut);
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  const ClientId client = node.Attach(a);
  node.Report(client, 500 * kMiB);
  node.SetUsage(a, 900 * kMiB);
  node.SetStat(a, Lazy(500 * kMiB), true);
  EXPECT_THAT(node.Tick().directives, IsEmpty());
  node.Pass(milliseconds(499));
  node.Report(client, 500 * kMiB);
  EXPECT_THAT(node.Tick().directives, IsEmpty());
  node.Pass(milliseconds(1));
  EXPECT_THAT(node.Tick().directives, SizeIs(1));
}

TEST(EngineKernelTest, WithoutALeverLazilyFreedMemoryIsLeftToTheKernel) {
  Node node;
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  node.SetUsage(a, 950 * kMiB);
  node.SetStat(a, Lazy(500 * kMiB), true);
  const Decisions decisions = node.Tick();
  EXPECT_THAT(decisions.reclaims, IsEmpty());
  EXPECT_THAT(node.Lines(decisions, {NoteKind::kWoke, NoteKind::kCritical}), IsEmpty());
}

TEST(EngineKernelTest, MemoryReclaimStandsInWherePageOutIsNotAllowed) {
  Node node;
  node.engine().SetKernelLevers({.page_out = false, .reclaim = true});
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  node.SetUsage(a, 900 * kMiB);
  node.SetStat(a, Lazy(500 * kMiB), true);
  const Decisions decisions = node.Tick();
  ASSERT_THAT(decisions.reclaims, SizeIs(1));
  EXPECT_EQ(decisions.reclaims[0].lever, ReclaimLever::kReclaim);
}

TEST(EngineKernelTest, ObserveModeAndALadderWithoutItCollectNothing) {
  for (const bool listed : {true, false}) {
    Rule rule{.name = "test", .mode = listed ? Mode::kObserve : Mode::kEnforce};
    if (!listed) rule.actions = {ActionKind::kRelease};
    Node node(PolicyOf(rule));
    node.engine().SetKernelLevers(kPageOut);
    const CgroupId a = node.Add("/a", 1000 * kMiB);
    node.SetUsage(a, 900 * kMiB);
    node.SetStat(a, Lazy(500 * kMiB), true);
    const Decisions decisions = node.Tick();
    EXPECT_THAT(decisions.reclaims, IsEmpty());
    EXPECT_EQ(node.Lines(decisions, {NoteKind::kWouldAsk}).size(), listed ? 1U : 0U);
    node.Pass(milliseconds(100));
    EXPECT_THAT(node.Lines(node.Tick(), {NoteKind::kWouldAsk}), IsEmpty());  // at a pace
  }
}

TEST(EngineKernelTest, InASliceTheDeepestHoldersAreCollectedEachOnce) {
  Node node;
  node.engine().SetKernelLevers(kPageOut);
  const CgroupId slice = node.Add("/s", 2000 * kMiB);
  const CgroupId a = node.Add("/s/a", 4000 * kMiB);
  const CgroupId b = node.Add("/s/b", 4000 * kMiB);
  const CgroupId other = node.Add("/other", 4000 * kMiB);
  node.SetUsage(other, 900 * kMiB);
  node.SetStat(other, Lazy(900 * kMiB), true);
  node.SetUsage(a, 900 * kMiB);
  node.SetStat(a, Lazy(300 * kMiB), true);
  node.SetUsage(b, 900 * kMiB);
  node.SetStat(b, Lazy(100 * kMiB), true);
  node.SetUsage(slice, 1900 * kMiB);
  node.SetStat(slice, Lazy(400 * kMiB), true);  // hierarchical
  const Decisions decisions = node.Tick();
  ASSERT_THAT(decisions.reclaims, SizeIs(1));
  EXPECT_EQ(decisions.reclaims[0].cgroup, a);
  EXPECT_EQ(decisions.reclaims[0].domain, slice);
  EXPECT_EQ(decisions.reclaims[0].bytes, 300 * kMiB);
}

TEST(EngineKernelTest, WhatIsOnlyObservedIsNotReachedThroughACgroupAbove) {
  Rule tenant{.name = "tenant", .cgroup = "/a/tenant/**", .mode = Mode::kObserve};
  Rule all{.name = "all", .mode = Mode::kEnforce};
  Node node(Policy{.rules = {tenant, all}});
  node.engine().SetKernelLevers(kPageOut);
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  const CgroupId held = node.Add("/a/tenant");
  node.SetUsage(a, 900 * kMiB);
  node.SetStat(a, Lazy(500 * kMiB), true);
  node.SetUsage(held, 500 * kMiB);
  node.SetStat(held, Lazy(500 * kMiB), true);
  for (int i = 0; i < 30; ++i) {
    EXPECT_THAT(node.Tick().reclaims, IsEmpty());
    node.Pass(milliseconds(100));
  }
  // Nor while the tenant itself is below what is worth collecting.
  node.SetStat(held, Lazy(7 * kMiB), true);
  for (int i = 0; i < 30; ++i) {
    EXPECT_THAT(node.Tick().reclaims, IsEmpty());
    node.Pass(milliseconds(100));
  }
}

TEST(EngineKernelTest, WhatObserveModeSaysHoldsUpNoRealCollection) {
  Rule parent{.name = "parent", .cgroup = "/p", .mode = Mode::kObserve};
  Rule all{.name = "all", .mode = Mode::kEnforce};
  Node node(Policy{.rules = {parent, all}});
  node.engine().SetKernelLevers(kPageOut);
  const CgroupId p = node.Add("/p", 1000 * kMiB);
  const CgroupId a = node.Add("/p/a", 1000 * kMiB);
  node.SetStat(a, Lazy(300 * kMiB), true);
  node.SetStat(p, Lazy(300 * kMiB), true);
  node.SetUsage(a, 500 * kMiB);
  node.SetUsage(p, 900 * kMiB);
  for (int i = 0; i < 50; ++i) {
    EXPECT_THAT(node.Tick().reclaims, IsEmpty());
    node.Pass(milliseconds(100));
  }
  node.SetUsage(a, 900 * kMiB);
  EXPECT_THAT(node.Tick().reclaims, SizeIs(1));
}

TEST(EngineKernelTest, ACollectionThatTakesLongAsksForNoTickInThePast) {
  Node node;
  node.engine().SetKernelLevers(kPageOut);
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  node.SetUsage(a, 900 * kMiB);
  node.SetStat(a, Lazy(500 * kMiB), true);
  for (int i = 0; i < 20; ++i) {
    const Decisions decisions = node.Tick();
    if (decisions.next_tick) {
      EXPECT_GT(*decisions.next_tick, node.now());
    }
    node.Pass(milliseconds(100));
  }
}

TEST(EngineKernelTest, APressureAlarmDoesNotFlap) {
  Node node;
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  int switched = 0;
  for (int i = 0; i < 20; ++i) {
    node.SetUsage(a, (i % 2 == 0 ? 760 : 740) * kMiB);
    node.Pass(milliseconds(250));
    switched += static_cast<int>(node.Tick().pressure_alarms.size());
  }
  EXPECT_EQ(switched, 1);
}

TEST(EngineKernelTest, ACgroupThatVanishesTakesItsCollectionWithIt) {
  Node node;
  node.engine().SetKernelLevers(kPageOut);
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  node.SetUsage(a, 900 * kMiB);
  node.SetStat(a, Lazy(500 * kMiB), true);
  const Decisions decisions = node.Tick();
  ASSERT_THAT(decisions.reclaims, SizeIs(1));
  node.Reclaimed(decisions.reclaims[0], 0);
  node.Remove(a);
  EXPECT_THAT(node.Tick().notes, IsEmpty());
}

// --- stalls

// Four of five tasks' time is lost, and thousands of pages a second come back.
struct Thrash {
  Node node;
  CgroupId a = node.Add("/a", 1000 * kMiB);
  std::uint64_t full_us = 0;
  std::uint64_t faults = 0;

  Decisions Pass(Duration time, Bytes usage, Bytes inactive_file, unsigned full_percent) {
    Decisions last;
    for (Duration passed{}; passed < time; passed += milliseconds(100)) {
      full_us += full_percent * 1000;
      faults += full_percent * 10;
      MemoryStat stat = Cache(inactive_file);
      stat.pgmajfault = faults;
      node.SetUsage(a, usage);
      node.SetStat(a, stat, true);
      node.SetPressure(a, {.full_us = full_us});
      node.Pass(milliseconds(100));
      last = node.Tick();
      if (!last.notes.empty()) break;
    }
    return last;
  }
};

TEST(EngineKernelTest, AStallWakesADomainWhoseUsageWouldNot) {
  Thrash thrash;
  const ClientId client = thrash.node.Attach(thrash.a);
  thrash.node.Report(client, 300 * kMiB);
  // 1,000 MiB of usage, but 200 of it are file pages on their way out and in.
  EXPECT_THAT(thrash.Pass(seconds(2), 1000 * kMiB, 200 * kMiB, 0).notes, IsEmpty());
  const Decisions decisions = thrash.Pass(seconds(2), 1000 * kMiB, 200 * kMiB, 80);
  EXPECT_THAT(thrash.node.Lines(decisions, {NoteKind::kStalled}),
              ElementsAre(HasSubstr("pages a second were read again")));
  ASSERT_THAT(decisions.directives, SizeIs(1));
  EXPECT_EQ(decisions.directives[0].reason.signal, Signal::kStall);
  // Usage is at the relax threshold already: a tenth of the limit makes room for what is read again.
  EXPECT_EQ(std::get<Release>(decisions.directives[0].action).bytes, 100 * kMiB);
}

TEST(EngineKernelTest, AStallIsSeenWhereMostOfTheLimitIsWhatThrashes) {
  Thrash thrash;
  thrash.Pass(seconds(2), 1000 * kMiB, 600 * kMiB, 0);
  const Decisions decisions = thrash.Pass(seconds(2), 1000 * kMiB, 600 * kMiB, 80);
  EXPECT_THAT(thrash.node.Lines(decisions, {NoteKind::kStalled}), SizeIs(1));
}

TEST(EngineKernelTest, AStallIsSaidOnceAndEndsWhenPagesStay) {
  Thrash thrash;
  thrash.Pass(seconds(2), 1000 * kMiB, 300 * kMiB, 80);
  int said = 0;
  for (int i = 0; i < 30; ++i) {
    said += static_cast<int>(
        thrash.node.Lines(thrash.Pass(milliseconds(100), 1000 * kMiB, 300 * kMiB, 80), {NoteKind::kStalled})
            .size());
  }
  EXPECT_EQ(said, 0);
  const Decisions calm = thrash.Pass(seconds(5), 900 * kMiB, 300 * kMiB, 0);
  EXPECT_THAT(thrash.node.Lines(calm, {NoteKind::kRelaxed}), SizeIs(1));
  EXPECT_EQ(
      thrash.node.Lines(thrash.Pass(seconds(5), 1000 * kMiB, 300 * kMiB, 80), {NoteKind::kStalled}).size(),
      1U);
}

TEST(EngineKernelTest, WaitingFarFromItsLimitIsAnAncestorsNeed) {
  Thrash thrash;
  EXPECT_THAT(thrash.Pass(seconds(3), 700 * kMiB, 0, 90).notes, IsEmpty());
}

TEST(EngineKernelTest, OnlyDomainsAtRiskHaveAPressureAlarm) {
  Node node;
  const CgroupId a = node.Add("/a", 1000 * kMiB);
  node.Add("/no-limit");
  node.SetUsage(a, 740 * kMiB);
  EXPECT_THAT(node.Tick().pressure_alarms, IsEmpty());
  node.SetUsage(a, 760 * kMiB);
  node.Pass(seconds(100));
  Decisions decisions = node.Tick();
  ASSERT_THAT(decisions.pressure_alarms, SizeIs(1));
  EXPECT_TRUE(decisions.pressure_alarms[0].on);
  node.SetUsage(a, 640 * kMiB);
  node.Pass(seconds(100));
  decisions = node.Tick();
  ASSERT_THAT(decisions.pressure_alarms, SizeIs(1));
  EXPECT_FALSE(decisions.pressure_alarms[0].on);
}

TEST(EngineKernelTest, AnOomKillThatTheKernelLogsIsRecordedAtOnceAndOnce) {
  Node node;
  const CgroupId pod = node.Add("/pod", 1000 * kMiB);
  node.Tick();
  node.Kill(pod);
  node.Log({.at = node.now(), .pid = 9, .name = "holder", .domain = "/pod", .cgroup = "/pod/a"});
  const Decisions decisions = node.Tick();
  EXPECT_THAT(node.Lines(decisions, {NoteKind::kOomKill}),
              ElementsAre("oom_kill /pod: OOM kill at the limit of /pod: holder (pid 9) in /pod/a"));
  EXPECT_EQ(decisions.notes.at(0).domain, pod);
  EXPECT_EQ(decisions.notes.at(0).kill.value().cgroup, "/pod/a");
  node.Pass(OomKills::kExplained);
  EXPECT_THAT(node.Lines(node.Tick(), {NoteKind::kOomKill}), SizeIs(0));
}

TEST(EngineKernelTest, AKillWithoutARecordIsPutDownToTheTightestLimitAbove) {
  Node node;
  const CgroupId pod = node.Add("/pod", 1000 * kMiB);
  const CgroupId leaf = node.Add("/pod/a", 800 * kMiB);
  node.SetUsage(pod, 990 * kMiB);
  node.SetUsage(leaf, 300 * kMiB);
  node.Tick();
  node.Kill(leaf);
  node.Tick();
  node.Pass(OomKills::kGrace);
  const Decisions decisions = node.Tick();
  EXPECT_THAT(node.Lines(decisions, {NoteKind::kOomKill}),
              ElementsAre("oom_kill /pod: 1 OOM kill in /pod/a, at the limit of /pod"));
}

}  // namespace
}  // namespace memgov::core::testing
