// google/tcmalloc's entry points as they are (credit, subrelease, what goes back by itself), on a page heap
// that is only counted.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "client/c/allocators/allocator.h"

namespace {

using ::testing::StartsWith;

constexpr std::uint64_t kMiB = 1 << 20;

struct PageHeap {
  std::uint64_t whole = 0;           // free bytes of whole huge pages
  std::vector<std::uint64_t> parts;  // free bytes of each huge page that is in use in part
  std::uint64_t unmapped = 0;
  std::uint64_t credit = 0;
  std::uint64_t unaccounted = 0;  // given back by itself since the last release
  std::uint64_t taken_again = 0;  // unmapped bytes that the program takes in each release
  long part_took_ms = 0;
  mg_tcmalloc_duration skip_short = {60, 0};
  mg_tcmalloc_duration skip_long = {300, 0};
  int madvise = 1;  // 3: as it is while subrelease splits huge pages
  std::vector<int> madvised;
  bool subreleases = true;
  bool keeps = false;
  bool old = false;  // without a count of what is unmapped
  std::vector<std::uint64_t> asked;

  std::uint64_t Free() const {
    std::uint64_t sum = whole;
    for (const std::uint64_t part : parts) sum += part;
    return sum;
  }
  bool Skips() const { return skip_short.seconds != 0 || skip_long.seconds != 0; }
} g_heap;

// Its lock, which a forked child inherits as it is.
pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
std::atomic<bool> g_releasing{false};

bool GetProperty(const char* name, std::size_t size, std::size_t* value) {
  const std::string_view property(name, size);
  if (property == "tcmalloc.pageheap_free_bytes") {
    *value = g_heap.Free();
  } else if (property == "tcmalloc.pageheap_unmapped_bytes" && !g_heap.old) {
    *value = g_heap.unmapped;
  } else if (property == "generic.current_allocated_bytes") {
    *value = 7 * kMiB;
  } else {
    return false;
  }
  return true;
}

std::uint64_t TakeParts(std::uint64_t wanted) {
  std::uint64_t released = std::exchange(g_heap.unaccounted, 0);
  while (released < wanted && g_heap.subreleases && !g_heap.Skips() && !g_heap.parts.empty()) {
    const timespec time = {.tv_sec = 0, .tv_nsec = g_heap.part_took_ms * 1000000};
    nanosleep(&time, nullptr);
    released += g_heap.parts.back();
    g_heap.unmapped += g_heap.parts.back();
    g_heap.parts.pop_back();
  }
  return released;
}

std::size_t ReleaseToSystem(std::size_t bytes) {
  pthread_mutex_lock(&g_lock);
  g_releasing = true;
  g_heap.asked.push_back(bytes);
  g_heap.madvised.push_back(g_heap.madvise);
  const std::uint64_t wanted = bytes > g_heap.credit ? bytes - g_heap.credit : 0;
  std::uint64_t released = 0;
  if (!g_heap.keeps) {
    released = std::min((wanted + 2 * kMiB - 1) / (2 * kMiB) * (2 * kMiB), g_heap.whole);
    g_heap.whole -= released;
    g_heap.unmapped += released;
    if (released < wanted) released += TakeParts(wanted - released);
  }
  g_heap.credit = released > wanted ? released - wanted : 0;
  g_heap.unmapped -= std::min(g_heap.unmapped, g_heap.taken_again);
  g_releasing = false;
  pthread_mutex_unlock(&g_lock);
  return std::min(released, wanted);
}

bool Subreleases() { return g_heap.subreleases; }
void GetShort(mg_tcmalloc_duration* interval) { *interval = g_heap.skip_short; }
void GetLong(mg_tcmalloc_duration* interval) { *interval = g_heap.skip_long; }
void SetShort(mg_tcmalloc_duration interval) { g_heap.skip_short = interval; }
void SetLong(mg_tcmalloc_duration interval) { g_heap.skip_long = interval; }
int GetMadvise() { return g_heap.madvise; }
void SetMadvise(int preference) { g_heap.madvise = preference; }

constexpr mg_tcmalloc kFunctions = {GetProperty, ReleaseToSystem, Subreleases, GetShort,  GetLong,
                                    SetShort,    SetLong,         GetMadvise,  SetMadvise};

class TcmallocTest : public ::testing::Test {
 protected:
  TcmallocTest() { g_heap = {}; }

