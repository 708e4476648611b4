// How a release is cut into slices, on a page heap that is only counted and takes as long as a test wants.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "client/c/allocators/allocator.h"

namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::uint64_t kMiB = 1 << 20;

// Free spans, in the order in which they are given back, with what each takes.
struct Span {
  std::uint64_t bytes;
  long took_ms;
};

struct PageHeap {
  std::deque<Span> spans;
  std::vector<std::uint64_t> asked;
  std::uint64_t decommitted = 0;
  std::uint64_t surplus = 0;
  std::size_t eager = 0;
  bool old = false;  // from before it counted what it decommitted

  std::uint64_t Free() const {
    std::uint64_t sum = 0;
    for (const Span& span : spans) sum += span.bytes;
    return sum;
  }
} g_heap;

int GetProperty(const char* name, std::size_t* value) {
  const std::string property = name;
  if (property == "tcmalloc.pageheap_free_bytes") {
    *value = g_heap.Free();
  } else if (property == "tcmalloc.pageheap_total_decommit_bytes" && !g_heap.old) {
    *value = g_heap.decommitted;
  } else if (property == "tcmalloc.aggressive_memory_decommit") {
    *value = g_heap.eager;
  } else if (property == "generic.heap_size") {
    *value = 1024 * kMiB;
  } else if (property == "generic.current_allocated_bytes") {
    *value = 7 * kMiB;
  } else {
    return 0;
  }
  return 1;
}

int SetProperty(const char* name, std::size_t value) {
  if (std::strcmp(name, "tcmalloc.aggressive_memory_decommit") != 0) return 0;
  g_heap.eager = value;
  return 1;
}

// As gperftools does it: whole spans, and what was too much is not returned again.
void ReleaseToSystem(std::size_t bytes) {
  g_heap.asked.push_back(bytes);
  if (bytes <= g_heap.surplus) {
    g_heap.surplus -= bytes;
    return;
  }
  const std::uint64_t wanted = bytes - g_heap.surplus;
  std::uint64_t released = 0;
  while (released < wanted && !g_heap.spans.empty()) {
    const Span span = g_heap.spans.front();
    g_heap.spans.pop_front();
    const timespec time = {.tv_sec = 0, .tv_nsec = span.took_ms * 1000000};
    nanosleep(&time, nullptr);
    released += span.bytes;
  }
  g_heap.decommitted += released;
  g_heap.surplus = released > wanted ? released - wanted : 0;
}

const char* Version(int* major, int* minor, const char** patch) {
  *major = 2;
  *minor = 10;
  *patch = "";
  return "gperftools 2.10";
}

class GperftoolsTest : public ::testing::Test {
 protected:
  GperftoolsTest() { g_heap = {}; }

  mg_allocator* Find() {
    const mg_gperftools functions = {GetProperty, SetProperty, ReleaseToSystem, Version};
    return mg_gperftools_allocator(&functions);
  }

  // Returns why it stopped.
  std::string Release(std::uint64_t bytes, std::uint64_t longest_stall_ms) {
    mg_release release = {.bytes = bytes, .longest_stall_ns = longest_stall_ms * 1000000, .stopped = ""};
    EXPECT_EQ(Find()->release(&release), nullptr);
    return release.stopped;
  }
};

TEST_F(GperftoolsTest, EverythingGoesInSlicesOfEightMiB) {
  for (int i = 0; i < 64; ++i) g_heap.spans.push_back({kMiB, 0});
  EXPECT_EQ(Release(1024 * kMiB, 0), "");
  EXPECT_EQ(g_heap.Free(), 0u);
  EXPECT_EQ(g_heap.asked, std::vector<std::uint64_t>(8, 8 * kMiB));
}

TEST_F(GperftoolsTest, ItStopsAtTheBytes) {
  for (int i = 0; i < 64; ++i) g_heap.spans.push_back({kMiB, 0});
  EXPECT_EQ(Release(20 * kMiB, 0), "");
  EXPECT_EQ(g_heap.Free(), 44 * kMiB);
  EXPECT_EQ(g_heap.asked, (std::vector<std::uint64_t>{8 * kMiB, 8 * kMiB, 4 * kMiB}));
}

