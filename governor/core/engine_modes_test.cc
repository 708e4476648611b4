// Which release mode clients are told: eager while there is a need, lazy while there is none and the policy
// says so.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "governor/core/explain.h"
#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::seconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::Node;
using ::testing::Not;

constexpr Capabilities kSwitches{.set_release_mode = true, .release = true};

// The default TTL is 30 s.
class ModesTest : public ::testing::Test {
 protected:
  explicit ModesTest(ReleaseMode calm = ReleaseMode::kLazy, Mode mode = Mode::kEnforce)
      : node_(testing::PolicyOf({.name = "test", .mode = mode, .calm = {.release_mode = calm}})) {
    node_.Add("/slice", 2000 * kMiB);
    pod_ = node_.Add("/slice/pod", 1000 * kMiB);
    tenant_ = node_.Add("/slice/pod/a");
    node_.Charge(tenant_, 400 * kMiB);
  }
  ClientId Attach(const Capabilities& can = kSwitches, ReleaseMode startup = ReleaseMode::kUnknown) {
    const ClientId client{9};
    node_.Say(ClientAttached{
        .client = client, .cgroup = tenant_, .capabilities = can, .startup_release_mode = startup});
    node_.Report(client, 0);
    return client;
  }
  // Of the modes, with the time passed and a report.
  std::vector<std::string> ModesAfter(Duration time) {
    node_.Pass(time);
    node_.Report(ClientId{9}, 0);
    last_ = node_.Tick();
    std::vector<std::string> lines = node_.Lines(last_, {NoteKind::kAsked, NoteKind::kWouldAsk});
    std::erase_if(lines,
                  [](const std::string& line) { return line.find("release_mode") == std::string::npos; });
    return lines;
  }

  Node node_;
  CgroupId pod_{}, tenant_{};
  Decisions last_;
};

TEST_F(ModesTest, WhileAllIsCalmReleaseIsLazyAndThatIsRenewed) {
  Attach();
  EXPECT_THAT(ModesAfter({}), ElementsAre("asked c9 set_release_mode: lazy"));
  ASSERT_EQ(last_.directives.size(), 1U);
  EXPECT_EQ(std::get<SetReleaseMode>(last_.directives[0].action).mode, ReleaseMode::kLazy);
  EXPECT_EQ(last_.directives[0].level, Level::kCalm);
  EXPECT_EQ(last_.directives[0].domain, pod_);
  EXPECT_EQ(TextOf(last_.directives[0].reason), "rule test: usage 40.0 % of the limit, calm below 80 %");
  EXPECT_THAT(ModesAfter(seconds(14)), IsEmpty());
  EXPECT_THAT(ModesAfter(seconds(1)), ElementsAre("asked c9 set_release_mode: lazy"));
}

TEST_F(ModesTest, ANeedMakesItEagerUntilThatHasEnded) {
  Attach();
  ModesAfter({});
  node_.Charge(tenant_, 460 * kMiB);
  EXPECT_THAT(ModesAfter(seconds(1)), ElementsAre("asked c9 set_release_mode: eager"));
  node_.Charge(tenant_, -460 * kMiB);
  EXPECT_THAT(ModesAfter(seconds(29)), IsEmpty()) << "calm again, but its time to live has not ended";
  EXPECT_THAT(ModesAfter(seconds(1)), ElementsAre("asked c9 set_release_mode: lazy"));
}

TEST_F(ModesTest, BetweenRelaxAndWakeNobodyIsMadeLazy) {
  node_.Charge(tenant_, 420 * kMiB);
  Attach();
  EXPECT_THAT(ModesAfter({}), IsEmpty());
}

TEST_F(ModesTest, EveryLimitAboveHasToBeCalm) {
  node_.Charge(node_.Add("/slice/neighbour"), 1250 * kMiB);
  Attach();
  EXPECT_THAT(ModesAfter({}), IsEmpty()) << "the slice is above its relax threshold";
}

// It has no such mode, or was busy.
TEST_F(ModesTest, WhoDeclinesIsLeftAloneForTenMinutes) {
  Attach();
  ModesAfter({});
  node_.Answer(last_.directives[0], 0, OutcomeStatus::kDeclined);
  EXPECT_THAT(ModesAfter(seconds(1)), IsEmpty());
  EXPECT_THAT(ModesAfter(seconds(599)), IsEmpty());
  EXPECT_THAT(ModesAfter(seconds(1)), ElementsAre("asked c9 set_release_mode: lazy"));
}

TEST_F(ModesTest, OneThatCameBackEagerFinishesThat) {
  Attach();
  node_.Say(ClientReport{.client = ClientId{9}, .release_mode = ReleaseMode::kEager});
  EXPECT_THAT(node_.Lines(node_.Tick(), {NoteKind::kAsked}),
              Not(Contains("asked c9 set_release_mode: lazy")));
}

TEST_F(ModesTest, WhoCannotSwitchOrHasAModeIsLeftAlone) {
  Attach({.release = true});
  EXPECT_THAT(ModesAfter({}), IsEmpty());
  Attach(kSwitches, ReleaseMode::kLazy);
  EXPECT_THAT(ModesAfter(seconds(1)), IsEmpty());
  Attach(kSwitches, ReleaseMode::kEager);
  EXPECT_THAT(ModesAfter(seconds(1)), IsEmpty());
}

class OwnModeTest : public ModesTest {
 protected:
  OwnModeTest() : ModesTest(ReleaseMode::kUnknown) {}
};

TEST_F(OwnModeTest, ItIsTheProgramsOwnUnlessThePolicySaysSo) {
  Attach();
  EXPECT_THAT(ModesAfter({}), IsEmpty());
}

class ObservedModesTest : public ModesTest {
 protected:
  ObservedModesTest() : ModesTest(ReleaseMode::kLazy, Mode::kObserve) {}
};

TEST_F(ObservedModesTest, ObserveModeSaysItAtTheSamePace) {
  Attach();
  EXPECT_THAT(ModesAfter({}), ElementsAre("would_ask c9 set_release_mode: lazy"));
  EXPECT_THAT(last_.directives, IsEmpty());
  EXPECT_THAT(ModesAfter(seconds(14)), IsEmpty());
  EXPECT_THAT(ModesAfter(seconds(1)), ElementsAre("would_ask c9 set_release_mode: lazy"));
}

}  // namespace
}  // namespace memgov::core
