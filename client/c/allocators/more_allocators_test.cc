// Releases that stop early, and the allocators that come by preloading: real ones, in programs of their own.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "client/c/testing/levers_fixture.h"

namespace memgov::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

constexpr std::int64_t kSignedMiB = 1 << 20;

std::vector<std::string> Preloading(const std::string& library) { return {"LD_PRELOAD=" + library}; }

// Debian's mimalloc, or the one that MEMGOV_TEST_MIMALLOC names: to try other versions.
std::string Mimalloc() {
  const char* other = std::getenv("MEMGOV_TEST_MIMALLOC");
  return other == nullptr ? MIMALLOC : other;
}

TEST_F(LeversTest, GperftoolsIsTold) {
  PuppetProcess puppet("puppet_gperftools");
  const v1::Hello hello = Attach(puppet);
  EXPECT_THAT(hello.runtime(), MatchesRegex("gperftools 2\\.[0-9]+"));
  EXPECT_TRUE(hello.capabilities().set_release_mode());
  EXPECT_TRUE(hello.capabilities().release_in_chunks());
  EXPECT_FALSE(hello.capabilities().retroactive());
  EXPECT_EQ(hello.capabilities().stall_class(), v1::STALL_CLASS_MEDIUM);
  const v1::Report report = WaitForReport([](const v1::Report&) { return true; });
  EXPECT_EQ(report.retained_kind(), v1::ESTIMATE_KIND_EXACT);
}

TEST_F(LeversTest, GperftoolsStopsAtTheBytesAskedFor) {
  PuppetProcess puppet("puppet_gperftools");
  Attach(puppet);
  puppet.Call("grow 256");
  puppet.Call("free");  // leaves free spans of 32 MiB
  WaitForRetained(200 * kMiB, 256 * kMiB);
  const v1::Outcome part = governor_.Ask(Release(50 * kMiB));
  EXPECT_EQ(part.status(), v1::Outcome::STATUS_DONE);
  EXPECT_EQ(part.why(), "");
  EXPECT_GT(Returned(part), 45 * kSignedMiB);
  EXPECT_LT(Returned(part), 100 * kSignedMiB);
  // What was returned too much does not keep the next request from being met.
  EXPECT_GT(Returned(governor_.Ask(Release(50 * kMiB))), 45 * kSignedMiB);
  EXPECT_GT(Returned(governor_.Ask(Release(0))), 60 * kSignedMiB);
  WaitForRetained(0, 16 * kMiB);
}

TEST_F(LeversTest, JemallocStopsBetweenArenas) {
  PuppetProcess puppet("puppet_jemalloc");
  Attach(puppet);
  puppet.Call("holders 4 64");  // each in an arena of its own
  WaitForRetained(200 * kMiB, 256 * kMiB);
  const v1::Outcome part = governor_.Ask(Release(50 * kMiB));
  EXPECT_EQ(part.status(), v1::Outcome::STATUS_DONE);
  EXPECT_GT(Returned(part), 45 * kSignedMiB);
  EXPECT_LT(Returned(part), 190 * kSignedMiB);
  governor_.Ask(Release(1024 * kMiB));
  WaitForRetained(0, 16 * kMiB);
}

TEST_F(LeversTest, GperftoolsIsEagerUntilTheTimeToLiveEnds) {
  PuppetProcess puppet("puppet_gperftools");
  Attach(puppet);
  EXPECT_EQ(puppet.Call("settings"), "0");
  EXPECT_EQ(governor_.Ask(SetMode(v1::RELEASE_MODE_EAGER, 60000)).status(), v1::Outcome::STATUS_DONE);
  EXPECT_EQ(puppet.Call("settings"), "1");
  puppet.Call("grow 256");
  puppet.Call("free");
  EXPECT_LT(puppet.Number("anon"), 60 * 1024);
  WaitForReport([](const v1::Report& report) {
    return report.release_mode() == v1::RELEASE_MODE_EAGER && report.retained_bytes() < 16 * kMiB;
  });
  const v1::Outcome lazy = governor_.Ask(SetMode(v1::RELEASE_MODE_LAZY, 60000));
  EXPECT_EQ(lazy.status(), v1::Outcome::STATUS_DECLINED);
  EXPECT_EQ(lazy.why(), "gperftools has no lazy mode");
  EXPECT_EQ(governor_.Ask(SetMode(v1::RELEASE_MODE_EAGER, 100)).status(), v1::Outcome::STATUS_DONE);
  WaitForReport(
      [](const v1::Report& report) { return report.release_mode() == v1::RELEASE_MODE_UNSPECIFIED; });
  EXPECT_EQ(puppet.Call("settings"), "0");
}