TEST_F(GperftoolsTest, WhatWasReturnedTooMuchIsPassedOver) {
  g_heap.spans = {{300 * kMiB, 0}, {50 * kMiB, 0}, {50 * kMiB, 0}};
  EXPECT_EQ(Release(10 * kMiB, 0), "");
  EXPECT_EQ(g_heap.Free(), 100 * kMiB);
  EXPECT_EQ(Release(10 * kMiB, 0), "");
  EXPECT_EQ(g_heap.Free(), 50 * kMiB);
}

TEST_F(GperftoolsTest, ASmallRequestAfterALargeSurplusIsMet) {
  g_heap.spans = {{900 * kMiB, 0}, {kMiB, 0}, {kMiB, 0}};
  Release(1, 0);
  EXPECT_EQ(g_heap.Free(), 2 * kMiB);
  Release(1, 0);
  EXPECT_EQ(g_heap.Free(), kMiB);
}

TEST_F(GperftoolsTest, SlicesThatNearTheBoundAreMadeSmaller) {
  for (int i = 0; i < 20; ++i) g_heap.spans.push_back({kMiB, 5});
  EXPECT_EQ(Release(1024 * kMiB, 1000), "");
  EXPECT_EQ(g_heap.asked.front(), 8 * kMiB);
  EXPECT_EQ(g_heap.Free(), 0u);
  g_heap = {};
  for (int i = 0; i < 20; ++i) g_heap.spans.push_back({kMiB, 20});
  EXPECT_EQ(Release(1024 * kMiB, 400), "");
  EXPECT_EQ(g_heap.asked.at(1), 4 * kMiB);
  EXPECT_EQ(g_heap.Free(), 0u);
}

TEST_F(GperftoolsTest, ASpanThatTakesLongerThanTheBoundIsTheLast) {
  g_heap.spans = {{4 * kMiB, 0}, {100 * kMiB, 40}, {200 * kMiB, 80}};
  const std::string why = Release(1024 * kMiB, 20);
  EXPECT_THAT(why, StartsWith("gperftools: stopped after 104 MiB: returning 104 MiB at once took "));
  EXPECT_EQ(g_heap.Free(), 200 * kMiB);
}

TEST_F(GperftoolsTest, AMiBThatTakesLongerThanTheBoundIsTheLast) {
  for (int i = 0; i < 40; ++i) g_heap.spans.push_back({kMiB, 6});
  const std::string why = Release(1024 * kMiB, 5);
  EXPECT_THAT(why, HasSubstr("returning 1 MiB at once took "));
  EXPECT_EQ(g_heap.asked, (std::vector<std::uint64_t>{8 * kMiB, 4 * kMiB, 2 * kMiB, kMiB}));
}

TEST_F(GperftoolsTest, ItEndsWhenNothingIsGivenBack) {
  g_heap.spans = {{8 * kMiB, 0}};
  g_heap.surplus = UINT64_MAX;  // stands for a kernel or a setting that returns nothing
  EXPECT_EQ(Release(1024 * kMiB, 0), "");
  EXPECT_EQ(g_heap.Free(), 8 * kMiB);
}

TEST_F(GperftoolsTest, TheEstimateIsThePageHeaps) {
  g_heap.spans = {{8 * kMiB, 0}};
  const mg_process process = {};
  const mg_estimate estimate = Find()->estimate(&process);
  EXPECT_EQ(estimate.kind, MG_ESTIMATE_EXACT);
  EXPECT_EQ(estimate.live_bytes, 7 * kMiB);
  EXPECT_EQ(estimate.retained_bytes, 8 * kMiB);
  EXPECT_EQ(estimate.lazily_freed_bytes, 0u);
}

TEST_F(GperftoolsTest, AVersionThatDoesNotCountHasNoLevers) {
  g_heap.old = true;
  EXPECT_EQ(Find(), nullptr);
}

TEST_F(GperftoolsTest, EagerIsRestored) {
  mg_allocator* allocator = Find();
  EXPECT_STREQ(allocator->name, "gperftools 2.10");
  EXPECT_EQ(allocator->set_mode(MG_MODE_EAGER), nullptr);
  EXPECT_EQ(g_heap.eager, 1u);
  Find();  // as the child of a fork does
  EXPECT_EQ(g_heap.eager, 0u);
  EXPECT_TRUE(Find()->capabilities.set_release_mode);
  g_heap.eager = 1;  // the program's own choice
  EXPECT_FALSE(Find()->capabilities.set_release_mode);
  EXPECT_EQ(Find()->startup_mode, MG_MODE_EAGER);
}

}  // namespace
