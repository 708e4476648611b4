#include "governor/kernel/guard.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/kernel/brake_file.h"
#include "governor/kernel/brake_state.h"
#include "governor/kernel/clock.h"
#include "governor/kernel/freezer.h"
#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::kMiB;
using testing::HasSubstr;
using testing::Not;

// ThreadSanitizer's own thread makes every process a threaded one.
#ifdef __SANITIZE_THREAD__
constexpr bool kThreadedByItself = true;
#else
constexpr bool kThreadedByItself = false;
#endif

class GuardTest : public testing::Test {
 protected:
  void SetUp() override {
    if (kThreadedByItself) GTEST_SKIP() << "ThreadSanitizer starts a thread; the guard forks before any";
    fake_.Add("/a");
    std::filesystem::create_directory(fake_.Directory("/run"));
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  }

  // A guard outlives its daemon by as long as it works on the files that are to go.
  void TearDown() override {
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  }

  // Runs `life` as another process that starts a guard, brakes "/a", and tells us so; its pid.
  template <typename Life>
  pid_t Daemon(Life life) {
    int told[2];
    EXPECT_EQ(::pipe(told), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::close(told[0]);
      auto guard = StartGuard(fake_.layout(), state_);
      if (!guard.ok()) ::_exit(9);
      const core::Bytes high = 64 * kMiB;
      const auto file = BrakeFile::Open(fake_.layout(), "/a");
      if (!file.ok()) ::_exit(5);
      if (!StoreBrakeState(state_, {{.path = "/a", .inode = file->inode(), .value = high}}).ok()) ::_exit(8);
      if (!file->WriteHigh(high).ok()) ::_exit(7);
      if (::write(told[1], "x", 1) != 1) ::_exit(6);
      ::close(told[1]);
      life(*guard);
      ::_exit(0);
    }
    ::close(told[1]);
    char ready = 0;
    EXPECT_EQ(::read(told[0], &ready, 1), 1) << "the daemon did not start";
    ::close(told[0]);
    return pid;
  }
  bool BecomesMax() {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (ReadFile(fake_.Directory("/a/memory.high")) != "max\n") {
      if (std::chrono::steady_clock::now() > give_up) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  FakeHierarchy fake_{MemoryVersion::kV2};
  const std::string state_ = fake_.Directory("/run/brake.state");
};

TEST_F(GuardTest, LetsGoWhenTheDaemonIsKilled) {
  const pid_t daemon = Daemon([](Guard&) { ::pause(); });
  EXPECT_EQ(ReadFile(fake_.Directory("/a/memory.high")), absl::StrCat(64 * kMiB, "\n"));
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
  EXPECT_TRUE(BecomesMax());
}

TEST_F(GuardTest, ThawsWhatTheDaemonHadFrozen) {
  const std::string frozen = fake_.Directory("/a") + "/cgroup.freeze";
  struct stat info {};
  ASSERT_EQ(::stat(fake_.Directory("/a").c_str(), &info), 0);
  WriteFile(FreezeStateBeside(state_), absl::StrCat("/a ", info.st_ino, "\n"));
  WriteFile(frozen, "1");
  const pid_t daemon = Daemon([](Guard&) { ::pause(); });
  EXPECT_EQ(ReadFile(frozen), "1");
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
  ASSERT_TRUE(BecomesMax());
  EXPECT_EQ(ReadFile(frozen).substr(0, 1), "0") << "thawed before the brake is let go";
}

TEST_F(GuardTest, LeftoversMayBeFreezesAlone) {
  const std::string frozen = fake_.Directory("/a") + "/cgroup.freeze";
  struct stat info {};
  ASSERT_EQ(::stat(fake_.Directory("/a").c_str(), &info), 0);
  WriteFile(FreezeStateBeside(state_), absl::StrCat("/a ", info.st_ino, "\n"));
  WriteFile(frozen, "1");
  EXPECT_TRUE(RestoreLeftovers(fake_.layout(), state_).ok());
  EXPECT_EQ(ReadFile(frozen).substr(0, 1), "0");
  EXPECT_FALSE(std::filesystem::exists(FreezeStateBeside(state_)));
}

TEST_F(GuardTest, LetsGoWhenTheDaemonDoesNotRun) {
  const pid_t daemon = Daemon([](Guard& guard) {
    guard.LetGoBy(MonotonicClock().Now() + std::chrono::milliseconds(50));
    ::raise(SIGSTOP);
    ::pause();
  });
  const std::string record = ReadFile(state_);
  EXPECT_TRUE(BecomesMax());
  EXPECT_EQ(ReadFile(state_), record) << "the file is the daemon's";
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
}

TEST_F(GuardTest, ThawsWhenTheDaemonDoesNotRun) {
  const std::string frozen = fake_.Directory("/a") + "/cgroup.freeze";
  struct stat info {};
  ASSERT_EQ(::stat(fake_.Directory("/a").c_str(), &info), 0);
  WriteFile(FreezeStateBeside(state_), absl::StrCat("/a ", info.st_ino, "\n"));
  WriteFile(frozen, "1");
  const pid_t daemon = Daemon([](Guard& guard) {
    guard.LetGoBy(MonotonicClock().Now());
    ::raise(SIGSTOP);
  });
  ASSERT_TRUE(BecomesMax());
  EXPECT_EQ(ReadFile(frozen).substr(0, 1), "0");
  EXPECT_TRUE(std::filesystem::exists(FreezeStateBeside(state_)));
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
}

TEST_F(GuardTest, LetsGoOfNothingWhileItIsToldToWait) {
  const pid_t daemon = Daemon([](Guard& guard) {
    const MonotonicClock clock;
    const core::Instant end = clock.Now() + std::chrono::milliseconds(300);
    while (clock.Now() < end) {
      guard.LetGoBy(clock.Now() + std::chrono::hours(1));
      ::usleep(1000);
      guard.LetGoBy(std::nullopt);
    }
    ::raise(SIGSTOP);
  });
  int status = 0;
  ASSERT_EQ(::waitpid(daemon, &status, WUNTRACED), daemon);
  ASSERT_TRUE(WIFSTOPPED(status));
  EXPECT_EQ(ReadFile(fake_.Directory("/a/memory.high")), absl::StrCat(64 * kMiB, "\n"));
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
  EXPECT_TRUE(BecomesMax());
}

TEST_F(GuardTest, OldWordsDoNotMakeItLetGo) {
  testing::internal::CaptureStderr();
  const pid_t daemon = Daemon([](Guard& guard) {
    ::kill(guard.pid(), SIGSTOP);
    ::waitpid(guard.pid(), nullptr, WUNTRACED);
    const MonotonicClock clock;
    // More than it reads at a time, and all of them out of date but the last.
    for (int i = 0; i < 300; ++i) guard.LetGoBy(clock.Now());
    guard.LetGoBy(clock.Now() + std::chrono::hours(1));
    ::kill(guard.pid(), SIGCONT);
    ::raise(SIGKILL);
  });
  ::waitpid(daemon, nullptr, 0);
  const absl::Status restored = RestoreLeftovers(fake_.layout(), state_);  // waits for the guard
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(restored.ok()) << restored;
  EXPECT_THAT(said, Not(HasSubstr("has not run for too long")));
  EXPECT_EQ(ReadFile(fake_.Directory("/a/memory.high")), "max\n");
}

TEST_F(GuardTest, AGuardThatDoesNotListenHoldsNobodyUp) {
  auto guard = StartGuard(fake_.layout(), state_);
  ASSERT_TRUE(guard.ok()) << guard.status();
  ::kill(guard->pid(), SIGSTOP);
  for (int i = 0; i < 20'000; ++i) guard->LetGoBy(std::nullopt);
  ::kill(guard->pid(), SIGCONT);
  EXPECT_TRUE(guard->Running());
}

TEST_F(GuardTest, ALockThatIsNoFileOfOursIsRefused) {
  const std::string lock = state_ + ".lock";
  const std::string victim = fake_.Directory("/victim");
  WriteFile(victim, "precious");
  std::filesystem::create_symlink(victim, lock);
  absl::Status status = StartGuard(fake_.layout(), state_).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("is a symbolic link"));
  EXPECT_EQ(ReadFile(victim), "precious");
  EXPECT_FALSE(RestoreLeftovers(fake_.layout(), state_).ok());
  std::filesystem::remove(lock);
  ASSERT_EQ(::mkfifo(lock.c_str(), 0600), 0);
  status = StartGuard(fake_.layout(), state_).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("is a FIFO"));
}

TEST_F(GuardTest, ADirectoryThatOthersMayWriteInIsRefused) {
  ASSERT_EQ(::chmod(fake_.Directory("/run").c_str(), 0777), 0);
  const absl::Status status = StartGuard(fake_.layout(), state_).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("chmod go-w"));
}

