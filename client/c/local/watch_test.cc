// What the watch makes of a cgroup's files and of what a service manager hands over. Real kernel files are in
// fallback_test.cc.

#include "client/c/local/watch.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "client/c/local/testing/cgroup_tree.h"
#include "client/c/testing/rude_peer.h"

namespace memgov::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kMs = 1'000'000;
constexpr char kPressureOfTheNode[] = "/proc/pressure/memory";
constexpr std::uint64_t kMiB = 1 << 20;

mg_stall_source Parse(const char* watch, const char* write) {
  mg_stall_source source;
  mg_stall_source_parse(&source, watch, write);
  return source;
}

std::string Written(const mg_stall_source& source) {
  return {reinterpret_cast<const char*>(source.write), source.write_size};
}

TEST(StallSourceTest, NothingHandedOver) {
  EXPECT_STREQ(Parse(nullptr, nullptr).path, "");
  EXPECT_STREQ(Parse("", "c29tZQ==").problem, "");
}

TEST(StallSourceTest, ThePathAndWhatToWrite) {
  const mg_stall_source source = Parse("/run/x", "c29tZSAyMDAwMDAgMjAwMDAwMAA=");
  EXPECT_STREQ(source.path, "/run/x");
  EXPECT_EQ(Written(source), std::string("some 200000 2000000\0", 20));
  EXPECT_EQ(Written(Parse("/run/x", "")), "");
  EXPECT_EQ(Written(Parse("/run/x", "AA==")), std::string(1, '\0'));
  EXPECT_EQ(Written(Parse("/run/x", "+/+/")), "\xfb\xff\xbf");
}

TEST(StallSourceTest, DevNullMeansOff) { EXPECT_TRUE(Parse("/dev/null", nullptr).off); }

TEST(StallSourceTest, WhatCannotBeUsedIsSaid) {
  EXPECT_STRNE(Parse("run/x", nullptr).problem, "");
  EXPECT_STRNE(Parse(("/" + std::string(300, 'x')).c_str(), nullptr).problem, "");
  for (const char* write : {"c29tZQ=", "c2=tZQ==", "c29 tZQ=", "====="}) {
    EXPECT_STRNE(Parse("/run/x", write).problem, "") << write;
  }
  EXPECT_STRNE(Parse("/run/x", std::string(400, 'A').c_str()).problem, "");
}

// A cgroup of v2 with a limit of 100 MiB, in files that a test writes.
class WatchTest : public ::testing::Test {
 protected:
  WatchTest() {
    mg_watch_init(&watch_);
    tree_.Mounts({{"/", "fs", "cgroup2", "rw"}});
    tree_.Own("0::/app\n");
    tree_.Write("fs/app/memory.max", std::to_string(100 * kMiB) + "\n");
    Usage(10);
  }
  ~WatchTest() override { mg_watch_close(&watch_); }

  void Usage(std::uint64_t mib, std::uint64_t cache_mib = 0) {
    tree_.Write("fs/app/memory.current", std::to_string(mib * kMiB) + "\n");
    tree_.Write("fs/app/memory.stat", "anon 0\ninactive_file " + std::to_string(cache_mib * kMiB) + "\n");
  }
  bool Open() { return mg_watch_open(&watch_, &source_, tree_.path("proc").c_str(), now_); }
  mg_need Read() { return mg_watch_read(&watch_, now_); }

  // Polls as the agent does; returns how many alarms there were.
  int Poll() {
    pollfd polled[MG_WATCH_POLLED_MAX];
    const std::size_t count = mg_watch_polled(&watch_, now_, polled);
    const int alarms = poll(polled, count, 0);
    mg_watch_heard(&watch_, polled, count, now_);
    return alarms;
  }
  std::string Described() {
    char text[400];
    mg_watch_describe(&watch_, &source_, text, sizeof(text));
    return text;
  }

  CgroupTree tree_;
  mg_stall_source source_ = {};
  mg_watch watch_;
  std::uint64_t now_ = 1'000'000 * kMs;
};

TEST_F(WatchTest, BelowEightyFivePercentNothingIsWanted) {
  ASSERT_TRUE(Open());
  EXPECT_EQ(Described(), "usage of 1 cgroup with a limit (v2)");
  Usage(84);
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_CALM);
}

TEST_F(WatchTest, FromEightyFivePercentOnUntilBelowEighty) {
  ASSERT_TRUE(Open());
  Usage(85);
  const mg_need need = Read();
  EXPECT_EQ(need.level, MEMGOV_LEVEL_WAKE);
  EXPECT_NEAR(static_cast<double>(need.bytes), 5.0 * kMiB, 4096);
  EXPECT_STREQ(need.why, "usage at 85 % of the 100 MiB of app");
  Usage(81);
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_WAKE);
  Usage(79);
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_CALM);
  Usage(81);
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_CALM);
  Usage(95);
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_CRITICAL);
}

TEST_F(WatchTest, PageCacheThatTheKernelTakesBackDoesNotCount) {
  ASSERT_TRUE(Open());
  Usage(99, 20);
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_CALM);
  Usage(99, 10);
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_WAKE);
}

