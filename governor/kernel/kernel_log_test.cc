#include "governor/kernel/kernel_log.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::kMiB;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kHead[] = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0";

std::string Summary(std::string_view rest) { return absl::StrCat(kHead, std::string(rest)); }

TEST(KernelTextTest, IsWhatTheKernelWrote) {
  EXPECT_EQ(KernelText("6,7243,10785717441,-;oom-kill: x;y\n SUBSYSTEM=a\n"), "oom-kill: x;y");
  EXPECT_EQ(KernelText("3,1,2,c,more;text"), "text");
}

TEST(KernelTextTest, WhatAProcessWroteIsPassedOver) {
  EXPECT_EQ(KernelText("12,7243,1,-;oom-kill:constraint=x\n"), std::nullopt);  // LOG_USER
  EXPECT_EQ(KernelText("30,7243,1,-;oom-kill:constraint=x\n"), std::nullopt);  // LOG_DAEMON
}

TEST(KernelTextTest, WhatIsNoRecordIsPassedOver) {
  for (const char* record : {"", ";", "6", "6,1", "x,1,2,-;text", ",;text", ";6,text", "-1,1;text"}) {
    EXPECT_EQ(KernelText(record), std::nullopt) << record;
  }
}

TEST(UnescapedTest, GivesTheBytesBack) {
  EXPECT_EQ(Unescaped("a\\x0ab\\x5cx\\xc3\\xa4"), "a\nb\\x\xc3\xa4");
  EXPECT_EQ(Unescaped("\\x0"), "\\x0");
  EXPECT_EQ(Unescaped("\\xg0\\x"), "\\xg0\\x");
}

TEST(ParseOomSummaryTest, NamesDomainAndVictim) {
  EXPECT_EQ(ParseOomSummary(Summary(",oom_memcg=/pod,task_memcg=/pod/a,task=redis-server,pid=5803,uid=0")),
            (OomSummary{.domain = "/pod", .cgroup = "/pod/a", .name = "redis-server", .pid = 5803}));
  EXPECT_EQ(ParseOomSummary(Summary(",oom_memcg=/pod,task_memcg=/pod,task=a b,pid=1,uid=4294967295")),
            (OomSummary{.domain = "/pod", .cgroup = "/pod", .name = "a b", .pid = 1}));
}

TEST(ParseOomSummaryTest, TheMachinesOwnLimitIsTheRoot) {
  EXPECT_EQ(ParseOomSummary("oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=a,mems_allowed=0,"
                            "global_oom,task_memcg=/user.slice/x,task=tail,pid=12,uid=1000"),
            (OomSummary{.domain = "/", .cgroup = "/user.slice/x", .name = "tail", .pid = 12}));
}

TEST(ParseOomSummaryTest, NamesThatLookLikePartsOfARecordAreNames) {
  // A task may be called anything of 15 bytes, a cgroup anything without a slash.
  EXPECT_EQ(ParseOomSummary(Summary(",oom_memcg=/p,task_memcg=/p/a,task=,pid=1,uid=0,pid=7,uid=0"))->name,
            ",pid=1,uid=0");
  EXPECT_EQ(ParseOomSummary(Summary(",oom_memcg=/p,task_memcg=/p/a,task=x\\x0ay,pid=7,uid=0"))->name, "x\ny");
  EXPECT_EQ(ParseOomSummary(Summary(",oom_memcg=/p,pid=3,task_memcg=/p,pid=3/a,task=x,pid=7,uid=0")),
            (OomSummary{.domain = "/p,pid=3", .cgroup = "/p,pid=3/a", .name = "x", .pid = 7}));
  EXPECT_EQ(
      ParseOomSummary(Summary(",oom_memcg=/x,task_memcg=/a,task_memcg=/x,task_memcg=/a,task=x,pid=7,uid=0")),
      (OomSummary{.domain = "/x,task_memcg=/a", .cgroup = "/x,task_memcg=/a", .name = "x", .pid = 7}));
  EXPECT_EQ(ParseOomSummary("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=,oom_memcg=b,"
                            "mems_allowed=0,oom_memcg=/p,task_memcg=/p,task=x,pid=7,uid=0")
                ->domain,
            "/p");
}

TEST(ParseOomSummaryTest, WhatCanBeReadInTwoWaysIsNotRead) {
  EXPECT_EQ(ParseOomSummary(Summary(",oom_memcg=/p,task_memcg=/p/a,task=b,task=c,pid=7,uid=0")),
            std::nullopt);
}

