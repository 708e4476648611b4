// For the tests of CgroupTree: what it says of a fake hierarchy, in short.

#pragma once

#include <string>
#include <vector>

#include "governor/kernel/cgroup_tree.h"
#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"

namespace memgov::kernel {

inline constexpr core::Instant kStart(std::chrono::hours(100));

inline std::vector<std::string> Paths(const core::Snapshot& snapshot) {
  std::vector<std::string> paths;
  for (const core::CgroupAppeared& cgroup : snapshot.appeared) paths.push_back(cgroup.path);
  return paths;
}

inline core::CgroupId IdOf(const CgroupTree& tree, const std::string& path) {
  const auto id = tree.Innermost(path);
  EXPECT_TRUE(id.has_value() && tree.PathOf(*id) == path) << path;
  return id.value_or(core::CgroupId{});
}

inline core::Snapshot Scan(CgroupTree& tree) {
  core::Snapshot snapshot;
  tree.Scan(kStart, &snapshot);
  return snapshot;
}

inline core::Snapshot Collect(CgroupTree& tree, core::Instant now) {
  core::Snapshot snapshot;
  tree.CollectDue(now, &snapshot);
  return snapshot;
}

inline std::string VersionName(const testing::TestParamInfo<MemoryVersion>& test) {
  return test.param == MemoryVersion::kV1 ? "V1" : "V2";
}

}  // namespace memgov::kernel
