// Where a process finds its cgroup: trees of files laid out as the kernel lays them out.

#include "client/c/local/own_cgroup.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "client/c/local/testing/cgroup_tree.h"

namespace memgov::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class OwnCgroupTest : public ::testing::Test {
 protected:
  std::vector<std::string> Levels() {
    mg_own_cgroup_find(&own_, tree_.path("proc").c_str());
    std::vector<std::string> levels;
    for (std::size_t i = 0; i < own_.levels; ++i) levels.push_back(tree_.Below(own_.level[i]));
    return levels;
  }
  std::string Pressure() { return tree_.Below(own_.pressure); }

  CgroupTree tree_;
  mg_own_cgroup own_ = {};
};

TEST_F(OwnCgroupTest, V2WithLimitsAtTwoLevels) {
  tree_.Mounts({{"/", "fs", "cgroup2", "rw"}});
  tree_.Own("0::/pod/app\n");
  tree_.Write("fs/pod/app/memory.max", "536870912\n");
  tree_.Write("fs/pod/app/memory.pressure", "");
  tree_.Write("fs/pod/memory.max", "1073741824\n");
  tree_.Write("fs/memory.max", "max\n");
  EXPECT_THAT(Levels(), ElementsAre("fs/pod/app", "fs/pod"));
  EXPECT_EQ(own_.version, 2);
  EXPECT_EQ(Pressure(), "fs/pod/app/memory.pressure");
}

TEST_F(OwnCgroupTest, V2WhereOnlyMemoryHighIsSet) {
  tree_.Mounts({{"/", "fs", "cgroup2", "rw"}});
  tree_.Own("0::/app\n");
  tree_.Write("fs/app/memory.max", "max\n");
  tree_.Write("fs/app/memory.high", "1048576\n");
  EXPECT_THAT(Levels(), ElementsAre("fs/app"));
}

TEST_F(OwnCgroupTest, V1WithPressureInTheUnifiedTree) {
  tree_.Mounts({{"/", "fs/cpu", "cgroup", "rw,cpu"},
                {"/", "fs/memory", "cgroup", "rw,memory"},
                {"/", "fs/unified", "cgroup2", "rw"}});
  tree_.Own("9:name=systemd:/x\n4:memory:/app\n1:cpu:/other\n0::/slice/app\n");
  tree_.Write("fs/memory/app/memory.limit_in_bytes", "268435456\n");
  tree_.Write("fs/memory/memory.limit_in_bytes", "9223372036854771712\n");
  tree_.Write("fs/unified/slice/app/memory.pressure", "");
  EXPECT_THAT(Levels(), ElementsAre("fs/memory/app"));
  EXPECT_EQ(own_.version, 1);
  EXPECT_EQ(Pressure(), "fs/unified/slice/app/memory.pressure");
}

TEST_F(OwnCgroupTest, AContainerThatSeesTheHostsPath) {
  tree_.Mounts({{"/docker/abc", "fs/memory", "cgroup", "rw,memory"}});
  tree_.Own("4:memory:/docker/abc/inner\n");
  tree_.Write("fs/memory/memory.limit_in_bytes", "268435456\n");
  tree_.Write("fs/memory/inner/memory.limit_in_bytes", "134217728\n");
  EXPECT_THAT(Levels(), ElementsAre("fs/memory/inner", "fs/memory"));
}

TEST_F(OwnCgroupTest, AContainerInItsOwnCgroupNamespace) {
  tree_.Mounts({{"/", "fs", "cgroup2", "ro"}});
  tree_.Own("0::/\n");
  tree_.Write("fs/memory.max", "268435456\n");
  EXPECT_THAT(Levels(), ElementsAre("fs"));
}

TEST_F(OwnCgroupTest, APathOutsideOfTheMountIsSeenAtItsTop) {
  tree_.Mounts({{"/", "fs", "cgroup2", "rw"}});
  tree_.Own("0::/../elsewhere\n");
  tree_.Write("fs/memory.max", "268435456\n");
  EXPECT_THAT(Levels(), ElementsAre("fs"));
}