  mg_allocator* Find(const mg_tcmalloc& functions = kFunctions) { return mg_tcmalloc_allocator(&functions); }

  // Returns why it stopped.
  std::string Release(std::uint64_t bytes, std::uint64_t longest_stall_ms = 0) {
    mg_release release = {.bytes = bytes, .longest_stall_ns = longest_stall_ms * 1000000, .stopped = ""};
    EXPECT_EQ(Find()->release(&release), nullptr);
    return release.stopped;
  }

  mg_estimate Estimate(const mg_tcmalloc& functions = kFunctions) {
    const mg_process process = {};
    return Find(functions)->estimate(&process);
  }
};

TEST_F(TcmallocTest, IsTold) {
  const mg_allocator* allocator = Find();
  EXPECT_STREQ(allocator->name, "google/tcmalloc");
  EXPECT_TRUE(allocator->capabilities.release);
  EXPECT_TRUE(allocator->capabilities.release_in_chunks);
  EXPECT_FALSE(allocator->capabilities.set_release_mode);
  EXPECT_FALSE(allocator->capabilities.retroactive);
  EXPECT_FALSE(allocator->capabilities.needs_owner_thread);
  EXPECT_EQ(allocator->capabilities.stall, MG_STALL_MEDIUM);
}

TEST_F(TcmallocTest, EverythingGoesInSlicesOfAHugePage) {
  g_heap.whole = 64 * kMiB;
  EXPECT_EQ(Release(0), "");
  EXPECT_EQ(g_heap.Free(), 0u);
  EXPECT_EQ(g_heap.asked, std::vector<std::uint64_t>(32, 2 * kMiB));
}

TEST_F(TcmallocTest, ItStopsAtTheBytes) {
  g_heap.whole = 64 * kMiB;
  EXPECT_EQ(Release(20 * kMiB), "");
  EXPECT_EQ(g_heap.Free(), 44 * kMiB);
}

TEST_F(TcmallocTest, WhatARecentLoadNeededIsReturnedToo) {
  g_heap.whole = 10 * kMiB;
  g_heap.parts.assign(100, 3 * kMiB / 2);
  EXPECT_EQ(Release(0), "");
  EXPECT_EQ(g_heap.Free(), 0u);
  EXPECT_EQ(g_heap.skip_short.seconds, 60);
  EXPECT_EQ(g_heap.skip_long.seconds, 300);
}

TEST_F(TcmallocTest, TheProgramsOwnIntervalsStay) {
  g_heap.skip_short.seconds = 10;
  g_heap.whole = 10 * kMiB;
  g_heap.parts.assign(100, kMiB);
  EXPECT_EQ(Estimate().kind, MG_ESTIMATE_BOUND);
  EXPECT_EQ(Release(0), "");
  EXPECT_EQ(g_heap.Free(), 100 * kMiB);
  EXPECT_LT(g_heap.asked.size(), 10u);
  EXPECT_EQ(g_heap.skip_short.seconds, 10);
  EXPECT_EQ(g_heap.skip_long.seconds, 300);
}

TEST_F(TcmallocTest, HugePagesAreSplitUnlessTheProgramHasItsOwnPreference) {
  g_heap.whole = 2 * kMiB;
  EXPECT_EQ(Release(0), "");
  EXPECT_EQ(g_heap.madvised, std::vector<int>{3});
  EXPECT_EQ(g_heap.madvise, 1);
  g_heap.whole = 2 * kMiB;
  g_heap.madvise = 2;  // MADV_FREE alone
  EXPECT_EQ(Release(0), "");
  EXPECT_EQ(g_heap.madvised, (std::vector<int>{3, 2}));
  EXPECT_EQ(g_heap.madvise, 2);
}

TEST_F(TcmallocTest, WhatWentBackByItselfDoesNotStandForWhatIsAsked) {
  g_heap.parts.assign(100, kMiB);
  g_heap.unaccounted = 5000 * kMiB;
  EXPECT_EQ(Release(40 * kMiB), "");
  EXPECT_EQ(g_heap.Free(), 60 * kMiB);
}

TEST_F(TcmallocTest, CreditDoesNotStandForWhatIsAsked) {
  g_heap.parts = {kMiB, kMiB, kMiB, 2 * kMiB};
  Release(1);
  EXPECT_EQ(g_heap.Free(), 3 * kMiB);
  EXPECT_EQ(g_heap.credit, kMiB);
  Release(2 * kMiB);
  EXPECT_EQ(g_heap.Free(), kMiB);
}

TEST_F(TcmallocTest, ItEndsWhenNothingIsGivenBack) {
  g_heap.whole = 64 * kMiB;
  g_heap.keeps = true;
  EXPECT_EQ(Release(0), "");
  EXPECT_LT(g_heap.asked.size(), 10u);
}

// Unmapped memory that the program takes meanwhile hides what was returned.
TEST_F(TcmallocTest, ItEndsInAProgramThatTakesAsMuch) {
  g_heap.parts.assign(100, kMiB);
  g_heap.unmapped = 500 * kMiB;
  g_heap.taken_again = 30 * kMiB;
  EXPECT_EQ(Release(0), "");
  EXPECT_LT(g_heap.asked.size(), 10u);
}

TEST_F(TcmallocTest, AHugePageThatTakesLongerThanTheBoundIsTheLast) {
  g_heap.parts.assign(40, kMiB);
  g_heap.part_took_ms = 6;
  EXPECT_THAT(Release(0, 5),
              StartsWith("google/tcmalloc: stopped after 3 MiB: returning 1 MiB at once took "));
  EXPECT_EQ(g_heap.asked, (std::vector<std::uint64_t>{2 * kMiB, kMiB}));
  EXPECT_EQ(g_heap.skip_short.seconds, 60);
}

TEST_F(TcmallocTest, TheEstimateIsExactWhereAllCanBeReturned) {
  g_heap.whole = 2 * kMiB;
  g_heap.parts = {kMiB};
  const mg_estimate estimate = Estimate();
  EXPECT_EQ(estimate.kind, MG_ESTIMATE_EXACT);
  EXPECT_EQ(estimate.live_bytes, 7 * kMiB);
  EXPECT_EQ(estimate.retained_bytes, 3 * kMiB);
  EXPECT_EQ(estimate.lazily_freed_bytes, 0u);
  g_heap.skip_short.seconds = g_heap.skip_long.seconds = 0;  // "small but slow"
  EXPECT_EQ(Estimate().kind, MG_ESTIMATE_EXACT);
  g_heap.subreleases = false;  // TCMALLOC_HPAA_CONTROL=1
  EXPECT_EQ(Estimate().kind, MG_ESTIMATE_BOUND);
}

TEST_F(TcmallocTest, AVersionWithoutIntervalsHasABound) {
  g_heap.whole = 20 * kMiB;
  const mg_tcmalloc functions = {.get_property = GetProperty, .release_to_system = ReleaseToSystem};
  EXPECT_EQ(Estimate(functions).kind, MG_ESTIMATE_BOUND);
  mg_release release = {.bytes = 0, .longest_stall_ns = 0, .stopped = ""};
  EXPECT_EQ(Find(functions)->release(&release), nullptr);
  EXPECT_EQ(g_heap.Free(), 0u);
}

TEST_F(TcmallocTest, AVersionThatDoesNotCountHasNoLevers) {
  g_heap.old = true;
  EXPECT_EQ(Find(), nullptr);
}

// A child that found the lock taken could never allocate.
TEST_F(TcmallocTest, AForkedChildFindsTheLockFreeAndTheSettingsRestored) {
  // As the client's own handlers do.
  ASSERT_EQ(pthread_atfork(mg_tcmalloc_before_fork, mg_tcmalloc_after_fork_in_parent,
                           mg_tcmalloc_after_fork_in_child),
            0);
  g_heap.parts.assign(20, kMiB);
  g_heap.part_took_ms = 20;
  mg_allocator* allocator = Find();
  std::thread agent([&] {
    mg_release release = {.bytes = 0, .longest_stall_ns = 0, .stopped = ""};
    allocator->release(&release);
  });
  while (!g_releasing) std::this_thread::yield();
  const pid_t child = fork();
  if (child == 0) {
    const bool restored = g_heap.skip_short.seconds == 60 && g_heap.madvise == 1;
    _exit(restored && pthread_mutex_trylock(&g_lock) == 0 ? 0 : 1);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  agent.join();
  EXPECT_EQ(g_heap.Free(), 0u);
}

}  // namespace