TEST_F(LeversTest, TheUsersGperftoolsVariablesWin) {
  PuppetProcess puppet("puppet_gperftools", {"TCMALLOC_AGGRESSIVE_DECOMMIT=1"});
  const v1::Hello hello = Attach(puppet);
  EXPECT_EQ(hello.startup_release_mode(), v1::RELEASE_MODE_EAGER);
  EXPECT_FALSE(hello.capabilities().set_release_mode());
  EXPECT_THAT(governor_.Ask(SetMode(v1::RELEASE_MODE_EAGER, 1000)).why(), HasSubstr("the user configured"));
}

TEST_F(LeversTest, WhatGperftoolsMayNotReturnIsNotOffered) {
  PuppetProcess puppet("puppet_gperftools", {"TCMALLOC_DISABLE_MEMORY_RELEASE=1"});
  Attach(puppet);
  puppet.Call("grow 64");
  puppet.Call("free");
  EXPECT_EQ(governor_.Ask(Release(64 * kMiB)).status(), v1::Outcome::STATUS_DONE);
  EXPECT_EQ(WaitForReport([](const v1::Report&) { return true; }).retained_bytes(), 0u);
}

struct Preload {
  const char* library;
  const char* runtime;
  const char* command;
};

class PreloadTest : public LeversTest, public ::testing::WithParamInterface<Preload> {};

TEST_P(PreloadTest, IsFoundAndReleased) {
  PuppetProcess puppet("puppet_glibc", Preloading(GetParam().library));
  EXPECT_THAT(Attach(puppet).runtime(), MatchesRegex(GetParam().runtime));
  puppet.Call(GetParam().command);
  const long before_kib = puppet.Number("anon");
  EXPECT_EQ(governor_.Ask(Release(256 * kMiB)).status(), v1::Outcome::STATUS_DONE);
  EXPECT_LT(puppet.Number("anon"), before_kib - 150 * 1024);
}

// mimalloc's agent reaches only what ended threads left; jemalloc purges that by itself.
INSTANTIATE_TEST_SUITE_P(Libraries, PreloadTest,
                         ::testing::Values(Preload{JEMALLOC, "jemalloc 5\\.[0-9.]+", "holders 2 128"},
                                           Preload{GPERFTOOLS, "gperftools 2\\.[0-9]+", "holders 2 128"},
                                           Preload{MIMALLOC, "mimalloc [0-9.]+", "workers 2 128"}));

TEST_F(LeversTest, APrefixedJemallocAndAPreloadedGperftoolsAreBothDriven) {
  PuppetProcess puppet("puppet_jemalloc_prefixed", Preloading(GPERFTOOLS));
  const v1::Hello hello = Attach(puppet);
  EXPECT_THAT(hello.runtime(), MatchesRegex("jemalloc [0-9.]+ \\+ gperftools 2\\.[0-9]+"));
  EXPECT_TRUE(hello.capabilities().release_in_chunks());
  EXPECT_EQ(hello.capabilities().stall_class(), v1::STALL_CLASS_MEDIUM);
  puppet.Call("grow 128");  // of jemalloc
  puppet.Call("free");
  WaitForRetained(90 * kMiB, 128 * kMiB);
  EXPECT_GT(Returned(governor_.Ask(Release(256 * kMiB))), 90 * kSignedMiB);
}

class MimallocTest : public LeversTest {
 protected:
  PuppetProcess puppet_{"puppet_glibc", Preloading(Mimalloc())};
};

