#include "governor/core/ledger.h"

#include <gtest/gtest.h>

#include <limits>

#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::At;

constexpr CgroupId kCgroup{7}, kOther{8};
constexpr ClientId kOne{1}, kTwo{2};

class LedgerTest : public ::testing::Test {
 protected:
  LedgerTest() {
    Attach(kOne);
    usage_[kCgroup] = 1000 * kMiB;
    usage_[kOther] = 1000 * kMiB;
  }

  void Attach(ClientId client, CgroupId cgroup = kCgroup) {
    ledger_.Apply(now_, ClientAttached{.client = client, .cgroup = cgroup});
  }
  ClientState& client(ClientId id = kOne) { return ledger_.At(id); }
  Learned& learned(ClientId id = kOne) { return client(id).learned; }

  DirectiveId Ask(Bytes expected, Bytes estimated, ClientId id = kOne, Action action = Release{}) {
    const DirectiveId directive{next_++};
    ledger_.Add({.directive = {.id = directive, .client = id, .deadline = seconds(2), .action = action},
                 .cgroup = client(id).info.cgroup,
                 .sent_at = now_,
                 .usage_before = usage_[client(id).info.cgroup],
                 .estimated = estimated,
                 .expected = expected,
                 .patience = milliseconds(500),
                 .gives = true,
                 .cooldown = seconds(5)});
    return directive;
  }
  void Answer(DirectiveId directive, Bytes claimed, OutcomeStatus status = OutcomeStatus::kDone,
              ClientId id = kOne) {
    ledger_.Apply(now_, ClientOutcome{.client = id,
                                      .directive = directive,
                                      .received_at = now_,
                                      .status = status,
                                      .why = "because",
                                      .before = 2 * kGiB,
                                      .after = 2 * kGiB - claimed});
  }
  // With all cgroups read now.
  std::vector<Closed> Close() {
    return ledger_.Close(now_, [this](CgroupId id) -> std::optional<Ledger::Reading> {
      const auto it = usage_.find(id);
      if (it == usage_.end()) return std::nullopt;
      return Ledger::Reading{it->second, read_at_.value_or(now_)};
    });
  }
  // One whole request that returns `returned` of `asked`; the answer closes it.
  void Round(Bytes asked, Bytes estimated, Bytes returned) {
    const DirectiveId directive = Ask(asked, estimated);
    usage_[kCgroup] -= returned;
    Answer(directive, returned);
    ASSERT_EQ(Close().size(), 1U);
    usage_[kCgroup] += returned;
  }

  Ledger ledger_;
  Instant now_ = At(seconds(0));
  std::map<CgroupId, Bytes> usage_;
  std::optional<Instant> read_at_;
  std::uint64_t next_ = 1;
};

TEST_F(LedgerTest, WhatTheCgroupLostIsReturnedNotWhatIsClaimed) {
  const DirectiveId directive = Ask(300 * kMiB, 300 * kMiB);
  usage_[kCgroup] -= 200 * kMiB;
  Answer(directive, 300 * kMiB);
  const auto closed = Close();
  ASSERT_EQ(closed.size(), 1U);
  EXPECT_EQ(closed[0].kind, NoteKind::kReturned);
  EXPECT_EQ(closed[0].returned, 200 * kMiB);
}

TEST_F(LedgerTest, AClientIsCreditedWithNoMoreThanItClaims) {
  const DirectiveId directive = Ask(300 * kMiB, 300 * kMiB);
  usage_[kCgroup] -= 300 * kMiB;  // somebody else gave back too
  Answer(directive, 100 * kMiB);
  EXPECT_EQ(Close()[0].returned, 100 * kMiB);
}

TEST_F(LedgerTest, AnOutcomeWaitsForAReadingThatIsNotOlder) {
  const DirectiveId directive = Ask(300 * kMiB, 300 * kMiB);
  now_ += milliseconds(50);
  read_at_ = now_ - milliseconds(1);
  Answer(directive, 300 * kMiB);
  EXPECT_TRUE(Close().empty());
  EXPECT_TRUE(client().giving);
  read_at_ = now_;
  EXPECT_EQ(Close().size(), 1U);
  EXPECT_FALSE(client().giving);
}

TEST_F(LedgerTest, AnOutcomeWithoutAReadingClosesAfterASecond) {
  const DirectiveId directive = Ask(300 * kMiB, 300 * kMiB);
  read_at_ = now_;
  now_ += milliseconds(1900);
  Answer(directive, 300 * kMiB);
  now_ += milliseconds(999);
  EXPECT_TRUE(Close().empty());
  EXPECT_EQ(ledger_.NextDeadline(now_), now_ + milliseconds(1));
  now_ += milliseconds(1);
  EXPECT_EQ(Close()[0].returned, 0);
}

