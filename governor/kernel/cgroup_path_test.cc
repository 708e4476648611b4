#include "governor/kernel/cgroup_path.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(CgroupPathTest, NormalisesSlashesAndRefusesDots) {
  EXPECT_EQ(NormalisedPath("/"), "/");
  EXPECT_EQ(NormalisedPath("//"), "/");
  EXPECT_EQ(NormalisedPath("/a/b"), "/a/b");
  EXPECT_EQ(NormalisedPath("//a///b/"), "/a/b");
  EXPECT_EQ(NormalisedPath("/a b/.hidden/..x"), "/a b/.hidden/..x");
  for (const char* path : {"", "a", "a/b", "/..", "/../a", "/a/../b", "/a/..", "/./a", "/a/."}) {
    EXPECT_EQ(NormalisedPath(path), "") << path;
  }
}

TEST(CgroupPathTest, ASubtreeEndsAtAName) {
  EXPECT_TRUE(IsWithin("/a", "/"));
  EXPECT_TRUE(IsWithin("/a", "/a"));
  EXPECT_TRUE(IsWithin("/a/b", "/a"));
  EXPECT_FALSE(IsWithin("/ab", "/a"));
  EXPECT_FALSE(IsWithin("/", "/a"));
}

TEST(CgroupPathTest, RootsInsideOthersAreDropped) {
  EXPECT_THAT(IndependentRoots({"/b/c", "/a", "/b", "/a/", "/ab"}), ElementsAre("/a", "/b", "/ab"));
  EXPECT_THAT(IndependentRoots({"/a", "/"}), ElementsAre("/"));
  EXPECT_THAT(IndependentRoots({"a", "", "/../a"}), IsEmpty());
}

}  // namespace
}  // namespace memgov::kernel
