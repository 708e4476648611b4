#include "governor/said_once.h"

#include <gtest/gtest.h>

#include <string>

namespace memgov {
namespace {

TEST(SaidOnce, SaysEachOnce) {
  SaidOnce said;
  EXPECT_TRUE(said.Say("no swap"));
  EXPECT_FALSE(said.Say("no swap"));
  EXPECT_TRUE(said.Say("no pressure"));
}

TEST(SaidOnce, HoldsSoManyAndForgetsTheFirst) {
  SaidOnce said(100);
  for (int i = 0; i < 100'000; ++i) {
    EXPECT_TRUE(said.Say("/tenant" + std::to_string(i) + " has too many cgroups"));
    ASSERT_LE(said.size(), 100u);
  }
  EXPECT_FALSE(said.Say("/tenant99999 has too many cgroups"));
  EXPECT_TRUE(said.Say("/tenant0 has too many cgroups"));
}

}  // namespace
}  // namespace memgov
