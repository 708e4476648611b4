#include "governor/kernel/lazy_pages.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kernel-page-flags.h>
#include <stdio.h>
#include <sys/mman.h>

#include <cstring>
#include <ctime>

#include "gmock/gmock.h"
#include "governor/core/units.h"
#include "governor/kernel/process.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::kMiB;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
constexpr std::uint64_t Flag(int bit) { return std::uint64_t{1} << bit; }
constexpr std::uint64_t kLazy = Flag(KPF_ANON) | Flag(KPF_LRU);
constexpr std::uint64_t kInUse = kLazy | Flag(KPF_SWAPBACKED);
constexpr std::uint64_t kFile = Flag(KPF_LRU) | Flag(KPF_MMAP);
constexpr std::uint64_t kTail = Flag(KPF_COMPOUND_TAIL);
constexpr std::uint64_t kHead = Flag(KPF_COMPOUND_HEAD);

TEST(LazyRunsTest, AreAnonymousPagesWithoutSwapBacking) {
  const std::vector<std::uint64_t> where = {kPresent | 5, kPresent | 9, 0,
                                            kPresent | 3, kPresent | 4, kPresent | 7};
  const std::vector<std::uint64_t> flags = {kLazy, kLazy, 0, kInUse, kLazy, kFile};
  EXPECT_THAT(LazyRuns(where, flags, 0x10000, 0x1000),
              ElementsAre(PageRun{0x10000, 0x12000}, PageRun{0x14000, 0x15000}));
}

TEST(LazyRunsTest, SwappedOutAndMergedPagesAreNot) {
  EXPECT_THAT(LazyRuns({5, kPresent | 6}, {kLazy, kLazy | Flag(KPF_KSM)}, 0, 0x1000), IsEmpty());
}

TEST(LazyRunsTest, TheRestOfACompoundPageIsAsItsFirst) {
  // Before Linux 6.10 the rest does not show the flags of the whole: an ordinary huge page must not look
  // freed.
  const std::vector<std::uint64_t> where = {kPresent | 8, kPresent | 9, kPresent | 10, kPresent | 11};
  EXPECT_THAT(LazyRuns(where, {kInUse | kHead, kLazy | kTail, kLazy | kTail, kLazy}, 0, 0x1000),
              ElementsAre(PageRun{0x3000, 0x4000}));
  EXPECT_THAT(LazyRuns(where, {kLazy | kHead, kTail, kTail, kInUse}, 0, 0x1000),
              ElementsAre(PageRun{0, 0x3000}));
  // Whose first page is elsewhere, that is not known.
  EXPECT_THAT(LazyRuns({kPresent | 9, kPresent | 20}, {kLazy | kTail, kLazy | kTail}, 0, 0x1000), IsEmpty());
  EXPECT_THAT(LazyRuns({kPresent | 8, kPresent | 21}, {kLazy, kLazy | kTail}, 0, 0x1000),
              ElementsAre(PageRun{0, 0x1000}));
}

class LazyPageFinderTest : public testing::Test {
 protected:
  static constexpr std::size_t kLength = 64 * kMiB;
  void SetUp() override {
    if (!HasEffectiveCapability(CAP_SYS_ADMIN)) GTEST_SKIP() << "no CAP_SYS_ADMIN";
    memory_ = static_cast<char*>(
        ::mmap(nullptr, kLength, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(memory_, MAP_FAILED);
    self_.reset(::open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  void TearDown() override {
    if (memory_ != nullptr) ::munmap(memory_, kLength);
  }
  std::uint64_t start() const { return reinterpret_cast<std::uint64_t>(memory_); }

  char* memory_ = nullptr;
  UniqueFd self_;
};

TEST_F(LazyPageFinderTest, FindsWhatWasFreedAndNothingElse) {
  std::memset(memory_, 1, 8 * kMiB);  // the rest is not even there
  ASSERT_EQ(::madvise(memory_ + kMiB, kMiB, MADV_FREE), 0);
  ASSERT_EQ(::madvise(memory_ + 4 * kMiB, 2 * kMiB, MADV_FREE), 0);
  auto finder = LazyPageFinder::Open(self_.get());
  ASSERT_TRUE(finder.ok()) << finder.status();
  const auto runs = finder->Find(start(), start() + kLength);
  if (absl::IsPermissionDenied(runs.status())) GTEST_SKIP() << runs.status();
  ASSERT_TRUE(runs.ok()) << runs.status();
  // A few pages may wait in a batch of this processor.
  std::uint64_t found = 0;
  for (const PageRun& run : *runs) {
    const std::uint64_t from = run.start - start();
    const std::uint64_t to = run.end - start();
    EXPECT_TRUE((from >= kMiB && to <= 2 * kMiB) || (from >= 4 * kMiB && to <= 6 * kMiB)) << from;
    found += to - from;
  }
  EXPECT_GE(found, 3 * kMiB - 64 * 4096);
}

TEST_F(LazyPageFinderTest, PrintsItsPrice) {
  std::memset(memory_, 1, kLength);
  ASSERT_EQ(::madvise(memory_, kLength / 2, MADV_FREE), 0);
  auto finder = LazyPageFinder::Open(self_.get());
  ASSERT_TRUE(finder.ok()) << finder.status();
  const std::clock_t began = std::clock();
  const auto runs = finder->Find(start(), start() + kLength);
  const double took_ms = 1e3 * static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
  if (runs.ok()) ::printf("[   saw    ] %.0f ms CPU for each GiB\n", took_ms * 1024 * kMiB / kLength);
}

}  // namespace
}  // namespace memgov::kernel
