// When a policy counts as changed: every way in which people and programs replace files.

#include "governor/policy/watcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "tests/cpp/temporary_directory.h"

namespace memgov::policy {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

std::string Rules(const std::string& name) {
  return "apiVersion: memgov/v1\nkind: Policy\nrules: [{name: " + name + "}]\n";
}

class WatcherTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return root_.path() + "/" + name; }
  void Write(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(Path(name)).parent_path());
    std::ofstream(Path(name), std::ios::binary) << text;
  }

  void Start(const std::string& name) {
    watcher_.emplace(Path(name));
    const auto loaded = watcher_->Reload();
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(watcher_->heard().ok()) << watcher_->heard();
  }

  // What is said now: the name of the first rule, or what is wrong; "-" for nothing.
  std::string News() {
    pollfd ready{.fd = watcher_->fd(), .events = POLLIN, .revents = 0};
    const bool due = watcher_->due() && now_ >= *watcher_->due();
    // The kernel tells of a change before the call that made it returns.
    if (::poll(&ready, 1, 0) == 0 && !due) return "-";
    const auto news = watcher_->Poll(now_);
    if (!news) return "-";
    if (!news->ok()) return std::string(news->status().message());
    return (*news)->rules.empty() ? "no rules" : (*news)->rules.front().name;
  }

  const TemporaryDirectory root_;
  std::optional<Watcher> watcher_;
  core::Instant now_{seconds(100)};
};

TEST_F(WatcherTest, NothingHappensWhenNothingDoes) {
  Write("p.yaml", Rules("a"));
  Start("p.yaml");
  EXPECT_EQ(News(), "-");
  Write("other.yaml", Rules("b"));
  Write("p.yaml.swp", Rules("b"));
  EXPECT_EQ(News(), "-");
  EXPECT_EQ(watcher_->due(), std::nullopt);
}

TEST_F(WatcherTest, AFileThatIsWrittenInPlaceCountsWhenItIsClosed) {
  Write("p.yaml", Rules("a"));
  Start("p.yaml");
  std::ofstream file(Path("p.yaml"), std::ios::trunc);
  EXPECT_EQ(News(), "-") << "empty it would be a policy too";
  file << "apiVersion: memgov/v1\nkind: Policy\n" << std::flush;
  EXPECT_EQ(News(), "-") << "so would half of it";
  file << "rules: [{name: b}]\n" << std::flush;
  EXPECT_EQ(News(), "-");
  file.close();
  EXPECT_EQ(News(), "b");
  EXPECT_EQ(News(), "-");
}

TEST_F(WatcherTest, AFileThatIsRenamedOverIsHeardAgainAndAgain) {
  Write("p.yaml", Rules("a"));
  Start("p.yaml");
  for (const char* name : {"b", "c", "d"}) {
    Write("next", Rules(name));
    EXPECT_EQ(News(), "-");
    fs::rename(Path("next"), Path("p.yaml"));
    EXPECT_EQ(News(), name);
  }
  Write("p.yaml", Rules("e"));
  EXPECT_EQ(News(), "e") << "the new file is watched as well";
}

TEST_F(WatcherTest, ARenameOverAFileThatIsBeingWrittenCounts) {
  Write("p.yaml", Rules("a"));
  Start("p.yaml");
  std::ofstream old(Path("p.yaml"), std::ios::trunc);
  old << "half" << std::flush;
  EXPECT_EQ(News(), "-");
  Write("next", Rules("b"));
  fs::rename(Path("next"), Path("p.yaml"));
  EXPECT_EQ(News(), "b") << "nobody waits for the file that is gone";
}

TEST_F(WatcherTest, ALinkThatIsPlacedCounts) {
  Write("p.yaml", Rules("a"));
  Write("other", Rules("b"));
  Start("p.yaml");
  fs::remove(Path("p.yaml"));
  fs::create_hard_link(Path("other"), Path("p.yaml"));
  EXPECT_EQ(News(), "b");
  fs::remove(Path("p.yaml"));
  Write("third", Rules("c"));
  fs::create_symlink("third", Path("p.yaml"));
  EXPECT_EQ(News(), "c");
  Write("third", Rules("d"));
  EXPECT_EQ(News(), "d") << "through the link";
}

// As Kubernetes does it: every key is a link through ..data, which is renamed over.
TEST_F(WatcherTest, AConfigMapIsSwappedAsAWhole) {
  const auto swap = [this](const std::string& version, const std::string& rule) {
    Write("mount/.." + version + "/p.yaml", Rules(rule));
    fs::create_symlink(".." + version, Path("mount/..data_tmp"));
    fs::rename(Path("mount/..data_tmp"), Path("mount/..data"));
  };
  swap("2024_01", "a");
  fs::create_symlink("..data/p.yaml", Path("mount/p.yaml"));
  for (const char* path : {"mount/p.yaml", "mount"}) {
    Start(path);
    for (const std::string rule : {"b", "c", "d"}) {
      swap("2025_" + rule, rule);
      EXPECT_EQ(News(), rule) << path;
      fs::remove_all(Path("mount/..2024_01"));
      EXPECT_EQ(News(), "-") << path;
    }
    for (const char* old : {"mount/..2025_b", "mount/..2025_c", "mount/..2025_d"}) {
      if (fs::read_symlink(Path("mount/..data")) != fs::path(old).filename()) fs::remove_all(Path(old));
    }
    swap("2026_" + fs::path(path).filename().string(), "a");
  }
}