TEST(ParseOomSummaryTest, WhatIsCutOffOrForeignIsNotRead) {
  const std::string whole = Summary(",oom_memcg=/pod,task_memcg=/pod/a,task=redis-server,pid=5803,uid=0");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_EQ(ParseOomSummary(whole.substr(0, length)), std::nullopt) << length;
  }
  EXPECT_EQ(ParseOomSummary(" " + whole), std::nullopt);
  EXPECT_EQ(ParseOomSummary(whole + "x"), std::nullopt);
  EXPECT_EQ(ParseOomSummary(Summary(",oom_memcg=/pod,task_memcg=/other,task=x,pid=1,uid=0")), std::nullopt);
  EXPECT_EQ(ParseOomSummary(Summary(",oom_memcg=/p,task_memcg=/p,task=sixteen-letters-,pid=1,uid=0")),
            std::nullopt);
  EXPECT_EQ(ParseOomSummary(Summary(",oom_memcg=/p,task_memcg=/p,task=x,pid=0,uid=0")), std::nullopt);
  EXPECT_EQ(ParseOomSummary(Summary(",oom_memcg=/p,task_memcg=/p,task=x,pid=99999999999,uid=0")),
            std::nullopt);
}

TEST(ParseKilledLineTest, NamesTheProcess) {
  EXPECT_EQ(ParseKilledLine(
                "Memory cgroup out of memory: Killed process 5803 (redis-server) total-vm:1kB, anon-rss:2kB"),
            (KilledLine{.pid = 5803, .name = "redis-server"}));
  EXPECT_EQ(ParseKilledLine("Out of memory: Killed process 7 (a) (b) total-vm:1kB"),
            (KilledLine{.pid = 7, .name = "a) (b"}));
  for (const char* line :
       {"", "Killed process 1 (x) total-vm:1kB", "x: Killed process 1 (x) total-vm:1kB",
        "Out of memory: Killed process x (x) total-vm:1kB", "Out of memory: Killed process 1 ()",
        "Out of memory: Killed process 1", "Out of memory: Killed process ) total-vm: ("}) {
    EXPECT_EQ(ParseKilledLine(line), std::nullopt) << line;
  }
}

// --- a story
// ----------------------------------------------------------------------------------------------------

constexpr char kTableOf6_18[] =
    "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents "
    "oom_score_adj name";
constexpr char kTableOf6_1[] =
    "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name";

std::vector<core::KilledProcess> Tell(OomStory& story, const std::vector<std::string>& lines) {
  std::vector<core::KilledProcess> killed;
  for (const std::string& line : lines) {
    if (auto process = story.Tell(line)) killed.push_back(*std::move(process));
  }
  return killed;
}

std::vector<std::string> Processes(const core::KilledProcess& killed) {
  std::vector<std::string> words;
  for (const auto& process : killed.processes) {
    words.push_back(absl::StrCat(process.pid, " ", process.name, " ", process.rss));
  }
  return words;
}

TEST(OomStoryTest, AKillHasItsPlaceAndWhoWasThere) {
  OomStory story(4096);
  const auto killed = Tell(
      story,
      {"redis-server invoked oom-killer: gfp_mask=0xcc0",
       "Tasks state (memory values in pages):", kTableOf6_18,
       "[   5802]     0  5802     1000      200      100      100        0   811008        0             0 "
       "Web Content",
       "[   5803]     0  5803   103526    89268    86944     2324        0   811008        0             0 "
       "redis-server",
       Summary(",oom_memcg=/pod,task_memcg=/pod/a,task=redis-server,pid=5803,uid=0"),
       "Memory cgroup out of memory: Killed process 5803 (redis-server) total-vm:414104kB, anon-rss:1kB"});
  ASSERT_EQ(killed.size(), 1U);
  EXPECT_EQ(killed[0].pid, 5803);
  EXPECT_EQ(killed[0].name, "redis-server");
  EXPECT_EQ(killed[0].domain, "/pod");
  EXPECT_EQ(killed[0].cgroup, "/pod/a");
  EXPECT_THAT(Processes(killed[0]), ElementsAre("5803 redis-server 365641728", "5802 Web Content 819200"));
}

