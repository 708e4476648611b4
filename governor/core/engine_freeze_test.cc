// Who stands still in a critical domain of cgroup v1, for how long, and that it always ends.

#include "gmock/gmock.h"
#include "governor/core/testing.h"
#include "gtest/gtest.h"

namespace memgov::core::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

MATCHER_P2(Freezes, cgroup, on, "") { return arg.cgroup == cgroup && arg.on == on; }

Policy Freezing() {
  Rule rule{.name = "test", .mode = Mode::kEnforce};
  rule.brake.freeze = true;
  return PolicyOf(std::move(rule));
}

// A pod with a limit, a service with a client, and two tenants without; "/pod/fast" grows to the limit.
class EngineFreezeTest : public ::testing::Test {
 protected:
  explicit EngineFreezeTest(bool v2 = false) : v2_(v2) {}

  void SetUp() override {
    pod_ = node_.Add("/pod", 1000 * kMiB, v2_);
    service_ = node_.Add("/pod/service");
    slow_ = node_.Add("/pod/slow");
    fast_ = node_.Add("/pod/fast");
    client_ = node_.Attach(service_);
    node_.Report(client_, 500 * kMiB);
    node_.Charge(service_, 600 * kMiB);
    node_.Tick();
  }

  // 400 ms to critical; the decisions of the last tick.
  Decisions Grow() {
    Decisions decisions;
    for (int i = 0; i < 18; ++i) {
      node_.Charge(slow_, kMiB);
      node_.Charge(fast_, 20 * kMiB);
      node_.Pass(milliseconds(20));
      decisions = node_.Tick();
      if (!decisions.directives.empty()) asked_ = decisions.directives.front();
      if (!decisions.freezes.empty()) break;
    }
    return decisions;
  }
  Decisions After(Duration time) {
    node_.Pass(time);
    return node_.Tick();
  }
  std::vector<std::string> Said(const Decisions& decisions) const {
    return node_.Lines(decisions, {NoteKind::kFrozen, NoteKind::kThawed});
  }

  const bool v2_;
  Node node_{Freezing()};
  CgroupId pod_{}, service_{}, slow_{}, fast_{};
  ClientId client_{};
  Directive asked_;
};

class EngineFreezeOnV2Test : public EngineFreezeTest {
 protected:
  EngineFreezeOnV2Test() : EngineFreezeTest(true) {}
};

TEST_F(EngineFreezeTest, TheFastestGrowerStandsStillWhileHelpIsComing) {
  const Decisions decisions = Grow();
  EXPECT_THAT(decisions.freezes, ElementsAre(Freezes(fast_, true)));
  EXPECT_THAT(Said(decisions), ElementsAre(HasSubstr("frozen /pod /pod/fast")));
  EXPECT_LE(*decisions.next_tick, node_.now() + milliseconds(500));
  EXPECT_THAT(After(milliseconds(100)).freezes, IsEmpty());
}

TEST_F(EngineFreezeTest, NobodyStandsStillUnlessThePolicyAsksForIt) {
  node_.engine().SetPolicy(Enforcing());
  EXPECT_THAT(Grow().freezes, IsEmpty());
  EXPECT_EQ(asked_.client, client_);
}

TEST_F(EngineFreezeTest, NorInObserveMode) {
  Policy policy = Freezing();
  policy.rules[0].mode = Mode::kObserve;
  node_.engine().SetPolicy(policy);
  EXPECT_THAT(Grow().freezes, IsEmpty());
}

TEST_F(EngineFreezeTest, NorWhereItsOwnRuleDoesNotAllowIt) {
  Policy policy = Freezing();
  policy.rules.insert(policy.rules.begin(), {.name = "other", .cgroup = "/pod/fast", .mode = Mode::kEnforce});
  node_.engine().SetPolicy(policy);
  EXPECT_THAT(Grow().freezes, Not(Contains(Freezes(fast_, true))));
}

