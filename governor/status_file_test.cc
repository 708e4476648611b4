#include "governor/status_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace memgov {
namespace {

class StatusFileTest : public testing::Test {
 protected:
  StatusFileTest() : directory_("/tmp/memgov-status-" + std::to_string(::getpid())) {}
  ~StatusFileTest() override { std::filesystem::remove_all(directory_); }

  std::vector<Check> Running(int pid) {
    std::vector<Check> checks;
    AddRunningDaemon(directory_, pid, &checks);
    return checks;
  }

  const std::string directory_;
};

TEST_F(StatusFileTest, SaysWhatTheDaemonOfThatPidFoundWanting) {
  ASSERT_TRUE(
      WriteStatus(directory_, {.pid = 7, .checks = {{.name = "psi"}}, .degraded = {"a \"b\"\n", "c"}}).ok());
  const auto checks = Running(7);
  ASSERT_EQ(checks.size(), 2U);
  EXPECT_EQ(checks[0].state, CheckState::kDegraded);
  EXPECT_EQ(checks[0].found, "pid 7 says: a \"b\"\n");
  EXPECT_TRUE(Running(8).empty());
}

TEST_F(StatusFileTest, SaysSinceWhenAPolicyIsRefusedAndWhy) {
  DaemonStatus status{
      .pid = 7,
      .policy = {
          .source = "/p.yaml", .degraded = "/p.yaml:1:1: \"x\"", .degraded_since = "2026-01-31T12:00:00Z"}};
  ASSERT_TRUE(WriteStatus(directory_, status).ok());
  const auto checks = Running(7);
  ASSERT_EQ(checks.size(), 1U);
  EXPECT_EQ(checks[0].name, "policy");
  EXPECT_EQ(checks[0].state, CheckState::kDegraded);
  EXPECT_EQ(checks[0].found, "refused since 2026-01-31T12:00:00Z: /p.yaml:1:1: \"x\"");
  status.policy.degraded.clear();
  ASSERT_TRUE(WriteStatus(directory_, status).ok());
  EXPECT_TRUE(Running(7).empty());
}

TEST_F(StatusFileTest, IsReplacedAsAWhole) {
  ASSERT_TRUE(WriteStatus(directory_, {.pid = 7, .degraded = {"a"}}).ok());
  ASSERT_TRUE(WriteStatus(directory_, {.pid = 7}).ok());
  EXPECT_TRUE(Running(7).empty());
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/status.json.new"));
}

TEST_F(StatusFileTest, ForeignAndBrokenFilesAreIgnored) {
  EXPECT_TRUE(Running(7).empty());
  std::filesystem::create_directories(directory_);
  for (const char* text : {"", "{", "[]", "7", "{\"pid\": 7}", "{\"pid\": \"x\", \"degraded\": 7}",
                           "{\"pid\": 7, \"degraded\": [[1]]}", "\xff\xfe{{{"}) {
    std::ofstream(directory_ + "/status.json") << text;
    EXPECT_TRUE(Running(7).empty()) << text;
  }
}

TEST_F(StatusFileTest, NoLinkIsFollowedAndNoFifoWaitedFor) {
  std::filesystem::create_directories(directory_);
  const std::string victim = directory_ + "/victim";
  std::ofstream(victim) << "precious";
  for (const char* name : {"/status.json.new", "/status.json"}) {
    std::filesystem::create_symlink(victim, directory_ + name);
    EXPECT_TRUE(WriteStatus(directory_, {.pid = 7}).ok());
    std::filesystem::remove(directory_ + "/status.json");
  }
  EXPECT_EQ(std::filesystem::file_size(victim), 8U);
  ASSERT_EQ(::mkfifo((directory_ + "/status.json").c_str(), 0600), 0);
  EXPECT_TRUE(Running(7).empty());
  EXPECT_TRUE(WriteStatus(directory_, {.pid = 7}).ok());
}

TEST_F(StatusFileTest, WhereOthersMayWriteNothingIsWritten) {
  std::filesystem::create_directories(directory_);
  ASSERT_EQ(::chmod(directory_.c_str(), 0777), 0);
  EXPECT_TRUE(absl::IsFailedPrecondition(WriteStatus(directory_, {.pid = 7})));
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(StatusFileTest, ADirectoryThatCannotBeIsSaid) {
  const absl::Status status = WriteStatus("/proc/memgov", {.pid = 7});
  EXPECT_FALSE(status.ok());
  EXPECT_NE(std::string(status.message()).find("/proc/memgov"), std::string::npos);
}

}  // namespace
}  // namespace memgov