TEST(OomStoryTest, TheColumnsOfOlderKernelsAreFound) {
  OomStory story(4096);
  const auto killed = Tell(
      story, {kTableOf6_1, "[    112]     0   112    13004    12345   131072        0             0 python3",
              Summary(",oom_memcg=/p,task_memcg=/p,task=python3,pid=112,uid=0"),
              "Memory cgroup out of memory: Killed process 112 (python3) total-vm:1kB"});
  ASSERT_EQ(killed.size(), 1U);
  EXPECT_THAT(Processes(killed[0]), ElementsAre("112 python3 50565120"));
}

TEST(OomStoryTest, OnlyTheLargestProcessesAreKept) {
  OomStory story(4096);
  story.Tell(kTableOf6_1);
  for (int pid = 1; pid <= 100; ++pid) story.Tell(absl::StrCat("[", pid, "] 0 1 1 ", pid, " 0 0 0 x"));
  const auto killed = Tell(story, {Summary(",oom_memcg=/p,task_memcg=/p,task=x,pid=100,uid=0"),
                                   "Memory cgroup out of memory: Killed process 100 (x) total-vm:1kB"});
  ASSERT_EQ(killed.at(0).processes.size(), OomStory::kMostProcesses);
  EXPECT_EQ(killed[0].processes.front().pid, 100);
  EXPECT_EQ(killed[0].processes.back().pid, 81);
}

TEST(OomStoryTest, WithoutItsSummaryAKillHasNoPlace) {
  OomStory story(4096);
  const auto killed = Tell(story, {Summary(",oom_memcg=/p,task_memcg=/p,task=x,pid=1,uid=0"),
                                   "Memory cgroup out of memory: Killed process 1 (x) total-vm:1kB",
                                   "Memory cgroup out of memory: Killed process 2 (y) total-vm:1kB"});
  ASSERT_EQ(killed.size(), 2U);
  EXPECT_EQ(killed[1].name, "y");
  EXPECT_EQ(killed[1].cgroup, "");
  EXPECT_THAT(killed[1].processes, IsEmpty());
}

TEST(OomStoryTest, MembersOfAGroupAreSomewhereInIt) {
  OomStory story(4096);
  const auto killed = Tell(story, {Summary(",oom_memcg=/p,task_memcg=/p/g/a,task=x,pid=1,uid=0"),
                                   "Memory cgroup out of memory: Killed process 1 (x) total-vm:1kB",
                                   "Tasks in /p/g are going to be killed due to memory.oom.group set",
                                   "Memory cgroup out of memory: Killed process 2 (y) total-vm:1kB"});
  ASSERT_EQ(killed.size(), 2U);
  EXPECT_FALSE(killed[0].or_below);
  EXPECT_EQ(killed[1].domain, "/p");
  EXPECT_EQ(killed[1].cgroup, "/p/g");
  EXPECT_TRUE(killed[1].or_below);
}

TEST(OomStoryTest, ABrokenTableHarmsNobody) {
  OomStory story(4096);
  EXPECT_THAT(Tell(story, {"[  pid  ]", "[  1]", "[  pid  ] rss", "[  1]", "[", "[]", "[1] 5", "[1]  ",
                           "[1] 99999999999999999999 x", "[  pid  ] rss name", "[1] 18446744073709551615 x",
                           "[1] 1", "[x] 1 y", "]["}),
              IsEmpty());
}

// --- reading
// ----------------------------------------------------------------------------------------------------

class KernelLogTest : public testing::Test {
 protected:
  KernelLogTest() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe2(ends, O_DIRECT | O_NONBLOCK | O_CLOEXEC), 0);  // one read, one record, as with the log
    read_.reset(ends[0]);
    write_.reset(ends[1]);
  }
  void Write(std::string_view record) {
    EXPECT_EQ(::write(write_.get(), record.data(), record.size()), static_cast<ssize_t>(record.size()));
  }
  void RunUntil(const std::function<bool()>& done) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done() && std::chrono::steady_clock::now() < give_up) {
      io_.restart();
      io_.run_one_for(std::chrono::milliseconds(50));
    }
    EXPECT_TRUE(done());
  }

  UniqueFd read_;
  UniqueFd write_;
  boost::asio::io_context io_;
  std::vector<core::KilledProcess> kills_;
  std::vector<absl::Status> ends_;
  UniqueFd next_;  // followed at the end
  KernelLog log_{io_,
                 {.on_kill = [this](core::KilledProcess kill) { kills_.push_back(std::move(kill)); },
                  .on_overrun = [] {},
                  .on_end =
                      [this](absl::Status why) {
                        ends_.push_back(std::move(why));
                        if (next_) {
                          EXPECT_TRUE(log_.Follow(std::move(next_)).ok());
                        }
                      }}};
};