TEST_F(MimallocTest, IsTold) {
  const v1::Hello hello = Attach(puppet_);
  EXPECT_THAT(hello.runtime(), MatchesRegex("mimalloc [0-9]\\.[0-9]+\\.[0-9]+"));
  EXPECT_TRUE(hello.capabilities().release());
  EXPECT_FALSE(hello.capabilities().release_in_chunks());
  EXPECT_TRUE(hello.capabilities().needs_owner_thread());
  EXPECT_TRUE(hello.capabilities().set_release_mode());
  const v1::Report report = WaitForReport([](const v1::Report&) { return true; });
  EXPECT_EQ(report.retained_kind(), v1::ESTIMATE_KIND_NONE);
  EXPECT_EQ(report.retained_bytes(), 0u);
}

TEST_F(MimallocTest, ModesEndAndRestoreWhatWasThereBefore) {
  Attach(puppet_);
  const std::string before = puppet_.Call("settings");
  EXPECT_EQ(governor_.Ask(SetMode(v1::RELEASE_MODE_LAZY, 60000)).status(), v1::Outcome::STATUS_DONE);
  const std::string lazy = puppet_.Call("settings");
  EXPECT_NE(lazy, before);
  EXPECT_EQ(governor_.Ask(SetMode(v1::RELEASE_MODE_EAGER, 60000)).status(), v1::Outcome::STATUS_DONE);
  EXPECT_NE(puppet_.Call("settings"), before);
  EXPECT_NE(puppet_.Call("settings"), lazy);
  puppet_.Call("stop");
  EXPECT_EQ(puppet_.Call("settings"), before);
}

TEST_F(MimallocTest, EagerReturnsWhatIsFreedFromThenOn) {
  Attach(puppet_);
  EXPECT_EQ(governor_.Ask(SetMode(v1::RELEASE_MODE_EAGER, 60000)).status(), v1::Outcome::STATUS_DONE);
  puppet_.Call("grow 256");
  puppet_.Call("free");
  puppet_.Call("churn");
  EXPECT_LT(puppet_.Number("anon"), 80 * 1024);
  EXPECT_LT(puppet_.Number("lazy"), 16 * 1024);
}

TEST_F(MimallocTest, LazyGivesUpWithMadvFree) {
  Attach(puppet_);
  EXPECT_EQ(governor_.Ask(SetMode(v1::RELEASE_MODE_LAZY, 60000)).status(), v1::Outcome::STATUS_DONE);
  puppet_.Call("grow 128");
  puppet_.Call("workers 2 64");
  puppet_.Call("free");
  puppet_.Call("churn");
  governor_.Ask(Release(0));  // from 2.1.2 on, mimalloc waits for somebody to call
  EXPECT_GT(puppet_.Number("lazy"), 16 * 1024);
}

TEST_F(LeversTest, TheUsersMimallocVariablesWin) {
  PuppetProcess puppet("puppet_mimalloc", {"MIMALLOC_PURGE_DELAY=5"});
  EXPECT_FALSE(Attach(puppet).capabilities().set_release_mode());
  EXPECT_THAT(governor_.Ask(SetMode(v1::RELEASE_MODE_EAGER, 1000)).why(), StartsWith("the user configured"));
}

// What a living thread has freed is beyond the agent's reach, until the thread passes a checkpoint.
TEST_F(MimallocTest, ACheckpointReturnsWhatOnlyItsThreadCan) {
  Attach(puppet_);
  puppet_.Call("owner");
  EXPECT_EQ(governor_.Ask(Release(1 << 30)).status(), v1::Outcome::STATUS_DONE);
  const long kept_kib = puppet_.Number("anon");
  puppet_.Call("owner_pass");
  const long given_kib = kept_kib - puppet_.Number("anon");
  EXPECT_GT(given_kib, 512);
  std::printf("mimalloc: a checkpoint gave %ld KiB that a release had left\n", given_kib);
}

// What no thread owns any more is within reach of the agent's thread.
TEST_F(MimallocTest, ReleaseReturnsWhatEndedThreadsLeft) {
  Attach(puppet_);
  puppet_.Call("workers 2 128");
  const v1::Outcome outcome = governor_.Ask(Release(256 * kMiB));
  EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DONE);
  std::printf("mimalloc: returned %ld MiB of what ended threads left in %.1f ms\n",
              static_cast<long>(Returned(outcome) >> 20), static_cast<double>(outcome.wall_us()) / 1000);
  EXPECT_LT(puppet_.Number("anon"), 80 * 1024);
}

}  // namespace
}  // namespace memgov::testing
