// The lever kPageOut: process_madvise(MADV_PAGEOUT) on ranges whose pages are confirmed to be lazily freed.
//
// It needs no help from the process and cannot harm it: MADV_PAGEOUT changes no content. A lazily freed page
// is dropped, and reads as zeroes when it is touched again, as the process has allowed. A page that was
// written again meanwhile is put back among the anonymous pages and stays. If the process ends, unmaps or
// executes another program between our look and our call, the call reaches other ranges or fails; both are
// harmless. (Advice that drops content, MADV_DONTNEED and MADV_FREE, the kernel refuses from outside.)
//
// Ordinary pages in such a range are another matter. The kernel looks at each in vain where there is no swap
// (time: ours and, as mmap_lock is held for reading, that of a thread that wants to map or unmap), and writes
// them out where there is. And it splits ordinary huge pages, even without swap (seen on Linux 6.18: 128 of
// 128; PageOutTest.HugePagesInUseAreNotSplit holds us to it). So a range is advised as a whole only when it
// is lazy nearly throughout; another one page by page (lazy_pages.h); and where that cannot be told, not at
// all if it may do more than cost time.

#pragma once

#include "governor/kernel/lazy_memory.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/reclaim_order.h"
#include "governor/kernel/reclaim_step.h"

namespace memgov::kernel {

// Carries the order out on this thread. The result's wall and cpu are the caller's to fill in.
ReclaimResult PageOut(const CgroupLayout& layout, const ReclaimOrder& order, const GoOn& go_on);

enum class PageOutMode {
  kWhole,   // all of the range
  kByPage,  // the lazily freed pages in it
  kLeave,   // nothing: it would do harm, or cost more than it brings
};

// `swap`: ordinary pages could be swapped out. `page_flags`: it can be told page by page.
PageOutMode ModeFor(const LazyRange& range, bool swap, bool page_flags);

// How many bytes of address space one call may cover in mode kWhole: what holds kReclaimStep of resident
// memory if that is spread evenly, but at most 8 times kReclaimStep, because it need not be.
core::Bytes PageOutStride(const LazyRange& range);

}  // namespace memgov::kernel