TEST_F(EngineFreezeOnV2Test, WhereMemoryHighSlowsGrowersNobodyStandsStill) {
  EXPECT_THAT(Grow().freezes, IsEmpty());
}

TEST_F(EngineFreezeTest, ACgroupWithAClientNeverStandsStill) {
  node_.Report(node_.Attach(fast_), 0);
  EXPECT_THAT(Grow().freezes, Not(Contains(Freezes(fast_, true))));
}

TEST_F(EngineFreezeTest, NobodyStandsStillInVain) {
  node_.Detach(client_);
  EXPECT_THAT(Grow().freezes, IsEmpty());
}

TEST_F(EngineFreezeTest, ItEndsWhenTheMemoryHasComeBack) {
  Grow();
  node_.Pass(milliseconds(150));
  node_.Deliver(asked_, 400 * kMiB);
  const Decisions decisions = node_.Tick();
  EXPECT_THAT(decisions.freezes, ElementsAre(Freezes(fast_, false)));
  EXPECT_THAT(Said(decisions), ElementsAre("thawed /pod /pod/fast : the need is over"));
}

TEST_F(EngineFreezeTest, ItEndsWhenNoHelpIsComingAnyMore) {
  Grow();
  node_.Answer(asked_, 0, OutcomeStatus::kFailed);
  const Decisions decisions = After(milliseconds(50));
  EXPECT_THAT(decisions.freezes, ElementsAre(Freezes(fast_, false)));
  EXPECT_THAT(Said(decisions), ElementsAre("thawed /pod /pod/fast : no help is coming any more"));
}

TEST_F(EngineFreezeTest, ItEndsAfterTheLongestAndThenThereIsAPause) {
  const Decisions frozen = Grow();
  ASSERT_THAT(frozen.freezes, SizeIs(1));
  const Decisions ended = After(milliseconds(500));
  EXPECT_THAT(Said(ended), ElementsAre("thawed /pod /pod/fast : the longest freeze is over"));
  // It goes on growing, and the request is still in flight.
  for (int i = 0; i < 10; ++i) {
    node_.Charge(fast_, kMiB);
    EXPECT_THAT(After(milliseconds(20)).freezes, IsEmpty());
  }
}

TEST_F(EngineFreezeTest, ItEndsWhenAClientComesInIt) {
  Grow();
  node_.Attach(fast_);
  EXPECT_THAT(Said(After(milliseconds(10))), ElementsAre("thawed /pod /pod/fast : a client has come in it"));
}

TEST_F(EngineFreezeTest, ItEndsWhenThePolicyForbidsIt) {
  Grow();
  node_.engine().SetPolicy(Observing());
  EXPECT_THAT(After(milliseconds(10)).freezes, ElementsAre(Freezes(fast_, false)));
}

TEST_F(EngineFreezeTest, AFailureIsSaidAndNotRepeatedAtOnce) {
  Grow();
  node_.FailFreeze(fast_, "we are in it ourselves");
  const Decisions decisions = After(milliseconds(10));
  EXPECT_THAT(decisions.freezes, ElementsAre(Freezes(fast_, false)));
  EXPECT_THAT(Said(decisions), ElementsAre(HasSubstr("it could not be frozen: we are in it ourselves")));
  EXPECT_THAT(After(milliseconds(10)).freezes, IsEmpty());
}

TEST_F(EngineFreezeTest, WhatVanishesIsForgottenAndThawed) {
  Grow();
  node_.Remove(fast_);
  EXPECT_THAT(After(milliseconds(10)).freezes, ElementsAre(Freezes(fast_, false)));
}

TEST_F(EngineFreezeTest, SoItIsWhenTheDomainVanishesToo) {
  Grow();
  for (const CgroupId id : {fast_, slow_, service_, pod_}) node_.Remove(id);
  EXPECT_THAT(After(milliseconds(10)).freezes, ElementsAre(Freezes(fast_, false)));
  EXPECT_THAT(After(milliseconds(10)).freezes, IsEmpty());
}

}  // namespace
}  // namespace memgov::core::testing
