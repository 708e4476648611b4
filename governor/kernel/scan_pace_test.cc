#include "governor/kernel/scan_pace.h"

#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(ScanPaceTest, IsTheUsualOneWhileScansAreComplete) {
  ScanPace pace(milliseconds(100));
  EXPECT_EQ(pace.After(false, seconds(15)), seconds(15));
  EXPECT_FALSE(pace.hurries());
}

TEST(ScanPaceTest, BacksOffWhileADirectoryCannotBeListed) {
  ScanPace pace(milliseconds(100));
  for (const int wait : {100, 200, 400, 800, 1600, 3200, 5000, 5000}) {
    EXPECT_EQ(pace.After(true, seconds(5)), milliseconds(wait));
    EXPECT_TRUE(pace.hurries());
  }
  EXPECT_EQ(pace.After(false, seconds(5)), seconds(5));
  EXPECT_EQ(pace.After(true, seconds(5)), milliseconds(100)) << "and begins anew";
}

}  // namespace
}  // namespace memgov::kernel
