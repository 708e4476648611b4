// Another policy over the same record.

#include "governor/journal/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "governor/journal/answers.h"
#include "governor/journal/recorder.h"
#include "governor/journal/test_story.h"
#include "tests/cpp/temporary_directory.h"

namespace memgov::journal {
namespace {

using core::ClientId;
using core::DirectiveId;
using ::testing::ElementsAre;
using ::testing::Pair;

core::Policy EnforcingFrom(double wake) {
  core::Rule rule{.name = "all", .mode = core::Mode::kEnforce};
  rule.wake.usage_percent = wake;
  rule.relax_percent = wake - 5;
  return {.rules = {rule}};
}

class CompareTest : public ::testing::Test {
 protected:
  // One container of 1000 MiB that grows by 1 % each second from 50 to 99 %, with a client that can give.
  void RecordGrowth(const core::Policy& policy) const {
    Recorder recorder({.directory = directory_.path()});
    core::Engine engine(policy);
    recorder.SetPolicy(policy);
    core::Instant now{std::chrono::hours(1)};
    for (int percent = 50; percent < 100; ++percent) {
      core::Snapshot snapshot;
      std::vector<core::ClientEvent> events;
      const core::CgroupId id{1};
      if (percent == 50) {
        snapshot.appeared.push_back({.id = id, .path = "/a"});
        events.emplace_back(core::ClientAttached{
            .client = ClientId{1}, .cgroup = id, .pid = 7, .name = "db", .capabilities = {.release = true}});
      }
      now += std::chrono::seconds(1);
      events.emplace_back(core::ClientReport{.client = ClientId{1},
                                             .received_at = now,
                                             .retained = 300 * core::kMiB,
                                             .retained_kind = core::EstimateKind::kExact});
      snapshot.samples.push_back(
          {.id = id, .taken_at = now, .usage = percent * 10 * core::kMiB, .limit = 1000 * core::kMiB});
      if (percent == 99)
        snapshot.kills.push_back({.at = now, .pid = 9, .name = "x", .domain = "/a", .cgroup = "/a"});
      recorder.Tick(now, snapshot, events, engine.Tick(now, snapshot, events));
    }
  }

  const TemporaryDirectory directory_;
};

TEST_F(CompareTest, ThePolicyThatWasInForceComesToTheSame) {
  RecordGrowth(EnforcingFrom(85));
  const auto same = Compare(directory_.path(), EnforcingFrom(85));
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(same->ticks, 50u);
  EXPECT_GT(same->recorded.total.requests, 0u);
  EXPECT_EQ(same->recorded.total.requests, same->replayed.total.requests);
  EXPECT_EQ(same->recorded.total.bytes, same->replayed.total.bytes);
  EXPECT_EQ(same->recorded.notes, same->replayed.notes);
}

TEST_F(CompareTest, AnEarlierWakeAsksEarlierAndMoreOfTheSame) {
  RecordGrowth(EnforcingFrom(90));
  const auto earlier = Compare(directory_.path(), EnforcingFrom(70));
  ASSERT_TRUE(earlier.ok()) << earlier.status();
  const Asked& recorded = earlier->recorded.containers.at("/a");
  const Asked& replayed = earlier->replayed.containers.at("/a");
  EXPECT_EQ(*recorded.first - *replayed.first, std::chrono::seconds(20));
  EXPECT_GT(replayed.requests, recorded.requests);
  EXPECT_THAT(replayed.whom, ElementsAre("db (pid 7)"));
  EXPECT_EQ(earlier->recorded.kills, 1u);
  EXPECT_EQ(earlier->replayed.kills, 1u);
  EXPECT_EQ(earlier->replayed.kills_asked, 1u);
  EXPECT_EQ(earlier->replayed.longest_lead, std::chrono::seconds(29));
  EXPECT_EQ(earlier->recorded.longest_lead, std::chrono::seconds(9));
}

TEST_F(CompareTest, APolicyThatObservesWouldAsk) {
  RecordGrowth(EnforcingFrom(85));
  const auto observing = Compare(directory_.path(), {});
  ASSERT_TRUE(observing.ok()) << observing.status();
  EXPECT_EQ(observing->replayed.total.requests, 0u);
  EXPECT_GT(observing->replayed.total.would_requests, 0u);
}

TEST_F(CompareTest, AStoryOfAllKindsGoesThroughAnyPolicy) {
  {
    Recorder recorder({.directory = directory_.path()});
    Story story(1, &recorder);
    for (int i = 0; i < 1000; ++i) story.Step();
  }
  for (const double wake : {60.0, 85.0, 99.0}) {
    const auto comparison = Compare(directory_.path(), EnforcingFrom(wake));
    ASSERT_TRUE(comparison.ok()) << comparison.status();
    EXPECT_EQ(comparison->ticks, 1000u);
    EXPECT_GT(comparison->recorded.total.requests, 0u);
  }
}

TEST(Answers, GoToTheOldestOpenRequestOfTheKindToTheClient) {
  Answers answers;
  const auto release = [](int id, int client) {
    return core::Directive{.id = DirectiveId(id), .client = ClientId(client), .action = core::Release{}};
  };
  answers.Recorded({.directives = {release(10, 1), release(11, 2), release(12, 3)}});
  answers.Replayed({.directives = {release(1, 2), release(2, 1), release(3, 1)}});
  const std::vector<core::ClientEvent> events = answers.For({
      core::ClientOutcome{.client = ClientId{1}, .directive = DirectiveId{10}},
      core::ClientOutcome{.client = ClientId{3}, .directive = DirectiveId{12}},
      core::ClientOutcome{.client = ClientId{2}, .directive = DirectiveId{11}},
      core::ClientDetached{ClientId{2}},
  });
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(std::get<core::ClientOutcome>(events[0]).directive, DirectiveId{2});
  EXPECT_EQ(std::get<core::ClientOutcome>(events[1]).directive, DirectiveId{1});
}

}  // namespace
}  // namespace memgov::journal
