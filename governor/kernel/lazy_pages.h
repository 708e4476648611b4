// Page by page, where in a mapping the lazily freed memory is.
//
// smaps counts by mapping, and a mapping may be a whole heap: some of it freed, some in use. The flags of the
// physical pages tell them apart: anonymous, but not swap-backed, is what MADV_FREE leaves. It needs
// CAP_SYS_ADMIN, without which the kernel hides where pages are; the levers then go by whole mappings.
//
// A page that was written again looks the same until reclaim has looked at it: the kernel sees the difference
// in the page table, and keeps it.

#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/core/units.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

// Addresses in a process, end exclusive.
struct PageRun {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  bool operator==(const PageRun&) const = default;
};

// Where pages are (an entry of /proc/PID/pagemap each), and what /proc/kpageflags says of them: the runs of
// lazily freed ones, from address `start` on. Pages of one compound page share the flags of its first, which
// older kernels show at the first only; a part whose first page is not seen counts as in use. Pure.
std::vector<PageRun> LazyRuns(const std::vector<std::uint64_t>& pagemap,
                              const std::vector<std::uint64_t>& flags, std::uint64_t start,
                              std::uint64_t page_size);

// Of one process. One thread.
class LazyPageFinder {
 public:
  // `process` is a descriptor of /proc/PID. PermissionDenied: CAP_SYS_ADMIN is missing, or root's files
  // cannot be read.
  static absl::StatusOr<LazyPageFinder> Open(int process);

  // The runs within [start, end), a part of the address space that is small enough to be held at once. Costs
  // 90 to 270 ms CPU for each resident GiB (LazyPageFinderTest.PrintsItsPrice; the more the frames are
  // scattered, the more): as much as the page-out itself. NotFound: the process is gone.
  absl::StatusOr<std::vector<PageRun>> Find(std::uint64_t start, std::uint64_t end);

 private:
  LazyPageFinder(UniqueFd pagemap, UniqueFd flags)
      : pagemap_fd_(std::move(pagemap)), flags_fd_(std::move(flags)) {}

  UniqueFd pagemap_fd_;
  UniqueFd flags_fd_;
  std::vector<std::uint64_t> pagemap_;
  std::vector<std::uint64_t> flags_;
};

}  // namespace memgov::kernel