TEST_F(WatcherTest, ADirectoryOnTheWayMayBeReplaced) {
  Write("a/b/p.yaml", Rules("a"));
  Start("a/b/p.yaml");
  Write("other/b/p.yaml", Rules("b"));
  fs::rename(Path("a"), Path("old"));
  fs::rename(Path("other"), Path("a"));
  EXPECT_EQ(News(), "b");
  Write("a/b/p.yaml", Rules("c"));
  EXPECT_EQ(News(), "c");
}

TEST_F(WatcherTest, ABadPolicyIsSaidOnceAndSoIsItsRepair) {
  Write("p.yaml", Rules("a"));
  Start("p.yaml");
  Write("p.yaml", "rules: [");
  EXPECT_THAT(News(), HasSubstr("p.yaml:1:1: not YAML"));
  Write("p.yaml", "rules: [");
  EXPECT_EQ(News(), "-") << "the same content";
  Write("p.yaml", "kind: [");
  EXPECT_THAT(News(), HasSubstr("not YAML"));
  Write("p.yaml", Rules("a"));
  EXPECT_EQ(News(), "a");
}

TEST_F(WatcherTest, OneThatIsTooLargeOrTooDeepIsRefused) {
  Write("p.yaml", Rules("a"));
  Start("p.yaml");
  Write("p.yaml", std::string(kLargestFile + 1, '#'));
  EXPECT_THAT(News(), HasSubstr("larger than 1048576 bytes"));
  Write("p.yaml", "a: " + std::string(100, '[') + std::string(100, ']'));
  EXPECT_THAT(News(), HasSubstr("nested deeper than 32 levels"));
}

TEST_F(WatcherTest, OnlyWhatStaysAwayIsMissed) {
  Write("p.yaml", Rules("a"));
  Start("p.yaml");
  fs::rename(Path("p.yaml"), Path("p.yaml~"));
  EXPECT_EQ(News(), "-");
  ASSERT_EQ(watcher_->due(), now_ + seconds(1));
  now_ += milliseconds(999);
  EXPECT_EQ(News(), "-");
  Write("p.yaml", Rules("b"));
  EXPECT_EQ(News(), "b") << "an editor that moves the old file away";

  fs::remove(Path("p.yaml"));
  EXPECT_EQ(News(), "-");
  now_ += seconds(1);
  EXPECT_THAT(News(), HasSubstr("No such file"));
  EXPECT_EQ(watcher_->due(), std::nullopt);
  now_ += seconds(100);
  EXPECT_EQ(News(), "-") << "said once";
  Write("p.yaml", Rules("b"));
  EXPECT_EQ(News(), "b") << "whatever was in force, it is good again";
}

TEST_F(WatcherTest, FilesOfADirectoryComeAndGo) {
  Write("d/20.yaml", Rules("rest"));
  Start("d");
  Write("d/10.yaml", "apiVersion: memgov/v1\nkind: Policy\nrules: [{name: web, match: {cgroup: /web}}]\n");
  EXPECT_EQ(News(), "web");
  Write("d/.#10.yaml", "[");
  Write("d/notes.txt", "[");
  EXPECT_EQ(News(), "-");
  fs::remove(Path("d/10.yaml"));
  EXPECT_EQ(News(), "-");
  now_ += seconds(1);
  EXPECT_EQ(News(), "rest");
  Write("d/30.yml", Rules("x"));
  EXPECT_THAT(News(), HasSubstr("call it 30.yaml"));
  fs::rename(Path("d/30.yml"), Path("d/30.yaml"));
  EXPECT_THAT(News(), HasSubstr("30.yaml:3:16: rules[0]: never used, because rules[0] of"));
}

TEST_F(WatcherTest, AnEditOfOneFileWaitsForTheWriterOfAnother) {
  Write("d/1.yaml", "apiVersion: memgov/v1\nkind: Policy\nrules: [{name: a, match: {cgroup: /a}}]\n");
  Write("d/2.yaml", Rules("rest"));
  Start("d");
  std::ofstream two(Path("d/2.yaml"), std::ios::trunc);
  Write("d/1.yaml", "apiVersion: memgov/v1\nkind: Policy\nrules: [{name: b, match: {cgroup: /a}}]\n");
  EXPECT_EQ(News(), "-");
  two << Rules("rest2");
  two.close();
  EXPECT_EQ(News(), "b");
}

TEST_F(WatcherTest, WhoAsksIsAnswered) {
  Write("p.yaml", Rules("a"));
  Start("p.yaml");
  EXPECT_TRUE(watcher_->Reload().ok()) << "also when nothing has changed";
  Write("p.yaml", "[");
  EXPECT_FALSE(watcher_->Reload().ok());
  EXPECT_EQ(News(), "-") << "and it is not said again";
  fs::remove(Path("p.yaml"));
  EXPECT_TRUE(absl::IsNotFound(watcher_->Reload().status()));
}

TEST_F(WatcherTest, LinksInACircleAreNotFollowedForEver) {
  Write("p.yaml", Rules("a"));
  Start("p.yaml");
  fs::remove(Path("p.yaml"));
  fs::create_symlink("q.yaml", Path("p.yaml"));
  fs::create_symlink("p.yaml", Path("q.yaml"));
  EXPECT_THAT(News(), HasSubstr("Too many levels of symbolic links"));
  fs::remove(Path("p.yaml"));
  Write("p.yaml", Rules("b"));
  EXPECT_EQ(News(), "b");
}

}  // namespace
}  // namespace memgov::policy