TEST_F(LedgerTest, NoOutcomeLongAfterTheDeadlineIsExpired) {
  Ask(300 * kMiB, 300 * kMiB);
  now_ += milliseconds(3999);
  EXPECT_TRUE(Close().empty()) << "what began by the deadline may end later";
  now_ += milliseconds(1);
  const auto closed = Close();
  ASSERT_EQ(closed.size(), 1U);
  EXPECT_EQ(closed[0].kind, NoteKind::kExpired);
  EXPECT_EQ(closed[0].why, "no outcome, long after the deadline");
  EXPECT_EQ(learned().fruitless, 1);
  EXPECT_EQ(learned().ask_again_at, now_ + seconds(10));
}

TEST_F(LedgerTest, LateRepeatedAndForeignOutcomesNameNothing) {
  Attach(kTwo, kOther);
  const DirectiveId directive = Ask(300 * kMiB, 300 * kMiB);
  Answer(directive, 300 * kMiB, OutcomeStatus::kDone, kTwo);
  EXPECT_FALSE(ledger_.in_flight().at(directive).outcome);
  Answer(directive, 10 * kMiB, OutcomeStatus::kDeclined);
  Answer(directive, 300 * kMiB);
  EXPECT_EQ(ledger_.in_flight().at(directive).outcome->status, OutcomeStatus::kDeclined);
  Close();
  Answer(directive, 300 * kMiB);
  Answer(DirectiveId{99}, 300 * kMiB);
  EXPECT_TRUE(ledger_.in_flight().empty());
}

TEST_F(LedgerTest, AClientThatLeavesMidRequestExpires) {
  Ask(300 * kMiB, 300 * kMiB);
  ledger_.Apply(now_, ClientDetached{kOne});
  const auto closed = Close();
  ASSERT_EQ(closed.size(), 1U);
  EXPECT_EQ(closed[0].kind, NoteKind::kExpired);
  EXPECT_EQ(closed[0].why, "the client left");
  EXPECT_TRUE(ledger_.in_flight().empty());
}

TEST_F(LedgerTest, ACgroupThatVanishedReturnedNothing) {
  const DirectiveId directive = Ask(300 * kMiB, 300 * kMiB);
  usage_.erase(kCgroup);
  Answer(directive, 300 * kMiB);
  EXPECT_EQ(Close()[0].returned, 0);
}

TEST_F(LedgerTest, AReconnectForgetsNoCooldown) {
  Ask(300 * kMiB, 300 * kMiB);
  ledger_.Apply(now_, ClientDetached{kOne});
  Attach(kTwo);
  EXPECT_EQ(learned(kTwo).ask_again_at, now_ + seconds(10));
  EXPECT_EQ(learned(kTwo).fruitless, 1);
  Attach(ClientId{3}, kOther);
  EXPECT_LE(learned(ClientId{3}).ask_again_at, now_);
  now_ += seconds(10);
  Attach(ClientId{4});
  EXPECT_LE(learned(ClientId{4}).ask_again_at, now_);
}

TEST_F(LedgerTest, OneThatLeftUnansweredMaySoonBeAskedAgainWhereItIsUrgent) {
  Ask(300 * kMiB, 300 * kMiB);
  ledger_.Apply(now_, ClientDetached{kOne});
  Attach(kTwo);
  EXPECT_EQ(learned(kTwo).ask_again_at, now_ + seconds(10));
  EXPECT_EQ(learned(kTwo).ask_again_in_haste_at, now_ + seconds(2));
  EXPECT_EQ(learned(kTwo).ask_again_at_earliest, now_ + milliseconds(100));
}

// Its connection may break before or after the kill is counted.
TEST_F(LedgerTest, AProgramThatStartsAfterAKillInheritsNothing) {
  Ask(300 * kMiB, 300 * kMiB);
  ledger_.Killed(now_, kCgroup);
  ledger_.Apply(now_, ClientDetached{kOne});
  now_ += seconds(5);
  Attach(kTwo);
  EXPECT_EQ(learned(kTwo).fruitless, 0);
  EXPECT_LE(learned(kTwo).ask_again_at, now_);
  Ask(300 * kMiB, 300 * kMiB, kTwo);
  ledger_.Apply(now_, ClientDetached{kTwo});
  Attach(ClientId{3});
  EXPECT_EQ(learned(ClientId{3}).fruitless, 1) << "one kill is one restart";
}

