#include "governor/kernel/mounts.h"

#include <sys/stat.h>

#include <filesystem>

#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

TEST(MountsTest, FindsThisMachinesMemoryController) {
  const RealHierarchy real = FindRealHierarchy();
  if (!real.layout.has_value()) GTEST_SKIP() << "no writable memory controller: " << real.why_not;
  const bool v1 = real.layout->memory_version == MemoryVersion::kV1;
  const std::string mount = real.layout->memory_mount;
  EXPECT_EQ(std::filesystem::exists(mount + "/memory.usage_in_bytes"), v1);
  EXPECT_EQ(std::filesystem::exists(mount + "/cgroup.controllers"), !v1);
  EXPECT_EQ(real.layout->hybrid && !v1, false);
  if (real.layout->pressure_mount.has_value()) {
    EXPECT_TRUE(std::filesystem::exists(*real.layout->pressure_mount + "/cgroup.controllers"));
  }
}

TEST(MountsTest, AnOverrideFindsTheSame) {
  const RealHierarchy real = FindRealHierarchy();
  if (!real.layout.has_value()) GTEST_SKIP() << "no writable memory controller: " << real.why_not;
  const std::filesystem::path mount = real.layout->memory_mount;
  std::vector<std::string> places = {mount.string(), mount.string() + "/"};
  if (mount.filename() == "memory") places.push_back(mount.parent_path().string());
  for (const std::string& place : places) {
    const auto found = DiscoverCgroups(place);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->memory_mount, real.layout->memory_mount);
    EXPECT_EQ(found->memory_version, real.layout->memory_version);
    EXPECT_EQ(found->pressure_mount, real.layout->pressure_mount);
    EXPECT_EQ(found->hybrid, real.layout->hybrid);
  }
}

TEST(MountsTest, AnOverrideMayBeTheDirectoryAboveAV1Hierarchy) {
  const FakeHierarchy fake(MemoryVersion::kV1);
  std::filesystem::create_directory(fake.Directory("/memory"));
  WriteFile(fake.Directory("/memory/memory.usage_in_bytes"), "1\n");
  const auto found = DiscoverCgroups(fake.layout().memory_mount);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->memory_mount, fake.Directory("/memory"));
  EXPECT_EQ(found->memory_version, MemoryVersion::kV1);
  EXPECT_EQ(found->pressure_mount, std::nullopt);
  EXPECT_FALSE(found->hybrid);
}

TEST(MountsTest, AnOverrideWithoutAMemoryControllerIsRefusedByName) {
  const FakeHierarchy fake(MemoryVersion::kV2);
  for (const std::string& place : {fake.layout().memory_mount, fake.Directory("/nowhere"), std::string()}) {
    const auto found = DiscoverCgroups(place);
    EXPECT_TRUE(absl::IsNotFound(found.status()));
    EXPECT_NE(found.status().message().find(place + " has no memory controller"), std::string::npos);
  }
}

}  // namespace
}  // namespace memgov::kernel
