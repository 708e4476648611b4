// The levers, on real allocators in programs of their own: does memory come back, is it told truly, do modes
// end?

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <thread>

#include "client/c/testing/levers_fixture.h"
#include "client/c/testing/rude_peer.h"

namespace memgov::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

const char kDefaultDecay[] = "10000 0 10000 0";

// Grows to 256 MiB, frees 90 %, releases; the report before, the outcome and the report after must tell the
// same story.
class ReleaseTest : public LeversTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(ReleaseTest, ReturnsWhatTheReportSaid) {
  PuppetProcess puppet(GetParam());
  const v1::Hello hello = Attach(puppet);
  EXPECT_TRUE(hello.capabilities().release());
  puppet.Call("grow 256");
  puppet.Call("free");
  const long before_kib = puppet.Number("anon");
  const v1::Report held = WaitForRetained(200 * kMiB, 256 * kMiB);
  EXPECT_GT(held.live_bytes(), 20 * kMiB);
  EXPECT_LT(held.live_bytes(), 40 * kMiB);

  const v1::Outcome outcome = governor_.Ask(Release(256 * kMiB));
  EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DONE) << outcome.why();
  EXPECT_GT(Returned(outcome), static_cast<std::int64_t>(200 * kMiB));
  EXPECT_GT(before_kib - puppet.Number("anon"), 200 * 1024);
  EXPECT_GT(outcome.cpu_us(), 0u);
  EXPECT_GE(outcome.wall_us(), outcome.cpu_us() / 2);
  WaitForRetained(0, 16 * kMiB);
  std::printf("%s: reported %lu MiB, returned %ld MiB in %.1f ms, CPU %.1f ms\n", hello.runtime().c_str(),
              static_cast<unsigned long>(held.retained_bytes() / kMiB),
              static_cast<long>(Returned(outcome) >> 20), static_cast<double>(outcome.wall_us()) / 1000,
              static_cast<double>(outcome.cpu_us()) / 1000);

  // And again: what a trim left in the allocator's books must not confuse the next round.
  puppet.Call("grow 200");
  puppet.Call("free");
  WaitForRetained(150 * kMiB, 230 * kMiB);
  EXPECT_GT(Returned(governor_.Ask(Release(256 * kMiB))), static_cast<std::int64_t>(150 * kMiB));
}

INSTANTIATE_TEST_SUITE_P(Allocators, ReleaseTest,
                         ::testing::Values("puppet_glibc", "puppet_glibc_static", "puppet_jemalloc",
                                           "puppet_jemalloc_static", "puppet_jemalloc_rdynamic",
                                           "puppet_jemalloc_prefixed", "puppet_gperftools",
                                           "puppet_gperftools_static"));

TEST_F(LeversTest, GlibcIsTold) {
  PuppetProcess puppet("puppet_glibc");
  const v1::Hello hello = Attach(puppet);
  EXPECT_THAT(hello.runtime(), MatchesRegex("glibc 2\\.[0-9]+"));
  EXPECT_FALSE(hello.capabilities().set_release_mode());
  EXPECT_FALSE(hello.capabilities().release_in_chunks());
  EXPECT_EQ(hello.capabilities().stall_class(), v1::STALL_CLASS_LONG);
  EXPECT_EQ(hello.startup_release_mode(), v1::RELEASE_MODE_UNSPECIFIED);
  const v1::Outcome outcome = governor_.Ask(SetMode(v1::RELEASE_MODE_EAGER, 1000));
  EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DECLINED);
  EXPECT_EQ(outcome.why(), "glibc's malloc has no lazy mode");
}

TEST_F(LeversTest, GlibcDoesNotOfferWhatIsInUse) {
  PuppetProcess puppet("puppet_glibc");
  Attach(puppet);
  puppet.Call("grow 256");
  const v1::Report report =
      WaitForReport([](const v1::Report& each) { return each.live_bytes() > 256 * kMiB; });
  EXPECT_EQ(report.retained_kind(), v1::ESTIMATE_KIND_BOUND);
  EXPECT_LT(report.retained_bytes(), 16 * kMiB);
}