TEST_F(LedgerTest, WhatASlowClientGivesAfterItsDeadlineCounts) {
  const DirectiveId directive = Ask(300 * kMiB, 300 * kMiB);
  now_ += milliseconds(3000);  // of a deadline of two seconds
  EXPECT_TRUE(Close().empty());
  usage_[kCgroup] -= 300 * kMiB;
  Answer(directive, 300 * kMiB);
  const auto closed = Close();
  ASSERT_EQ(closed.size(), 1U);
  EXPECT_EQ(closed[0].kind, NoteKind::kReturned);
  EXPECT_EQ(closed[0].returned, 300 * kMiB);
  EXPECT_EQ(learned().fruitless, 0);
}

TEST_F(LedgerTest, WhatGrewWhileTheClientWasAtWorkDoesNotHideWhatItGave) {
  const DirectiveId directive = Ask(300 * kMiB, 300 * kMiB);
  now_ += milliseconds(50);
  usage_[kCgroup] += 250 * kMiB;
  Close();
  now_ += milliseconds(50);
  usage_[kCgroup] -= 300 * kMiB;
  Answer(directive, 300 * kMiB);
  EXPECT_EQ(Close()[0].returned, 300 * kMiB);
}

TEST_F(LedgerTest, TheSameDropIsNotCreditedToTwoClientsOfACgroup) {
  Attach(kTwo);
  const DirectiveId honest = Ask(100 * kMiB, 100 * kMiB), liar = Ask(100 * kMiB, 100 * kMiB, kTwo);
  usage_[kCgroup] -= 100 * kMiB;
  Answer(honest, 100 * kMiB);
  Answer(liar, 100 * kMiB, OutcomeStatus::kDone, kTwo);
  const auto closed = Close();
  ASSERT_EQ(closed.size(), 2U);
  EXPECT_EQ(closed[0].returned + closed[1].returned, 100 * kMiB);
}

TEST_F(LedgerTest, TwoHonestClientsOfACgroupAreBothCredited) {
  Attach(kTwo);
  const DirectiveId one = Ask(100 * kMiB, 100 * kMiB), two = Ask(100 * kMiB, 100 * kMiB, kTwo);
  usage_[kCgroup] -= 100 * kMiB;
  Answer(one, 100 * kMiB);
  EXPECT_EQ(Close()[0].returned, 100 * kMiB);
  now_ += milliseconds(10);
  usage_[kCgroup] -= 50 * kMiB;
  Answer(two, 50 * kMiB, OutcomeStatus::kDone, kTwo);
  EXPECT_EQ(Close()[0].returned, 50 * kMiB);
}

TEST_F(LedgerTest, ALiarsYieldFallsToALeastAndItsCooldownDoubles) {
  Round(100 * kMiB, 100 * kMiB, 0);
  EXPECT_NEAR(learned().yield(ActionKind::kRelease), 0.7, 1e-9);
  EXPECT_EQ(learned().ask_again_at, now_ + milliseconds(1000));
  Round(70 * kMiB, 100 * kMiB, 0);
  EXPECT_NEAR(learned().yield(ActionKind::kRelease), 0.49, 1e-9);
  EXPECT_EQ(learned().ask_again_at, now_ + milliseconds(2000));
  for (int i = 0; i < 20; ++i) Round(10 * kMiB, 100 * kMiB, 0);
  EXPECT_EQ(learned().yield(ActionKind::kRelease), 0.05);
  EXPECT_EQ(learned().ask_again_at, now_ + milliseconds(500 * 64));
}

TEST_F(LedgerTest, YieldsOfActionsAreLearnedApart) {
  const DirectiveId directive = Ask(100 * kMiB, 100 * kMiB, kOne, Collect{});
  Answer(directive, 0);
  Close();
  EXPECT_LT(learned().yield(ActionKind::kCollect), 1);
  EXPECT_EQ(learned().yield(ActionKind::kRelease), 1);
}

TEST_F(LedgerTest, WhoReturnsAllThatWasAskedEarnsItsTrustBack) {
  learned().yield(ActionKind::kRelease) = 0.05;
  // Stops at its target of 5 MiB of the 100 it reports: that is no evidence against it.
  Round(5 * kMiB, 100 * kMiB, 5 * kMiB);
  EXPECT_GT(learned().yield(ActionKind::kRelease), 0.3);
}

