#include "governor/base/state_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/cpp/temporary_directory.h"

namespace memgov::base {
namespace {

using testing::HasSubstr;

constexpr std::size_t kMost = 1000;
constexpr uid_t kNobody = 65534;

std::string TextOf(const std::string& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

class StateDirectoryTest : public testing::Test {
 protected:
  std::string In(const std::string& name) const { return root_.path() + "/" + name; }
  StateDirectory Open() const {
    auto directory = StateDirectory::Open(root_.path(), {});
    EXPECT_TRUE(directory.ok()) << directory.status();
    return *std::move(directory);
  }
  // A file of root's that nobody may be led to, and a link to it where ours should be.
  void LayLink(const std::string& name) {
    std::ofstream(In("victim")) << "precious";
    std::filesystem::create_symlink(In("victim"), In(name));
  }

  const TemporaryDirectory root_;
};

TEST_F(StateDirectoryTest, WhatIsReplacedIsReadAndRemoved) {
  const StateDirectory directory = Open();
  EXPECT_TRUE(absl::IsNotFound(directory.Read("a", kMost).status()));
  ASSERT_TRUE(directory.Replace("a", "first", 0600).ok());
  ASSERT_TRUE(directory.Replace("a", "second", 0644).ok());
  EXPECT_EQ(directory.Read("a", kMost).value(), "second");
  EXPECT_FALSE(std::filesystem::exists(In("a.new")));
  EXPECT_TRUE(directory.Remove("a").ok());
  EXPECT_TRUE(directory.Remove("a").ok());
  EXPECT_FALSE(std::filesystem::exists(In("a")));
}

TEST_F(StateDirectoryTest, IsMadeForEverybodyToReadWhateverTheUmask) {
  for (const mode_t mask : {0077, 0000}) {
    const mode_t before = ::umask(mask);
    const std::string path = In(std::to_string(mask)) + "/b";
    EXPECT_TRUE(absl::IsNotFound(StateDirectory::Open(path, {}).status()));
    const auto directory = StateDirectory::Open(path, {.make = true});
    ::umask(before);
    ASSERT_TRUE(directory.ok()) << directory.status();
    struct stat info {};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0755U);
  }
}

TEST_F(StateDirectoryTest, WhereOthersMayWriteIsRefused) {
  for (const mode_t mode : {0777, 0775, 0757, 01777}) {
    ::chmod(root_.path().c_str(), mode);
    const absl::Status status = StateDirectory::Open(root_.path(), {}).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(MessageOf(status), HasSubstr("chmod go-w"));
    EXPECT_THAT(MessageOf(status), HasSubstr("emptyDir")) << "where no chmod lasts";
    EXPECT_THAT(MessageOf(status), HasSubstr("mode=0755"));
    EXPECT_THAT(MessageOf(status), HasSubstr("--state-dir"));
  }
  EXPECT_TRUE(StateDirectory::Open(root_.path(), {.sticky_may_be = true}).ok());
  ::chmod(root_.path().c_str(), 0777);
  EXPECT_FALSE(StateDirectory::Open(root_.path(), {.sticky_may_be = true}).ok());
}

TEST_F(StateDirectoryTest, WhatBelongsToSomebodyElseIsRefused) {
  if (::chown(root_.path().c_str(), kNobody, kNobody) != 0) GTEST_SKIP() << "only root can give it away";
  const absl::Status status = StateDirectory::Open(root_.path(), {.flag = "--socket"}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(MessageOf(status), HasSubstr("belongs to uid 65534"));
  EXPECT_THAT(MessageOf(status), HasSubstr("--socket"));
}

TEST_F(StateDirectoryTest, NoLinkIsFollowed) {
  const StateDirectory directory = Open();
  for (const char* name : {"a", "a.new"}) {
    LayLink(name);
    ASSERT_TRUE(directory.Replace("a", "ours", 0600).ok()) << name;
    EXPECT_EQ(directory.Read("a", kMost).value(), "ours");
    EXPECT_EQ(TextOf(In("victim")), "precious");
    std::filesystem::remove(In("a"));
  }
  LayLink("a");
  for (const absl::Status& status : {directory.Read("a", kMost).status(), directory.OpenLock("a").status()}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(MessageOf(status), HasSubstr("is a symbolic link"));
  }
  EXPECT_TRUE(directory.Remove("a").ok());
  EXPECT_EQ(TextOf(In("victim")), "precious");
}

TEST_F(StateDirectoryTest, WhatIsNoRegularFileIsNeitherReadNorWaitedFor) {
  const StateDirectory directory = Open();
  ASSERT_EQ(::mkfifo(In("fifo").c_str(), 0600), 0);
  std::filesystem::create_directory(In("directory"));
  for (const auto& [name, kind] : {std::pair{"fifo", "a FIFO"}, {"directory", "a directory"}}) {
    for (const absl::Status& status :
         {directory.Read(name, kMost).status(), directory.OpenLock(name).status()}) {
      EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
      EXPECT_THAT(MessageOf(status), HasSubstr(std::string(name) + " is " + kind));
      EXPECT_THAT(MessageOf(status), HasSubstr("remove it"));
    }
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(directory.Replace("directory", "x", 0600)));
  EXPECT_TRUE(directory.Replace("fifo", "x", 0600).ok());
}

TEST_F(StateDirectoryTest, ADeviceIsNotReadFor5Seconds) {
  EXPECT_TRUE(absl::IsFailedPrecondition(ReadRegularFile("/dev/zero", kMost).status()));
}

TEST_F(StateDirectoryTest, WhatIsReadIsBounded) {
  const StateDirectory directory = Open();
  ASSERT_TRUE(directory.Replace("a", std::string(kMost, 'x'), 0600).ok());
  EXPECT_EQ(directory.Read("a", kMost)->size(), kMost);
  EXPECT_TRUE(absl::IsInvalidArgument(directory.Read("a", kMost - 1).status()));
}

TEST_F(StateDirectoryTest, ALockIsOurs) {
  const StateDirectory directory = Open();
  ASSERT_TRUE(directory.OpenLock("a").ok());
  ASSERT_TRUE(directory.OpenLock("a").ok());
  if (::chown(In("a").c_str(), kNobody, kNobody) != 0) GTEST_SKIP() << "only root can give it away";
  EXPECT_THAT(MessageOf(directory.OpenLock("a").status()), HasSubstr("belongs to uid 65534"));
}

TEST_F(StateDirectoryTest, AnErrorSaysWhatToDo) {
  EXPECT_THAT(MessageOf(StateDirectory::Open("/proc/memgov", {.make = true}).status()),
              HasSubstr("making /proc/memgov"));
  std::ofstream(In("file")) << "x";
  const absl::Status status = StateDirectory::Open(In("file"), {.make = true}).status();
  EXPECT_THAT(MessageOf(status), HasSubstr("name a directory that memgovd may write in with --state-dir"));
}

TEST_F(StateDirectoryTest, AFileOutlivesItsDirectory) {
  StateFile file(In("made/state"));
  EXPECT_TRUE(absl::IsNotFound(file.Read(kMost).status()));
  EXPECT_TRUE(file.Remove().ok());
  EXPECT_FALSE(std::filesystem::exists(In("made")));
  ASSERT_TRUE(file.Replace("one").ok());
  std::filesystem::remove_all(In("made"));
  ASSERT_TRUE(file.Replace("two").ok());
  EXPECT_EQ(TextOf(In("made/state")), "two");
  EXPECT_TRUE(file.Remove().ok());
  EXPECT_FALSE(std::filesystem::exists(In("made/state")));
}

TEST(DirectoryOfTest, IsWhatIsBeforeTheName) {
  EXPECT_EQ(DirectoryOf("/a/b"), "/a");
  EXPECT_EQ(DirectoryOf("/a//b/"), "/a");
  EXPECT_EQ(DirectoryOf("/a"), "/");
  EXPECT_EQ(DirectoryOf("/"), "/");
  EXPECT_EQ(DirectoryOf("a"), ".");
  EXPECT_EQ(DirectoryOf("a/b"), "a");
  EXPECT_EQ(NameOf("/a/b"), "b");
}

}  // namespace
}  // namespace memgov::base