TEST_F(WatchTest, TheNearerTheLimitTheSoonerItReads) {
  ASSERT_TRUE(Open());
  Usage(35);
  Read();
  EXPECT_NEAR(static_cast<double>(watch_.next_ns - now_), 50.0 * kMiB, kMs);
  Usage(84);
  Read();
  EXPECT_EQ(watch_.next_ns - now_, 20 * kMs);
  tree_.Write("fs/app/memory.max", std::to_string(100'000 * kMiB) + "\n");
  ASSERT_TRUE(Open());
  Read();
  EXPECT_EQ(watch_.next_ns - now_, 1000 * kMs);
}

TEST_F(WatchTest, TheLimitOfAnAncestorAndMemoryHighCountToo) {
  tree_.Write("fs/memory.max", std::to_string(200 * kMiB) + "\n");
  tree_.Write("fs/memory.current", std::to_string(192 * kMiB) + "\n");
  tree_.Write("fs/memory.stat", "inactive_file 0\n");
  ASSERT_TRUE(Open());
  EXPECT_EQ(Described(), "usage of 2 cgroups with a limit (v2)");
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_CRITICAL);
  tree_.Write("fs/memory.current", "0\n");
  tree_.Write("fs/app/memory.high", std::to_string(11 * kMiB) + "\n");
  ASSERT_TRUE(Open());
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_WAKE);
}

TEST_F(WatchTest, AChangedLimitAndAVanishedCgroupMeanToOpenAnew) {
  ASSERT_TRUE(Open());
  Read();
  EXPECT_FALSE(watch_.lost);
  tree_.Write("fs/app/memory.max", std::to_string(50 * kMiB) + "\n");
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_CALM);
  EXPECT_TRUE(watch_.lost);
  ASSERT_TRUE(Open());
  EXPECT_FALSE(watch_.lost);
  tree_.Write("fs/app/memory.current", "");
  Read();
  EXPECT_TRUE(watch_.lost);
}

TEST_F(WatchTest, WithoutALimitAndWithoutStallsThereIsNothingToWatch) {
  tree_.Write("fs/app/memory.max", "max\n");
  EXPECT_FALSE(Open());
}

TEST_F(WatchTest, AFifoSaysThatTasksWait) {
  const std::string fifo = tree_.path("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  source_ = Parse(fifo.c_str(), "c29tZQ==");
  ASSERT_TRUE(Open());
  EXPECT_THAT(Described(), HasSubstr(", stalls from " + fifo));
  Poll();  // what we wrote ourselves comes back when nobody else reads
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_CALM);
  EXPECT_EQ(Poll(), 0);
  const int writer = open(fifo.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_EQ(write(writer, "x", 1), 1);
  close(writer);
  EXPECT_EQ(Poll(), 1);
  const mg_need need = Read();
  EXPECT_EQ(need.level, MEMGOV_LEVEL_WAKE);
  EXPECT_EQ(need.bytes, 0u);
  EXPECT_STREQ(need.why, "tasks wait for memory");
  EXPECT_EQ(Poll(), 0) << "it was read, and the end of the writer is no alarm";
  now_ += 2499 * kMs;
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_WAKE);
  now_ += 1 * kMs;
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_CALM);
}

TEST_F(WatchTest, AFifoThatIsNeverSilentIsEmptiedFiveTimesASecond) {
  const std::string fifo = tree_.path("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  source_ = Parse(fifo.c_str(), nullptr);
  ASSERT_TRUE(Open());
  const int writer = open(fifo.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK);
  const std::string words(256, 'x');
  int heard = 0;
  for (int ms = 0; ms < 1000; ++ms, now_ += kMs) {
    while (write(writer, words.data(), words.size()) > 0) {
    }
    heard += Poll();
    EXPECT_EQ(Read().level, MEMGOV_LEVEL_WAKE);
  }
  EXPECT_EQ(heard, 5);
  close(writer);
  now_ += 200 * kMs;
  EXPECT_EQ(Poll(), 1) << "what was written since";
  EXPECT_EQ(Poll(), 0);
  now_ += 2500 * kMs;
  EXPECT_EQ(Poll(), 0) << "all was read";
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_CALM);
}

TEST_F(WatchTest, ASocketIsWrittenToAndSaysThatTasksWait) {
  const std::string path = tree_.path("socket");
  const int listener = ListenOn(path);
  source_ = Parse(path.c_str(), "c29tZQ==");
  ASSERT_TRUE(Open());
  const int peer = accept(listener, nullptr, nullptr);
  char heard[16] = "";
  EXPECT_EQ(read(peer, heard, sizeof(heard)), 4);
  EXPECT_STREQ(heard, "some");
  EXPECT_EQ(Poll(), 0);
  ASSERT_EQ(write(peer, "x", 1), 1);
  EXPECT_EQ(Poll(), 1);
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_WAKE);
  close(peer);
  now_ += 200 * kMs;
  EXPECT_EQ(Poll(), 1);
  EXPECT_EQ(Poll(), 0) << "an end is told once, not without end";
  close(listener);
}