TEST_F(KernelLogTest, TellsOfEachKill) {
  ASSERT_TRUE(log_.Follow(std::move(read_)).ok());
  for (int pid = 1; pid <= 2; ++pid) {
    Write(absl::StrCat("3,1,1,-;Memory cgroup out of memory: Killed process ", pid, " (x) total-vm:1kB\n"));
    Write("6,1,1,-;something else\n");
  }
  RunUntil([this] { return kills_.size() == 2; });
  EXPECT_EQ(kills_[1].pid, 2);
}

TEST_F(KernelLogTest, MayEndWhileItTells) {
  std::unique_ptr<KernelLog> log;
  int told = 0;
  log = std::make_unique<KernelLog>(
      io_, KernelLog::Callbacks{.on_kill = [&](const core::KilledProcess&) { ++told, log.reset(); },
                                .on_overrun = [] {}});
  ASSERT_TRUE(log->Follow(std::move(read_)).ok());
  for (int i = 0; i < 2; ++i)
    Write("3,1,1,-;Memory cgroup out of memory: Killed process 1 (x) total-vm:1kB\n");
  RunUntil([&] { return told == 1; });
  io_.restart();
  io_.run_for(std::chrono::milliseconds(20));
  EXPECT_EQ(told, 1);
}

TEST_F(KernelLogTest, SaysWhenItEndsAndMayBeFollowedAgain) {
  int ends[2] = {-1, -1};
  ASSERT_EQ(::pipe2(ends, O_DIRECT | O_NONBLOCK | O_CLOEXEC), 0);
  next_.reset(ends[0]);
  ASSERT_TRUE(log_.Follow(std::move(read_)).ok());
  write_.reset(ends[1]);  // closes the first one's end
  RunUntil([this] { return ends_.size() == 1; });
  EXPECT_TRUE(absl::IsUnavailable(ends_[0])) << ends_[0];
  Write("3,1,1,-;Memory cgroup out of memory: Killed process 7 (x) total-vm:1kB\n");
  RunUntil([this] { return kills_.size() == 1; });
  EXPECT_EQ(ends_.size(), 1U);
}

TEST_F(KernelLogTest, SaysWhyItCannotBeReadAnyMore) {
  UniqueFd file(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));  // which cannot be waited for
  ASSERT_TRUE(log_.Follow(std::move(file)).ok());
  RunUntil([this] { return ends_.size() == 1; });
  EXPECT_THAT(std::string(ends_[0].message()), testing::HasSubstr("waiting for the kernel's log"));
}

TEST_F(KernelLogTest, SaysWhyItCannotBeOpened) {
  const absl::Status status = log_.Open("/nowhere/kmsg");
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("/nowhere/kmsg"));
}

TEST_F(KernelLogTest, ARealKillIsToldWithItsPlaceAndItsProcesses) {
  const RealHierarchy real = FindRealHierarchy();
  if (!real.layout) GTEST_SKIP() << real.why_not;
  if (const absl::Status status = log_.Open(); !status.ok()) GTEST_SKIP() << status;
  RealCgroup parent(*real.layout);
  parent.LetChildrenHaveMemory();
  parent.SetLimit(48 * kMiB);
  RealCgroup leaf(*real.layout, &parent);
  {
    Hog hog(leaf);
    EXPECT_FALSE(hog.Take(64 * kMiB));
    EXPECT_EQ(hog.Died(), SIGKILL);
  }
  const auto ours = [&](const core::KilledProcess& kill) { return kill.cgroup == leaf.path(); };
  RunUntil([&] { return std::any_of(kills_.begin(), kills_.end(), ours); });
  const auto kill = *std::find_if(kills_.begin(), kills_.end(), ours);
  EXPECT_EQ(kill.domain, parent.path());
  EXPECT_EQ(kill.name, "memgov_kernel_t");
  ASSERT_EQ(kill.processes.size(), 1U);
  EXPECT_EQ(kill.processes[0].pid, kill.pid);
  EXPECT_GT(kill.processes[0].rss, 30 * kMiB);
}

}  // namespace
}  // namespace memgov::kernel
