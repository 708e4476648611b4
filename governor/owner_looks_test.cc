#include "governor/owner_looks.h"

#include <gtest/gtest.h>

namespace memgov {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr core::Instant kStart{seconds(100)};

// Looks within `time`, as a loop has them that also wakes as usual; `most`: at once.
std::size_t LooksWithin(OwnerLooks* looks, core::Duration time, std::size_t owners, std::size_t* most) {
  std::size_t count = 0;
  for (core::Instant now = kStart; now < kStart + time;
       now = std::min(looks->Next(owners), now + OwnerLooks::kUsual)) {
    const std::size_t due = looks->Due(now, owners);
    *most = std::max(*most, due);
    count += due;
  }
  return count;
}

TEST(OwnerLooks, EachOwnerHasItsTurnHoweverManyThereAre) {
  for (const std::size_t owners : {1u, 100u, 3840u, 3841u, 20000u}) {
    OwnerLooks looks;
    std::size_t most = 0;
    const std::size_t count = LooksWithin(&looks, seconds(15) + milliseconds(500), owners, &most);
    EXPECT_GE(count, owners);
    EXPECT_LE(count, owners + owners / 10 + 1);
    EXPECT_LE(most, OwnerLooks::kAtOnce);
  }
}

TEST(OwnerLooks, FewOwnersWakeNobody) {
  OwnerLooks looks;
  looks.Due(kStart, 1000);
  EXPECT_EQ(looks.Next(0), core::Instant::max());
  EXPECT_EQ(looks.Next(3840), core::Instant::max());
  EXPECT_EQ(looks.Next(19200), kStart + milliseconds(50));
}

TEST(OwnerLooks, InHasteAllAreLookedAtSoonButNotAllTheTime) {
  OwnerLooks looks;
  looks.Due(kStart, 1000);
  std::size_t count = 0;
  for (int tick = 0; tick < 100; ++tick) {  // a second of a need
    const core::Instant now = kStart + tick * milliseconds(10);
    looks.Hurry(now, 1000);
    count += looks.Due(now, 1000);
    if (tick == 16) {
      EXPECT_GE(count, 1000u);
    }
  }
  EXPECT_LE(count, 1100u);
  // 20,000 take 300 ms of CPU, so once in 6 s.
  OwnerLooks many;
  std::size_t of_many = 0;
  for (int tick = 0; tick < 6000; ++tick) {
    const core::Instant now = kStart + tick * milliseconds(10);
    many.Hurry(now, 20000);
    of_many += many.Due(now, 20000);
  }
  EXPECT_LE(of_many, 10u * 20000 + 60u * 20000 / 15 + 1000);
}

}  // namespace
}  // namespace memgov
