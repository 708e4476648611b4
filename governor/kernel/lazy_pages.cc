#include "governor/kernel/lazy_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kernel-page-flags.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "governor/kernel/process.h"

namespace memgov::kernel {
namespace {

constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
constexpr std::uint64_t kFrameMask = (std::uint64_t{1} << 55) - 1;

constexpr bool Has(std::uint64_t flags, int bit) { return (flags >> bit & 1) != 0; }

// The page frame of an entry; 0 for none.
constexpr std::uint64_t Frame(std::uint64_t entry) {
  return (entry & kPresent) != 0 ? entry & kFrameMask : 0;
}

// Reads `count` 8-byte words, the first being number `first` of the file. What lies behind its end is 0.
absl::Status ReadWords(int fd, std::uint64_t first, std::uint64_t* words, std::size_t count) {
  constexpr std::size_t kWord = sizeof(std::uint64_t);
  std::size_t done = 0;
  while (done < count) {
    const ssize_t got =
        ::pread(fd, words + done, (count - done) * kWord, static_cast<off_t>((first + done) * kWord));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, "reading pagemap or kpageflags");
    if (got == 0) break;
    done += static_cast<std::size_t>(got) / kWord;
  }
  std::fill(words + done, words + count, 0);
  return absl::OkStatus();
}

}  // namespace

std::vector<PageRun> LazyRuns(const std::vector<std::uint64_t>& pagemap,
                              const std::vector<std::uint64_t>& flags, std::uint64_t start,
                              std::uint64_t page_size) {
  std::vector<PageRun> runs;
  bool lazy = false;
  std::uint64_t before = 0;  // the frame of the page before
  for (std::size_t i = 0; i < pagemap.size(); ++i) {
    const std::uint64_t frame = Frame(pagemap[i]);
    if (frame == 0) {
      lazy = false;
    } else if (Has(flags[i], KPF_COMPOUND_TAIL)) {
      lazy = lazy && frame == before + 1;
    } else {
      lazy = Has(flags[i], KPF_ANON) && !Has(flags[i], KPF_SWAPBACKED) && !Has(flags[i], KPF_KSM);
    }
    before = frame;
    if (!lazy) continue;
    const std::uint64_t at = start + i * page_size;
    if (!runs.empty() && runs.back().end == at) {
      runs.back().end += page_size;
    } else {
      runs.push_back({.start = at, .end = at + page_size});
    }
  }
  return runs;
}

absl::StatusOr<LazyPageFinder> LazyPageFinder::Open(int process) {
  // Without it pagemap opens, but says 0 for every frame.
  if (!HasEffectiveCapability(CAP_SYS_ADMIN)) {
    return absl::PermissionDeniedError("without CAP_SYS_ADMIN the kernel hides where pages are");
  }
  UniqueFd pagemap(::openat(process, "pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap) return absl::ErrnoToStatus(errno, "opening pagemap");
  UniqueFd flags(::open("/proc/kpageflags", O_RDONLY | O_CLOEXEC));
  if (!flags) return absl::ErrnoToStatus(errno, "opening /proc/kpageflags");
  return LazyPageFinder(std::move(pagemap), std::move(flags));
}

absl::StatusOr<std::vector<PageRun>> LazyPageFinder::Find(std::uint64_t start, std::uint64_t end) {
  static const auto kPage = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t count = (end - start) / kPage;
  pagemap_.resize(count);
  flags_.assign(count, 0);
  absl::Status read = ReadWords(pagemap_fd_.get(), start / kPage, pagemap_.data(), count);
  if (!read.ok()) return read;
  for (std::size_t i = 0; i < count;) {
    if ((pagemap_[i] & kPresent) == 0) {
      ++i;
      continue;
    }
    const std::uint64_t frame = Frame(pagemap_[i]);
    if (frame == 0)
      return absl::PermissionDeniedError("pagemap shows no page frames: CAP_SYS_ADMIN is needed on the host");
    std::size_t next = i + 1;
    while (next < count && Frame(pagemap_[next]) == frame + (next - i)) ++next;
    read = ReadWords(flags_fd_.get(), frame, flags_.data() + i, next - i);
    if (!read.ok()) return read;
    i = next;
  }
  return LazyRuns(pagemap_, flags_, start, kPage);
}

}  // namespace memgov::kernel
