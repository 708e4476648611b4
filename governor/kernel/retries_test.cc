#include "governor/kernel/retries.h"

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "governor/kernel/alarms.h"
#include "governor/kernel/oom_alarm.h"
#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::kMiB;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::ElementsAre;

constexpr core::CgroupId kId{1};
constexpr core::CgroupId kOther{2};
constexpr RetryPace kQuick{.first = milliseconds(1), .longest = milliseconds(4)};

class RetriesTest : public testing::Test {
 protected:
  bool RunUntil(const std::function<bool()>& done) {
    const auto give_up = steady_clock::now() + seconds(30);
    while (!done() && steady_clock::now() < give_up) {
      io_.restart();
      io_.run_one_for(milliseconds(20));
    }
    return done();
  }
  std::function<void(bool)> NoteFailing() {
    return [this](bool failing) { failing_.push_back(failing); };
  }

  boost::asio::io_context io_;
  std::vector<bool> failing_;
};

TEST_F(RetriesTest, ComeTwiceAsLateEachTimeUpToTheLongest) {
  std::vector<steady_clock::time_point> tries = {steady_clock::now()};
  Retries* self = nullptr;
  Retries retries(
      io_, {.first = milliseconds(20), .longest = milliseconds(50)},
      [&](core::CgroupId id) {
        tries.push_back(steady_clock::now());
        self->Failed(id);
      },
      NoteFailing());
  self = &retries;
  retries.Failed(kId);
  ASSERT_TRUE(RunUntil([&] { return tries.size() == 5; }));
  // A loaded machine is late, never early.
  EXPECT_GE(tries[1] - tries[0], milliseconds(20));
  EXPECT_GE(tries[2] - tries[1], milliseconds(40));
  EXPECT_GE(tries[3] - tries[2], milliseconds(50));
  EXPECT_GE(tries[4] - tries[3], milliseconds(50));
  EXPECT_THAT(failing_, ElementsAre(true));
}

TEST_F(RetriesTest, AreOverWhenTheLastIsSettled) {
  int tries = 0;
  {
    Retries retries(
        io_, kQuick, [&](core::CgroupId) { ++tries; }, NoteFailing());
    retries.Failed(kId);
    retries.Failed(kOther);
    retries.Settled(kId);
    EXPECT_THAT(failing_, ElementsAre(true));
    retries.Settled(kOther);
    retries.Settled(kOther);
    EXPECT_THAT(failing_, ElementsAre(true, false));
    EXPECT_EQ(retries.size(), 0U);
    retries.Failed(kId);  // and does not survive its owner
  }
  io_.run();
  EXPECT_EQ(tries, 0);
}

// A registration needs cgroup.event_control; a directory in its place makes it fail as a read-only mount
// does.
class FailingAlarmsTest : public RetriesTest {
 protected:
  FailingAlarmsTest() {
    fake_.Add("/a", kMiB);
    Break();
  }
  std::string Control() const { return fake_.Directory("/a/cgroup.event_control"); }
  void Break() { std::filesystem::create_directory(Control()); }
  void Mend() {
    std::filesystem::remove(Control());
    WriteFile(Control(), "");
  }

  FakeHierarchy fake_{MemoryVersion::kV1};
};

TEST_F(FailingAlarmsTest, AWireThatCouldNotBeRegisteredIsTriedUntilItStands) {
  std::vector<absl::Status> answers;
  Alarms alarms(
      io_, fake_.layout(), [](core::CgroupId) {}, NoteFailing(), kQuick);
  alarms.Arm(kId, "/a", 2 * kMiB, [&](const absl::Status& status) { answers.push_back(status); });
  ASSERT_TRUE(RunUntil([&] { return !failing_.empty(); }));
  EXPECT_THAT(failing_, ElementsAre(true));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_FALSE(answers[0].ok());
  EXPECT_EQ(alarms.size(), 0U);
  Mend();
  ASSERT_TRUE(RunUntil([&] { return failing_.size() == 2; }));
  EXPECT_THAT(failing_, ElementsAre(true, false));
  EXPECT_EQ(alarms.size(), 1U);
  EXPECT_EQ(answers.size(), 1U) << "answered once";
  EXPECT_THAT(ReadFile(Control()), testing::EndsWith(" 2097152"));
}

TEST_F(FailingAlarmsTest, AWireThatIsNotWantedAnyMoreIsNotTried) {
  Alarms alarms(
      io_, fake_.layout(), [](core::CgroupId) {}, NoteFailing(), kQuick);
  alarms.Arm(kId, "/a", 2 * kMiB, [](const absl::Status&) {});
  ASSERT_TRUE(RunUntil([&] { return !failing_.empty(); }));
  alarms.Disarm(kId);
  EXPECT_THAT(failing_, ElementsAre(true, false));
  Mend();
  io_.restart();
  io_.run();  // nothing is left to wait for
  EXPECT_EQ(ReadFile(Control()), "");
}

TEST_F(FailingAlarmsTest, AWireInACgroupThatIsGoneIsGivenUp) {
  Alarms alarms(
      io_, fake_.layout(), [](core::CgroupId) {}, NoteFailing(), kQuick);
  alarms.Arm(kId, "/a", 2 * kMiB, [](const absl::Status&) {});
  ASSERT_TRUE(RunUntil([&] { return !failing_.empty(); }));
  fake_.Remove("/a");
  ASSERT_TRUE(RunUntil([&] { return failing_.size() == 2; }));
}

TEST_F(FailingAlarmsTest, AnOomAlarmIsTriedUntilItStands) {
  OomAlarms alarms(
      io_, fake_.layout(), 10, [](core::CgroupId, bool) {}, NoteFailing(), kQuick);
  EXPECT_FALSE(alarms.Arm(kId, "/a").ok());
  EXPECT_THAT(failing_, ElementsAre(true));
  Mend();
  ASSERT_TRUE(RunUntil([&] { return failing_.size() == 2; }));
  EXPECT_EQ(alarms.size(), 1U);
}

TEST_F(FailingAlarmsTest, AnOomAlarmBeyondTheBoundIsArmedWhenThereIsRoom) {
  Mend();
  fake_.Add("/b");
  WriteFile(fake_.Directory("/b/cgroup.event_control"), "");
  OomAlarms alarms(
      io_, fake_.layout(), 1, [](core::CgroupId, bool) {}, NoteFailing(), kQuick);
  EXPECT_TRUE(alarms.Arm(kId, "/a").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(alarms.Arm(kOther, "/b")));
  EXPECT_THAT(failing_, ElementsAre(true));
  alarms.Disarm(kId);
  ASSERT_TRUE(RunUntil([&] { return failing_.size() == 2; }));
  EXPECT_EQ(alarms.size(), 1U);
}

}  // namespace
}  // namespace memgov::kernel
