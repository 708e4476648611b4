#include "governor/session/intake.h"

#include <gtest/gtest.h>

namespace memgov::session {
namespace {

using std::chrono::milliseconds;

core::Instant At(int ms) { return core::Instant(milliseconds(ms)); }

core::ClientReport Report(core::Bytes live) {
  core::ClientReport report;
  report.live = live;
  return report;
}

TEST(Intake, OneReportAWindowGoesOnAtOnce) {
  Intake intake;
  EXPECT_FALSE(intake.Roll(At(0)));
  EXPECT_EQ(intake.Offer(Report(1))->live, 1);
  EXPECT_FALSE(intake.Roll(At(50)));
  EXPECT_EQ(intake.Offer(Report(2))->live, 2);
}

TEST(Intake, OfTheOthersTheNewestGoesOnWhenTheWindowEnds) {
  Intake intake;
  intake.Roll(At(0));
  intake.Offer(Report(1));
  EXPECT_FALSE(intake.Offer(Report(2)));
  EXPECT_FALSE(intake.Offer(Report(3)));
  EXPECT_TRUE(intake.holds());
  EXPECT_FALSE(intake.Roll(At(49)));
  EXPECT_EQ(intake.UntilRoll(At(49)), milliseconds(1));
  EXPECT_EQ(intake.Roll(At(50))->live, 3);
  EXPECT_FALSE(intake.holds());
}

TEST(Intake, AHeldReportIsTheOneOfTheNextWindow) {
  Intake intake;
  intake.Roll(At(0));
  intake.Offer(Report(1));
  intake.Offer(Report(2));
  intake.Roll(At(60));
  EXPECT_FALSE(intake.Offer(Report(3)));
  EXPECT_EQ(intake.Roll(At(110))->live, 3);
}

TEST(Intake, AnOutcomeMayFetchTheHeldReport) {
  Intake intake;
  intake.Roll(At(0));
  intake.Offer(Report(1));
  intake.Offer(Report(2));
  EXPECT_EQ(intake.TakeHeld()->live, 2);
  EXPECT_FALSE(intake.TakeHeld());
  EXPECT_FALSE(intake.Roll(At(50)));
}

TEST(Intake, AReportThatMayNotGoOnYetGivesWayToANewerOne) {
  Intake intake;
  intake.Roll(At(0));
  intake.Hold(*intake.Offer(Report(1)));
  EXPECT_TRUE(intake.holds());
  intake.Offer(Report(2));
  intake.Hold(Report(1));
  EXPECT_EQ(intake.Roll(At(50))->live, 2);
}

TEST(Intake, IsFullAfterSoManyFramesUntilTheWindowEnds) {
  Intake intake;
  intake.Roll(At(0));
  intake.Count(Intake::kFrames - 1);
  EXPECT_FALSE(intake.full());
  intake.Count(1);
  EXPECT_TRUE(intake.full());
  intake.Roll(At(49));
  EXPECT_TRUE(intake.full());
  intake.Roll(At(50));
  EXPECT_FALSE(intake.full());
}

}  // namespace
}  // namespace memgov::session