TEST_F(LedgerTest, AnEstimateThatIsAlwaysTwiceTheTruthConvergesToAHalf) {
  for (int i = 0; i < 30; ++i) {
    const auto asked = static_cast<Bytes>(200.0 * kMiB * learned().yield(ActionKind::kRelease));
    Round(asked, 200 * kMiB, 100 * kMiB);
  }
  EXPECT_NEAR(learned().yield(ActionKind::kRelease), 0.5, 0.16);
}

TEST_F(LedgerTest, LessThanHalfAMiBIsNothing) {
  Round(100 * kMiB, 100 * kMiB, kMiB / 2 - 1);
  EXPECT_EQ(learned().fruitless, 1);
  Round(100 * kMiB, 100 * kMiB, kMiB / 2);
  EXPECT_EQ(learned().fruitless, 0);
  EXPECT_EQ(learned().ask_again_at, now_ + milliseconds(500));
}

// The policy's cooldown is 5 s: 20 times what the request took, but between a tenth of it and the whole.
TEST_F(LedgerTest, TheCooldownFollowsWhatTheRequestTook) {
  const auto cooldown_after = [this](Duration took) {
    const DirectiveId directive = Ask(100 * kMiB, 100 * kMiB);
    now_ += took;
    usage_[kCgroup] -= 100 * kMiB;
    Answer(directive, 100 * kMiB);
    Close();
    usage_[kCgroup] += 100 * kMiB;
    return learned().ask_again_at - now_;
  };
  EXPECT_EQ(cooldown_after(milliseconds(1)), milliseconds(500));
  EXPECT_EQ(cooldown_after(milliseconds(25)), milliseconds(500));
  EXPECT_EQ(cooldown_after(milliseconds(150)), seconds(3));
  EXPECT_EQ(cooldown_after(milliseconds(250)), seconds(5));
  EXPECT_EQ(cooldown_after(milliseconds(1900)), seconds(5));
}

TEST_F(LedgerTest, ARefusalDoublesTheCooldownButSaysNothingAboutTheEstimate) {
  Answer(Ask(100 * kMiB, 100 * kMiB), 0, OutcomeStatus::kDeclined);
  const auto closed = Close();
  EXPECT_EQ(closed[0].kind, NoteKind::kDeclined);
  EXPECT_EQ(closed[0].why, "because");
  EXPECT_EQ(learned().yield(ActionKind::kRelease), 1);
  EXPECT_EQ(learned().fruitless, 1);
}

TEST_F(LedgerTest, AHopeTeachesNoYield) {
  Round(0, 0, 50 * kMiB);
  Round(0, 0, 0);
  EXPECT_EQ(learned().yield(ActionKind::kRelease), 1);
  EXPECT_EQ(learned().fruitless, 1);
}

TEST_F(LedgerTest, ASilentClientIsCountedOnForItsPatienceOnly) {
  const DirectiveId directive = Ask(100 * kMiB, 100 * kMiB);
  const InFlight& request = ledger_.in_flight().at(directive);
  EXPECT_EQ(ledger_.NextDeadline(now_), now_ + milliseconds(500));
  EXPECT_TRUE(request.CountsAt(now_ + milliseconds(499)));
  EXPECT_FALSE(request.CountsAt(now_ + milliseconds(500)));
  EXPECT_EQ(ledger_.NextDeadline(now_ + milliseconds(500)), now_ + seconds(4));
  Answer(directive, 0);
  EXPECT_TRUE(request.CountsAt(now_ + milliseconds(500)));
}

TEST_F(LedgerTest, NumbersThatNoProcessCanMeanAreCut) {
  constexpr Bytes kHuge = std::numeric_limits<Bytes>::max();
  ledger_.Apply(now_, ClientReport{.client = kOne, .live = kHuge, .retained = -1, .non_heap = kHuge});
  EXPECT_EQ(client().report->live, Bytes{1} << 47);
  EXPECT_EQ(client().report->retained, 0);
  const DirectiveId directive = Ask(100 * kMiB, 100 * kMiB);
  ledger_.Apply(now_, ClientOutcome{.client = kOne,
                                    .directive = directive,
                                    .received_at = now_,
                                    .status = OutcomeStatus::kDone,
                                    .before = std::numeric_limits<Bytes>::min(),
                                    .after = kHuge});
  EXPECT_EQ(Close()[0].returned, 0);
}

TEST_F(LedgerTest, EventsOfUnknownClientsAreIgnored) {
  ledger_.Apply(now_, ClientReport{.client = kTwo});
  ledger_.Apply(now_, ClientDetached{kTwo});
  EXPECT_EQ(ledger_.size(), 1U);
}

}  // namespace
}  // namespace memgov::core
