// Allocators inside of objects that a program loads: found by their names in the file, driven, or named.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "client/c/testing/levers_fixture.h"

namespace memgov::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

// Debian's jemalloc wants room among the thread-local data of the program; those in wheels are built to do
// without.
const std::vector<std::string> kRoom = {"GLIBC_TUNABLES=glibc.rtld.optional_static_tls=16384"};

// The runtime as the last of so many sessions told it; the client takes up another one when it finds
// something.
std::string Runtime(FakeGovernor& governor, std::size_t sessions) {
  EXPECT_TRUE(governor.WaitFor([&](const auto& heard) { return heard.hellos.size() >= sessions; }));
  return governor.heard().hellos.back().runtime();
}

TEST_F(LeversTest, AJemallocInsideAnObjectIsFoundAndReleased) {
  PuppetProcess puppet("puppet_glibc", kRoom);
  EXPECT_THAT(Attach(puppet).runtime(), MatchesRegex("glibc [0-9.]+"));
  ASSERT_EQ(puppet.Call(std::string("plugin ") + PLUGIN + " 256"), "held");
  EXPECT_THAT(Runtime(governor_, 2),
              MatchesRegex("jemalloc 5\\.[0-9.]+ in libmemgov_plugin.so \\+ glibc [0-9.]+"));
  WaitForRetained(200 * kMiB, 256 * kMiB);
  const v1::Outcome outcome = governor_.Ask(Release(200 * kMiB));
  EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DONE) << outcome.why();
  EXPECT_GT(Returned(outcome), 200 * static_cast<std::int64_t>(kMiB));
}

// One that the plugin is linked with, and that nobody else sees: loaded objects have local scopes.
TEST_F(LeversTest, AMimallocInsideAnObjectIsFoundAndReleased) {
  PuppetProcess puppet("puppet_glibc", kRoom);
  Attach(puppet);
  ASSERT_EQ(puppet.Call(std::string("plugin ") + PLUGIN_MIMALLOC + " 256"), "held");
  EXPECT_THAT(Runtime(governor_, 2), MatchesRegex("mimalloc in libmimalloc[^ ]* \\+ glibc [0-9.]+"));
  const v1::Outcome outcome = governor_.Ask(Release(200 * kMiB));
  EXPECT_EQ(outcome.status(), v1::Outcome::STATUS_DONE) << outcome.why();
  EXPECT_GT(Returned(outcome), 200 * static_cast<std::int64_t>(kMiB));
}

TEST_F(LeversTest, ItIsFoundAgainByAProcessThatAttachesAgain) {
  PuppetProcess puppet("puppet_glibc", kRoom);
  Attach(puppet);
  ASSERT_EQ(puppet.Call(std::string("plugin ") + PLUGIN + " 128"), "held");
  EXPECT_THAT(Runtime(governor_, 2), HasSubstr("jemalloc"));
  puppet.Call("stop");
  EXPECT_EQ(puppet.Call("start " + directory_.path()), "0");
  EXPECT_THAT(Runtime(governor_, 3), HasSubstr("jemalloc"));
}

TEST_F(LeversTest, WhatIsOnlyCalledLikeAnAllocatorIsNamedAndNeverCalled) {
  PuppetProcess puppet("puppet_glibc");
  Attach(puppet);
  ASSERT_EQ(puppet.Call(std::string("plugin ") + PLUGIN_PRETENDS + " 128"), "held");
  EXPECT_THAT(Runtime(governor_, 2), HasSubstr("not driven: jemalloc? in libmemgov_plugin_pretends.so"));
  EXPECT_EQ(governor_.Ask(Release(0)).status(), v1::Outcome::STATUS_DONE);
  EXPECT_NE(puppet.Call("threads"), "") << "it lives";
}

TEST_F(LeversTest, ASmallProcessIsNotLookedInto) {
  PuppetProcess puppet("puppet_glibc", kRoom);
  Attach(puppet);
  ASSERT_EQ(puppet.Call(std::string("plugin ") + PLUGIN + " 16"), "held");
  for (int i = 0; i < 12; ++i) WaitForReport([](const v1::Report&) { return true; });
  EXPECT_EQ(governor_.heard().hellos.size(), 1u);
}

}  // namespace
}  // namespace memgov::testing