TEST_F(GuardTest, ASuccessorWaitsForTheOldGuardAndFindsAllRestored) {
  const pid_t daemon = Daemon([](Guard&) { ::pause(); });
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
  const auto guard = StartGuard(fake_.layout(), state_);
  ASSERT_TRUE(guard.ok()) << guard.status();
  EXPECT_EQ(ReadFile(fake_.Directory("/a/memory.high")), "max\n");
  EXPECT_FALSE(std::filesystem::exists(state_));
}

TEST_F(GuardTest, OutlivesTheSignalsOfAServiceManager) {
  auto guard = StartGuard(fake_.layout(), state_);
  ASSERT_TRUE(guard.ok()) << guard.status();
  // The handlers are set once it has taken its name.
  const std::string name = absl::StrCat("/proc/", guard->pid(), "/comm");
  while (ReadFile(name) != "memgov-guard\n" && guard->Running()) ::usleep(1000);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE})
    EXPECT_EQ(::kill(guard->pid(), signal), 0);
  EXPECT_TRUE(guard->Running());
}

TEST_F(GuardTest, LeavesNoZombieAndNoLock) {
  pid_t pid = 0;
  {
    const auto guard = StartGuard(fake_.layout(), state_);
    ASSERT_TRUE(guard.ok()) << guard.status();
    pid = guard->pid();
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
  EXPECT_TRUE(StartGuard(fake_.layout(), state_).ok());
}

TEST_F(GuardTest, SaysWhenItHasDied) {
  auto guard = StartGuard(fake_.layout(), state_);
  ASSERT_TRUE(guard.ok()) << guard.status();
  EXPECT_TRUE(guard->Running());
  ::kill(guard->pid(), SIGKILL);
  while (guard->Running()) ::usleep(1000);
  EXPECT_EQ(guard->pid(), -1);
}

TEST_F(GuardTest, RefusesToForkAThreadedProcess) {
  std::atomic<bool> end = false;
  std::thread other([&end] { end.wait(false); });
  const auto guard = StartGuard(fake_.layout(), state_);
  EXPECT_TRUE(absl::IsFailedPrecondition(guard.status())) << guard.status();
  end = true;
  end.notify_all();
  other.join();
}

TEST_F(GuardTest, TwoDaemonsCannotShareAStateFile) {
  const auto first = StartGuard(fake_.layout(), state_);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = StartGuard(fake_.layout(), state_, std::chrono::milliseconds(50));
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(absl::StrCat("pid ", ::getpid(), " holds ")));
}