TEST_F(LeversTest, JemallocIsTold) {
  PuppetProcess puppet("puppet_jemalloc");
  const v1::Hello hello = Attach(puppet);
  EXPECT_THAT(hello.runtime(), MatchesRegex("jemalloc [0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_TRUE(hello.capabilities().set_release_mode());
  EXPECT_TRUE(hello.capabilities().retroactive());
  EXPECT_TRUE(hello.capabilities().release_in_chunks());
  EXPECT_EQ(hello.capabilities().stall_class(), v1::STALL_CLASS_SHORT);
  const v1::Report report = WaitForReport([](const v1::Report&) { return true; });
  EXPECT_EQ(report.retained_kind(), v1::ESTIMATE_KIND_EXACT);
}

TEST_F(LeversTest, APrefixedJemallocAndGlibcAreBothDriven) {
  PuppetProcess puppet("puppet_jemalloc_prefixed");
  const v1::Hello hello = Attach(puppet);
  EXPECT_THAT(hello.runtime(), MatchesRegex("jemalloc [0-9.]+ \\+ glibc 2\\.[0-9]+"));
  EXPECT_FALSE(hello.capabilities().release_in_chunks());  // glibc's part is all or nothing
}

// What a thread's cache holds only the thread can give back, and it does when it passes a checkpoint.
TEST_F(LeversTest, ACheckpointReleasesWhatOnlyTheThreadCan) {
  PuppetProcess puppet("puppet_jemalloc", {"MALLOC_CONF=tcache_max:65536"});
  Attach(puppet);
  puppet.Call("owner");
  EXPECT_EQ(governor_.Ask(Release(1 << 30)).status(), v1::Outcome::STATUS_DONE);
  const long kept_kib = puppet.Number("anon");
  puppet.Call("owner_pass");
  const long given_kib = kept_kib - puppet.Number("anon");
  EXPECT_GT(given_kib, 512);
  std::printf("checkpoint: a thread's cache gave %ld KiB that a release had left\n", given_kib);
}

TEST_F(LeversTest, AnUnknownAllocatorIsSaidToBeSo) {
  PuppetProcess puppet("puppet_odd");
  const v1::Hello hello = Attach(puppet);
  EXPECT_EQ(hello.runtime(), "unknown allocator (libmemgov_odd_malloc.so), no levers");
  EXPECT_FALSE(hello.capabilities().release());
  const v1::Outcome outcome = governor_.Ask(Release(1));
  EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DECLINED);
  EXPECT_EQ(outcome.why(), "no levers: malloc belongs to libmemgov_odd_malloc.so");
  const v1::Report report = WaitForReport([](const v1::Report&) { return true; });
  EXPECT_EQ(report.retained_kind(), v1::ESTIMATE_KIND_NONE);
}

TEST_F(LeversTest, TheAgentNeverMallocs) {
  const std::string front = directory_.path("front");
  Relay relay(front, directory_.path());
  PuppetProcess puppet("puppet_odd");
  EXPECT_EQ(puppet.Call("start " + front), "0");
  for (std::size_t i = 1; i <= 5; ++i) {
    ASSERT_TRUE(governor_.WaitFor(
        [&](const auto& heard) { return heard.hellos.size() == i && heard.sessions == 1; }));
    for (int n = 0; n < 20; ++n) EXPECT_EQ(governor_.Ask(Release(1)).status(), v1::Outcome::STATUS_DECLINED);
    WaitForReport([](const v1::Report&) { return true; });
    relay.Cut();
  }
  EXPECT_EQ(puppet.Call("stop"), "0");
  EXPECT_EQ(puppet.Call("agent_mallocs"), "0");
}

TEST_F(LeversTest, AModeEndsWithItsTimeToLive) {
  PuppetProcess puppet("puppet_jemalloc");
  Attach(puppet);
  puppet.Call("grow 8");
  EXPECT_EQ(puppet.Call("decay"), kDefaultDecay);
  EXPECT_EQ(governor_.Ask(SetMode(v1::RELEASE_MODE_LAZY, 60000)).status(), v1::Outcome::STATUS_DONE);
  EXPECT_EQ(puppet.Call("decay"), "100 -1 100 -1");
  WaitForReport([](const v1::Report& report) { return report.release_mode() == v1::RELEASE_MODE_LAZY; });

  EXPECT_EQ(governor_.Ask(SetMode(v1::RELEASE_MODE_EAGER, 60000)).status(), v1::Outcome::STATUS_DONE);
  EXPECT_EQ(puppet.Call("decay"), "0 0 0 0");
  EXPECT_EQ(governor_.Ask(SetMode(v1::RELEASE_MODE_EAGER, 100)).status(), v1::Outcome::STATUS_DONE);
  WaitForReport(
      [](const v1::Report& report) { return report.release_mode() == v1::RELEASE_MODE_UNSPECIFIED; });
  EXPECT_EQ(puppet.Call("decay"), kDefaultDecay);
}

TEST_F(LeversTest, AModeEndsEvenIfTheGovernorDied) {
  PuppetProcess puppet("puppet_jemalloc");
  Attach(puppet);
  puppet.Call("grow 8");
  EXPECT_EQ(governor_.Ask(SetMode(v1::RELEASE_MODE_EAGER, 300)).status(), v1::Outcome::STATUS_DONE);
  governor_.Stop();
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (puppet.Call("decay") != kDefaultDecay && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(puppet.Call("decay"), kDefaultDecay);
}

TEST_F(LeversTest, StopRestoresTheMode) {
  PuppetProcess puppet("puppet_jemalloc");
  Attach(puppet);
  puppet.Call("grow 8");
  EXPECT_EQ(governor_.Ask(SetMode(v1::RELEASE_MODE_EAGER, 60000)).status(), v1::Outcome::STATUS_DONE);
  EXPECT_EQ(puppet.Call("decay"), "0 0 0 0");
  puppet.Call("stop");
  EXPECT_EQ(puppet.Call("decay"), kDefaultDecay);
}

TEST_F(LeversTest, ReleaseTakesWhatLazyModeHadGivenUp) {
  PuppetProcess puppet("puppet_jemalloc");
  Attach(puppet);
  EXPECT_EQ(governor_.Ask(SetMode(v1::RELEASE_MODE_LAZY, 60000)).status(), v1::Outcome::STATUS_DONE);
  puppet.Call("grow 256");
  puppet.Call("free");
  puppet.Call("churn");
  const v1::Report lazy =
      WaitForReport([](const v1::Report& report) { return report.lazily_freed_bytes() > 150 * kMiB; });
  EXPECT_GE(lazy.retained_bytes(), lazy.lazily_freed_bytes());
  EXPECT_GT(Returned(governor_.Ask(Release(256 * kMiB))), static_cast<std::int64_t>(150 * kMiB));
  WaitForReport([](const v1::Report& report) { return report.lazily_freed_bytes() < kMiB; });
}

TEST_F(LeversTest, TheUsersDecayTimesWin) {
  PuppetProcess puppet("puppet_jemalloc", {"MALLOC_CONF=muzzy_decay_ms:-1,dirty_decay_ms:5000"});
  const v1::Hello hello = Attach(puppet);
  EXPECT_EQ(hello.startup_release_mode(), v1::RELEASE_MODE_LAZY);
  EXPECT_FALSE(hello.capabilities().set_release_mode());
  EXPECT_TRUE(hello.capabilities().release());
  const v1::Outcome outcome = governor_.Ask(SetMode(v1::RELEASE_MODE_EAGER, 1000));
  EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DECLINED);
  EXPECT_THAT(outcome.why(), HasSubstr("the user configured"));
  EXPECT_THAT(puppet.Call("decay"), StartsWith("5000 -1"));
}

// Prints what having libmemgov in a process costs.
TEST_F(LeversTest, PrintsTheFootprint) {
  PuppetProcess bare("puppet_bare");
  PuppetProcess linked("puppet_glibc");
  const long bare_rss = bare.Number("rss"), bare_anon = bare.Number("anon");
  const long linked_rss = linked.Number("rss"), linked_anon = linked.Number("anon");
  const long threads = linked.Number("threads");
  Attach(linked);
  WaitForReport([](const v1::Report&) { return true; });
  std::printf("footprint: linked +%ld KiB RSS (+%ld anon); attached +%ld KiB RSS (+%ld anon), +%ld threads\n",
              linked_rss - bare_rss, linked_anon - bare_anon, linked.Number("rss") - bare_rss,
              linked.Number("anon") - bare_anon, linked.Number("threads") - threads);
}

}  // namespace
}  // namespace memgov::testing
