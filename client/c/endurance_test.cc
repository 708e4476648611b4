// A host that works and forks while its governor restarts a thousand times: it must not crash, hang, or
// collect descriptors, threads or memory.

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "client/c/testing/fake_governor.h"
#include "client/c/testing/puppet_process.h"

namespace memgov::testing {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRestarts = 50;  // sanitizers are slow, and see what is wrong at the first occurrence
constexpr long kForks = 200;
#else
constexpr int kRestarts = 1000;
constexpr long kForks = 10000;
#endif

class EnduranceTest : public ::testing::Test {
 protected:
  EnduranceTest() {
    EXPECT_EQ(host_.Call("start " + directory_.path()), "0");
    EXPECT_EQ(host_.Call("load"), "2");
  }

  // Attached to a governor of this moment, and idle but for the load.
  struct Resources {
    long descriptors, threads, rss_kib;
  };
  Resources Attached() {
    FakeGovernor governor(directory_.path());
    EXPECT_TRUE(
        governor.WaitFor([](const auto& heard) { return heard.sessions == 1 && !heard.reports.empty(); }));
    EXPECT_NE(governor.Ask(Release(1 << 30)).id(), 0u);  // a sanitizer's malloc declines
    return {host_.Number("descriptors"), host_.Number("threads"), host_.Number("rss")};
  }

  SocketDirectory directory_;
  PuppetProcess host_{"memgov_c_endurance_host"};
};

TEST_F(EnduranceTest, AThousandRestartsAndTenThousandForksLeaveNothingBehind) {
  const Resources before = Attached();
  const long work_before = host_.Number("work");
  EXPECT_EQ(host_.Call("fork " + std::to_string(kForks)), "0");
  int sessions = 0;
  for (int i = 1; i <= kRestarts; ++i) {
    FakeGovernor governor(directory_.path(), {.report_every_ms = 100});
    if (i % 5 == 0) {
      // Comes back within 100 ms of a session's end, and has work to do when the governor dies.
      ASSERT_TRUE(governor.WaitFor([](const auto& heard) { return heard.sessions == 1; })) << i;
      governor.Send(i % 2 == 0 ? Release(1 << 20) : SetMode(v1::RELEASE_MODE_EAGER, 10000));
    } else {
      std::this_thread::sleep_for(
          std::chrono::milliseconds(i % 13));  // dies while it is found, greeted, served
    }
    sessions += governor.heard().hellos.empty() ? 0 : 1;
  }
  for (int i = 0; i < 6000 && host_.Number("forked") < kForks; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(host_.Number("forked"), kForks);
  EXPECT_EQ(host_.Number("bad"), 0);
  EXPECT_GE(sessions, kRestarts / 5);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // the forking thread ends
  const Resources after = Attached();
  EXPECT_EQ(after.descriptors, before.descriptors);
  EXPECT_EQ(after.threads, before.threads);
  EXPECT_GT(host_.Number("work"), work_before);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which keep freed memory
  EXPECT_LT(after.rss_kib, before.rss_kib + 4096);
#endif
  std::printf("endurance: %d restarts, %d with a session, %ld forks; resident %ld -> %ld KiB\n", kRestarts,
              sessions, kForks, before.rss_kib, after.rss_kib);
}

}  // namespace
}  // namespace memgov::testing