TEST_F(OwnCgroupTest, SpacesInAMountPointAreEscapedByTheKernel) {
  tree_.Mounts({{"/", "f s", "cgroup2", "rw"}});
  tree_.Own("0::/app\n");
  tree_.Write("f s/app/memory.max", "268435456\n");
  EXPECT_THAT(Levels(), ElementsAre("f s/app"));
}

TEST_F(OwnCgroupTest, LongMountTablesAndLinesAreRead) {
  std::vector<CgroupTree::Mount> mounts(200, {"/", "other", "overlay", "lowerdir=" + std::string(9000, 'x')});
  mounts.push_back({"/", "fs", "cgroup2", "rw"});
  tree_.Mounts(mounts);
  tree_.Own("0::/app\n");
  tree_.Write("fs/app/memory.max", "268435456\n");
  EXPECT_THAT(Levels(), ElementsAre("fs/app"));
}

TEST_F(OwnCgroupTest, OnlyTheNearestLevelsAreWatched) {
  tree_.Mounts({{"/", "fs", "cgroup2", "rw"}});
  tree_.Own("0::/a/b/c/d/e\n");
  for (const char* each : {"a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e"}) {
    tree_.Write(std::string("fs/") + each + "/memory.max", "1048576\n");
  }
  EXPECT_THAT(Levels(), ElementsAre("fs/a/b/c/d/e", "fs/a/b/c/d", "fs/a/b/c", "fs/a/b"));
}

TEST_F(OwnCgroupTest, NothingMountedNoFilesAndGarbage) {
  EXPECT_THAT(Levels(), IsEmpty());
  EXPECT_EQ(own_.version, 0);
  tree_.Write("proc/mountinfo", " - \n1 2 3\n - cgroup2\n1 2 3 4 5 - cgroup2\n\n");
  tree_.Own(":::\n0:\n0::\nmemory\n");
  EXPECT_THAT(Levels(), IsEmpty());
}

TEST_F(OwnCgroupTest, PathsThatAreTooLongAreNotSeen) {
  tree_.Mounts({{"/", "fs", "cgroup2", "rw"}});
  tree_.Own("0::/" + std::string(600, 'x') + "\n");
  EXPECT_THAT(Levels(), IsEmpty());
}

TEST_F(OwnCgroupTest, NumbersAndFields) {
  std::uint64_t value = 0;
  tree_.Write("a/max", "max\n");
  tree_.Write("a/number", "4096\n");
  tree_.Write("a/unlimited", "9223372036854771712\n");
  tree_.Write("a/text", "some words\n");
  tree_.Write("a/stat", "cache 1\ntotal_inactive_file 7\ninactive_file 5\n");
  const auto open = [&](const char* name) { return mg_cgroup_open(tree_.path("a").c_str(), name); };
  const auto read = [&](const char* name) {
    const int file = open(name);
    const bool good = mg_cgroup_read(file, &value);
    close(file);
    return good;
  };
  EXPECT_TRUE(read("max") && value == UINT64_MAX);
  EXPECT_TRUE(read("number") && value == 4096);
  EXPECT_TRUE(read("unlimited") && value == UINT64_MAX);
  EXPECT_FALSE(read("text"));
  EXPECT_FALSE(read("absent"));
  const int stat = open("stat");
  EXPECT_TRUE(mg_cgroup_read_field(stat, "inactive_file", &value) && value == 5);
  EXPECT_TRUE(mg_cgroup_read_field(stat, "total_inactive_file", &value) && value == 7);
  EXPECT_TRUE(mg_cgroup_read_field(stat, "cache", &value) && value == 1);
  EXPECT_FALSE(mg_cgroup_read_field(stat, "inactive", &value));
  close(stat);
}

}  // namespace
}  // namespace memgov::testing