TEST_F(GuardTest, ItsEndCanBeWaitedFor) {
  auto guard = StartGuard(fake_.layout(), state_);
  ASSERT_TRUE(guard.ok()) << guard.status();
  pollfd ended{.fd = guard->pidfd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&ended, 1, 0), 0);
  ::kill(guard->pid(), SIGKILL);
  EXPECT_EQ(::poll(&ended, 1, 20'000), 1);
  EXPECT_FALSE(guard->Running());
}

TEST_F(GuardTest, AnotherOneTakesItsPlaceAndSeesOurEnd) {
  const std::string told = fake_.Directory("/told");
  {
    auto guard = StartGuard(fake_.layout(), state_);
    ASSERT_TRUE(guard.ok()) << guard.status();
    // Stands in for memgovd: waits for the end of the pipe; then says whether it has the lock's descriptor.
    const std::string script = absl::StrCat("cat /proc/self/fd/${0%,*}; readlink /proc/self/fd/${0#*,} >",
                                            told, ".new; mv ", told, ".new ", told);
    const std::vector<std::string> command = {"/bin/sh", "-c", script};
    EXPECT_TRUE(absl::IsFailedPrecondition(guard->Restart(command))) << "two guards at a time";
    ::kill(guard->pid(), SIGKILL);
    while (guard->Running()) ::usleep(1000);
    std::atomic<bool> end = false;
    std::thread other([&end] { end.wait(false); });  // a fork would be refused now
    const absl::Status status = guard->Restart(command);
    end = true;
    end.notify_all();
    other.join();
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(guard->Running());
    EXPECT_FALSE(std::filesystem::exists(told));
  }
  EXPECT_EQ(ReadFile(told), state_ + ".lock\n");
}

TEST_F(GuardTest, ACommandThatIsNotThereIsSaid) {
  auto guard = StartGuard(fake_.layout(), state_);
  ASSERT_TRUE(guard.ok()) << guard.status();
  ::kill(guard->pid(), SIGKILL);
  while (guard->Running()) ::usleep(1000);
  const absl::Status status = guard->Restart({"/nowhere/memgovd"});
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nowhere/memgovd"));
  EXPECT_FALSE(guard->Running());
}

TEST_F(GuardTest, DescriptorsThatNobodyPassedAreRefused) {
  for (const char* nonsense : {"", "3", "a,b", "0,1", "999,1000", "3,3", "3,4x"}) {
    EXPECT_EQ(GuardMain(nonsense, fake_.layout(), state_), 2) << nonsense;
  }
}

TEST_F(GuardTest, NoLeftoversAreTakenFromADaemonThatLives) {
  const pid_t daemon = Daemon([](Guard&) { ::pause(); });
  const absl::Status status = RestoreLeftovers(fake_.layout(), state_);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("memgovd with pid ", daemon)));
  EXPECT_EQ(ReadFile(fake_.Directory("/a/memory.high")), absl::StrCat(64 * kMiB, "\n"));
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
  EXPECT_TRUE(RestoreLeftovers(fake_.layout(), state_).ok());  // waits for the guard
  EXPECT_EQ(ReadFile(fake_.Directory("/a/memory.high")), "max\n");
}

TEST_F(GuardTest, WhereNothingIsLeftNothingIsMade) {
  EXPECT_TRUE(RestoreLeftovers(fake_.layout(), fake_.Directory("/nowhere/brake.state")).ok());
  EXPECT_FALSE(std::filesystem::exists(fake_.Directory("/nowhere")));
}

}  // namespace
}  // namespace memgov::kernel
