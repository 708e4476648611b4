// Takes memory back from programs that run no client of ours, with the kernel's own levers.
//
// Which lever when:
//   kPageOut   a process holds lazily freed pages (core/lazily_freed.h hints at it). process_madvise with
//              MADV_PAGEOUT on the confirmed ranges of each process gives exactly these back and spares the
//              page cache of everybody in the cgroup. Every cgroup version.
//   kReclaim   memory.reclaim, v2 from Linux 5.19: takes the coldest of page cache and lazily freed pages
//              together, so old cache goes before fresh lazily freed pages. For domains whose memory is
//              mostly cold cache, or whose processes cannot be read.
// A client that releases by itself is 3 to 6 times cheaper than either: ask clients first.
//
// Costs, of our worker's CPU, for each GiB that came back (Linux 6.18 on a shared 2-CPU virtual machine,
// medians of 7; memgov_kernel_test --gtest_filter='ReclaimerTest.Takes*:PageOutTest.Gives*:*Prints*'
// --gtest_repeat=7):
//   kPageOut, ranges lazily freed throughout                   240 ms, confirmation included
//   kPageOut, 500 MiB among 40 MiB in use, page by page        510 ms
//   of that, confirmation: smaps_rollup 20 ms, smaps 21 ms for each GiB that is resident
// A process that wants to map or unmap waits for one step meanwhile, 32 MiB or some 10 ms.
//
// Neither lever kills, loses data, or changes a setting: whatever happens half way, nothing is to be undone.
// Both are judged by the drop of usage, never by what a call returns.

#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/reclaim_order.h"

namespace memgov::kernel {

// One worker thread carries orders out, one after the other; no order ever runs on the caller's thread. Make
// it after the guard, which must fork before any thread exists.
class Reclaimer {
 public:
  using Done = std::function<void(ReclaimResult)>;

  // Both outlive it.
  Reclaimer(const CgroupLayout& layout, boost::asio::io_context& io);
  // Ends the order under way at its next step (32 MiB, or some mappings of smaps) and waits for that. Orders
  // that wait are Cancelled; they are answered, too, if io runs on.
  ~Reclaimer();
  Reclaimer(const Reclaimer&) = delete;
  Reclaimer& operator=(const Reclaimer&) = delete;

  // Control thread. `done` is called from io.run(), always, and never from within Start.
  void Start(ReclaimOrder order, Done done);

 private:
  const CgroupLayout layout_;
  boost::asio::io_context& io_;
  std::atomic<bool> stopping_{false};
  // Paths with an order under way. The control thread's; shared with completions that outlive us.
  std::shared_ptr<absl::flat_hash_set<std::string>> under_way_;
  boost::asio::thread_pool worker_{1};
};

// What this machine lets us do, for people who ask (`memgovd doctor`). OK, or the reason and the remedy.
struct ReclaimAbilities {
  absl::Status page_out;             // process_madvise(MADV_PAGEOUT) on processes of others
  absl::Status reclaim;              // memory.reclaim
  bool swappiness_argument = false;  // it takes "swappiness=" (Linux 6.11)
};

// What can be told without trying: nothing is written, and nothing advised. For observe mode.
ReclaimAbilities LookAtReclaim(const CgroupLayout& layout);

// Tries it on ourselves, on a child that only waits, and by asking to reclaim 0 bytes: touches nobody else.
// Any thread; forks for a moment.
ReclaimAbilities ProbeReclaim(const CgroupLayout& layout);

}  // namespace memgov::kernel
