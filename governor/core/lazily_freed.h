// How much of a cgroup's memory is lazily freed (MADV_FREE), told from memory.stat alone.
//
// No counter holds it. But the kernel moves a lazily freed page from the anonymous LRU lists to the inactive
// file list and goes on counting it as anonymous; so the same pages are missing on one side of the books and
// too many on the other:
//   E1 = (inactive_file + active_file) - (file - shmem)            on the file lists, yet not page cache
//   E2 = anon - (inactive_anon + active_anon - shmem)              anonymous, yet not on the anonymous lists
// Both cost nothing beyond the memory.stat that is read anyway. They are a hint where confirmation
// (kernel/lazy_memory.h), which reads the page tables of every process, is worth its price.

#pragma once

#include "governor/core/snapshot.h"
#include "governor/core/units.h"

namespace memgov::core {

struct LazyBounds {
  Bytes at_least = 0;
  Bytes at_most = 0;  // never below at_least
};

// Where no freed page was written again and no swap is in use, at_least <= lazily freed <= at_most, but for
// the pages that each CPU still holds back from the lists (31 at most, for each kind). Equal when nothing is
// unevictable.
//   at_least (E1) is low by locked page cache, which is on neither file list.
//   at_most (E2) is high by locked anonymous memory and locked shmem, which are on neither anonymous list.
// A page that was written again after it was freed is in use, but stays on the file list until reclaim (or
// the page-out lever) looks at it: both bounds then count it. So lazily freed + written again lies between
// the bounds; lazily freed alone is still <= at_most, but may be below at_least.
// With swap in use, pages of the swap cache lower both: `file` counts them, and so do the anonymous lists.
LazyBounds LazilyFreedBounds(const MemoryStat& stat);

}  // namespace memgov::core