TEST_F(WatchTest, AnErrorOfATriggerIsHeardOnceASecondAndWhatWasHandedOverIsNotUsedAgain) {
  if (access(kPressureOfTheNode, R_OK) != 0) GTEST_SKIP() << "this kernel tells no pressure";
  source_ = Parse(kPressureOfTheNode, nullptr);
  ASSERT_TRUE(Open());
  EXPECT_THAT(Described(), HasSubstr(std::string(", stalls from ") + kPressureOfTheNode));
  pollfd error = {.fd = watch_.stalls_fd, .events = POLLPRI, .revents = POLLERR | POLLPRI};
  mg_watch_heard(&watch_, &error, 1, now_);
  EXPECT_TRUE(watch_.lost);
  EXPECT_EQ(Read().level, MEMGOV_LEVEL_CALM);
  pollfd polled[MG_WATCH_POLLED_MAX];
  EXPECT_EQ(mg_watch_polled(&watch_, now_ + 999 * kMs, polled), 0u);
  EXPECT_EQ(mg_watch_polled(&watch_, now_ + 1000 * kMs, polled), 1u);
  ASSERT_TRUE(Open());
  EXPECT_EQ(Described(), "usage of 1 cgroup with a limit (v2)");
}

TEST_F(WatchTest, WhatIsHandedOverAndIsNotThereIsReplacedByTheOwnCgroup) {
  source_ = Parse(tree_.path("nothing").c_str(), nullptr);
  tree_.Write("fs/app/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
  ASSERT_TRUE(Open());
  EXPECT_EQ(watch_.stalls, MG_STALLS_TRIGGER);
}

// Whoever names a file may not be who owns it.
TEST_F(WatchTest, WhatAServiceManagerWouldNotHandOverIsNeitherOpenedNorWritten) {
  tree_.Write("victim", "root:x:0:0\n");
  const std::string link = tree_.path("link");
  ASSERT_EQ(mkfifo(tree_.path("fifo").c_str(), 0600), 0);
  ASSERT_EQ(symlink(tree_.path("fifo").c_str(), link.c_str()), 0);
  // A regular file, a link to something allowed, a directory, a device, and files of the kernel that are no
  // pressure files and would obey.
  for (const std::string& named : {tree_.path("victim"), link, tree_.path("fs"), std::string("/dev/zero"),
                                   std::string("/proc/self/comm"), std::string("/proc/self/oom_score_adj")}) {
    source_ = Parse(named.c_str(), "Zm9v");
    ASSERT_TRUE(Open());
    EXPECT_EQ(watch_.stalls, MG_STALLS_NONE) << named;
    EXPECT_EQ(Described(),
              "usage of 1 cgroup with a limit (v2); MEMORY_PRESSURE_WATCH names no pressure file of the "
              "kernel, FIFO or socket")
        << named;
  }
  std::string victim;
  std::getline(std::ifstream(tree_.path("victim")), victim);
  EXPECT_EQ(victim, "root:x:0:0");
}

TEST_F(WatchTest, PressureThatMayOnlyBeReadIsCompared) {
  if (geteuid() == 0) {
    // Root may write everything but a file system that is read-only: play the kernel's refusal.
    tree_.Write("fs/app/memory.pressure", "");
    ASSERT_TRUE(Open());
    mg_watch_close(&watch_);
    watch_.stalls = MG_STALLS_TOTAL;
    watch_.total_us = UINT64_MAX;
    watch_.total_at_ns = now_;
    watch_.stalls_fd = open(tree_.path("fs/app/memory.pressure").c_str(), O_RDONLY | O_CLOEXEC);
    watch_.own.levels = 0;
  } else {
    tree_.Write("fs/app/memory.pressure", "");
    chmod(tree_.path("fs/app/memory.pressure").c_str(), 0400);
    ASSERT_TRUE(Open());
    ASSERT_EQ(watch_.stalls, MG_STALLS_TOTAL);
  }
  const auto total = [&](const char* us) {
    now_ += 1000 * kMs;
    std::ofstream(tree_.path("fs/app/memory.pressure"))
        << "some avg10=0.00 avg60=0.00 avg300=0.00 total=" << us << "\nfull total=0\n";
    return Read().level;
  };
  EXPECT_EQ(total("5000000"), MEMGOV_LEVEL_CALM) << "what was before we came";
  EXPECT_EQ(total("5099999"), MEMGOV_LEVEL_CALM);
  EXPECT_EQ(total("5199999"), MEMGOV_LEVEL_WAKE);
}

TEST_F(WatchTest, ClosingLeavesNoDescriptor) {
  const auto free_one = [] {
    const int file = dup(0);
    close(file);
    return file;
  };
  const int before = free_one();
  source_ = Parse(tree_.path("fifo").c_str(), nullptr);
  ASSERT_EQ(mkfifo(source_.path, 0600), 0);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Open());
  mg_watch_close(&watch_);
  EXPECT_EQ(free_one(), before);
}

}  // namespace
}  // namespace memgov::testing
