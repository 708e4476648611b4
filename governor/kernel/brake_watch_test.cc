#include "governor/kernel/brake_watch.h"

#include <chrono>
#include <functional>
#include <memory>

#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

constexpr core::CgroupId kId{1};

class BrakeWatchTest : public testing::Test {
 protected:
  BrakeWatchTest() { fake_.Add("/a"); }
  void WriteHigh() { WriteFile(fake_.Directory("/a/memory.high"), "1"); }
  bool RunUntil(const std::function<bool()>& done) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done() && std::chrono::steady_clock::now() < give_up) {
      io_.restart();
      io_.run_one_for(std::chrono::milliseconds(20));
    }
    return done();
  }

  FakeHierarchy fake_{MemoryVersion::kV2};
  boost::asio::io_context io_;
};

TEST_F(BrakeWatchTest, TellsWhoseKnobWasWrittenAndGoesOn) {
  int told = 0;
  BrakeWatch watch(io_, fake_.layout(), [&](core::CgroupId id) { told += id == kId ? 1 : 0; });
  watch.Watch(kId, "/a");
  WriteHigh();
  ASSERT_TRUE(RunUntil([&] { return told > 0; }));
  const int before = told;
  WriteHigh();
  EXPECT_TRUE(RunUntil([&] { return told > before; }));
}

TEST_F(BrakeWatchTest, MayEndWithinItsOwnCallback) {
  int told = 0;
  std::unique_ptr<BrakeWatch> watch = std::make_unique<BrakeWatch>(io_, fake_.layout(), [&](core::CgroupId) {
    ++told;
    watch.reset();
  });
  watch->Watch(kId, "/a");
  WriteHigh();
  io_.run();  // returns: nothing of it is left to wait for
  EXPECT_EQ(told, 1);
}

// Both descriptors are ready when the loop looks; the handler of the first ends the other's watch, whose own
// handler is in the queue by then.
TEST_F(BrakeWatchTest, AHandlerThatIsQueuedAtItsEndFindsNobody) {
  int told = 0;
  std::unique_ptr<BrakeWatch> first;
  std::unique_ptr<BrakeWatch> second;
  first = std::make_unique<BrakeWatch>(io_, fake_.layout(), [&](core::CgroupId) { ++told, second.reset(); });
  second = std::make_unique<BrakeWatch>(io_, fake_.layout(), [&](core::CgroupId) { ++told, first.reset(); });
  first->Watch(kId, "/a");
  second->Watch(kId, "/a");
  WriteHigh();
  ASSERT_TRUE(RunUntil([&] { return told > 0; }));
  io_.restart();
  io_.run_for(std::chrono::milliseconds(20));
  EXPECT_EQ(told, 1);
}

// The same of the pause between two readings.
TEST_F(BrakeWatchTest, APauseThatIsOverAtItsEndFindsNobody) {
  int told = 0;
  auto watch = std::make_unique<BrakeWatch>(io_, fake_.layout(), [&](core::CgroupId) { ++told; });
  watch->Watch(kId, "/a");
  WriteHigh();
  ASSERT_TRUE(RunUntil([&] { return told > 0; }));
  watch.reset();
  io_.restart();
  io_.run();
  EXPECT_EQ(told, 1);
}

}  // namespace
}  // namespace memgov::kernel
