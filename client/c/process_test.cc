// What the agent reads about its process.

#include "client/c/process.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <thread>

#include "tests/cpp/scheduling.h"

namespace memgov::testing {
namespace {

// In a child, because locks of memory are not inherited and do not outlive it.
template <typename Run>
int InChild(Run run) {
  const pid_t child = fork();
  if (child == 0) _exit(run());
  int status = 0;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

constexpr int kLocked = 1;
constexpr int kNotLocked = 2;
constexpr int kCannotLock = 3;

int Locked() { return mg_process_is_locked() ? kLocked : kNotLocked; }

TEST(ProcessTest, AProcessThatLocksNothingIsNotLocked) { EXPECT_EQ(InChild(Locked), kNotLocked); }

TEST(ProcessTest, APageOfItsOwnIsNotAll) {
  EXPECT_EQ(InChild([] {
              void* const page =
                  mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              return mlock(page, 4096) == 0 ? Locked() : kCannotLock;
            }),
            kNotLocked);
}

TEST(ProcessTest, MlockallLocksWhatIsThereOrWhatComes) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "with a sanitizer mlockall does nothing";
#endif
  for (const int flags : {MCL_CURRENT, MCL_FUTURE, MCL_CURRENT | MCL_FUTURE}) {
    const int found = InChild([&] {
      std::free(std::malloc(4096));  // a heap
      if (mlockall(flags) != 0) return kCannotLock;
      const int locked = Locked();
      munlockall();
      return locked == kLocked ? Locked() : locked + 10;
    });
    if (found == kCannotLock) GTEST_SKIP() << "this user may not lock so much";
    EXPECT_EQ(found, kNotLocked) << flags << ": not seen, or seen when it was over";
  }
}

TEST(ProcessTest, OnlyTheSliceOfTheCallingThreadChanges) {
  const Scheduling others = OwnScheduling();
  std::thread([&] {
    Scheduling wanted = others;
    mg_ask_for_short_slices();
    if (wanted[kRuntime] != 0) wanted[kRuntime] = 100'000;
    EXPECT_EQ(OwnScheduling(), wanted);
  }).join();
  EXPECT_EQ(OwnScheduling(), others);
}

}  // namespace
}  // namespace memgov::testing
