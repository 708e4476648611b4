#include "governor/identity/namespace_root.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/cpp/temporary_directory.h"

namespace memgov::identity {
namespace {

namespace fs = std::filesystem;

// A directory that looks like a cgroup tree.
class NamespaceRoot : public testing::Test {
 protected:
  NamespaceRoot() { Make("", "1\n2\n"); }

  void Make(const std::string& path, const std::string& procs = "") {
    fs::create_directories(mount_ + path);
    std::ofstream(mount_ + path + "/cgroup.procs") << procs;
  }

  const TemporaryDirectory directory_;
  const std::string mount_ = directory_.path();
};

TEST_F(NamespaceRoot, IsTheTopInTheHostsNamespace) {
  Make("/system.slice/memgovd.service", "41\n42\n");
  EXPECT_EQ(FindNamespaceRoot(mount_, "/system.slice/memgovd.service", 42), "/");
  EXPECT_EQ(FindNamespaceRoot(mount_, "/", 2), "/");
}

TEST_F(NamespaceRoot, IsOurOwnCgroupInAContainer) {
  Make("/kubepods/besteffort/pod1/a", "41\n");
  Make("/kubepods/besteffort/pod2/b", "42\n");
  EXPECT_EQ(FindNamespaceRoot(mount_, "/", 42), "/kubepods/besteffort/pod2/b");
}

TEST_F(NamespaceRoot, IsAboveUsWhereWeMovedOnInside) {
  Make("/docker/a/system.slice/memgovd.service", "42\n");
  EXPECT_EQ(FindNamespaceRoot(mount_, "/system.slice/memgovd.service", 42), "/docker/a");
}

TEST_F(NamespaceRoot, IsUnknownOutsideOfTheMount) {
  Make("/docker/a", "41\n");
  EXPECT_EQ(FindNamespaceRoot(mount_, "/", 42), std::nullopt);
  EXPECT_EQ(FindNamespaceRoot(mount_, "/docker/a", 42), std::nullopt);
  EXPECT_EQ(FindNamespaceRoot("/nonexistent", "/", 42), std::nullopt);
}

TEST_F(NamespaceRoot, IsUnknownWhereOurOwnPathDoesNotFit) {
  Make("/docker/a", "42\n");
  EXPECT_EQ(FindNamespaceRoot(mount_, "/elsewhere", 42), std::nullopt);
  EXPECT_EQ(FindNamespaceRoot(mount_, "/../a", 42), std::nullopt);
  EXPECT_EQ(FindNamespaceRoot(mount_, "/r/a", 42), std::nullopt) << "whole names only";
}

TEST_F(NamespaceRoot, FollowsNoLinksAndReadsNoText) {
  Make("/a", "words and 42\n");
  fs::create_directory_symlink(mount_, mount_ + "/a/loop");
  EXPECT_EQ(FindNamespaceRoot(mount_, "/", 42), std::nullopt);
}

TEST_F(NamespaceRoot, IsFoundAmongMany) {
  for (int i = 0; i < 100; ++i) fs::create_directories(absl::StrCat(mount_, "/kubepods/", i, "/x"));
  Make("/system.slice/docker-a.scope", "42\n");
  EXPECT_EQ(FindNamespaceRoot(mount_, "/", 42), "/system.slice/docker-a.scope");
}

TEST(RealNamespaceRoot, IsFoundFromInsideAPrivateNamespace) {
  const bool v1 = ::access("/sys/fs/cgroup/memory/memory.usage_in_bytes", F_OK) == 0;
  const std::string mount = v1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup";
  const std::string name = absl::StrCat("/memgov-namespace-test-", ::getpid());
  if (::mkdir((mount + name).c_str(), 0755) != 0 || ::mkdir((mount + name + "/inner").c_str(), 0755) != 0) {
    GTEST_SKIP() << "may not create " << mount << name << " (root may)";
  }
  EXPECT_EQ(FindNamespaceRoot(mount), "/") << "this test itself runs in the namespace of the mount";
  const pid_t child = ::fork();
  if (child == 0) {
    std::ofstream(mount + name + "/cgroup.procs") << ::getpid() << std::flush;
    if (::unshare(CLONE_NEWCGROUP) != 0) ::_exit(2);
    if (FindNamespaceRoot(mount) != name) ::_exit(3);
    std::ofstream(mount + name + "/inner/cgroup.procs") << ::getpid() << std::flush;
    ::_exit(FindNamespaceRoot(mount) == name ? 0 : 4);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(::rmdir((mount + name + "/inner").c_str()), 0);
  EXPECT_EQ(::rmdir((mount + name).c_str()), 0);
  if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "may not make a cgroup namespace here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace memgov::identity
