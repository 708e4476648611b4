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
// Neither lever kills, loses data, or changes a setting: whatever happens half way, nothing is to be undone.
// Both are judged by the drop of usage, never by what a call returns.

#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"

namespace memgov::kernel {

enum class ReclaimLever {
  kPageOut,  // process_madvise(MADV_PAGEOUT) on confirmed lazily freed ranges
  kReclaim,  // memory.reclaim (v2)
};

struct ReclaimOrder {
  std::string path;       // below the memory mount; processes of cgroups below it count
  core::Bytes bytes = 0;  // how far usage should fall
  ReclaimLever lever = ReclaimLever::kPageOut;
  core::Duration longest = std::chrono::seconds(2);  // no step is begun after that
};

// Why an order ended, where its status is OK.
enum class ReclaimEnd {
  kEnough,    // usage fell by what was ordered
  kNoMore,    // everything confirmed was gone through; memory.reclaim found nothing further
  kNoYield,   // steps freed (nearly) nothing, though they should have
  kRefaults,  // what was taken is being read back: it was in use
  kTimeOver,
};

struct ReclaimResult {
  // OK: carried out as far as `end` says; what it was worth, say the usages.
  // NotFound: the cgroup is gone. FailedPrecondition: this lever does not exist here, or no process can be
  // seen (a pid namespace of our own). PermissionDenied: no process may be read or advised, or a read-only
  // mount. AlreadyExists: an order for this path is under way. Cancelled: shut down before it began.
  absl::Status status;
  ReclaimEnd end = ReclaimEnd::kNoMore;
  core::Bytes confirmed = 0;  // kPageOut: lazily freed in all processes that were looked at, before
  core::Bytes usage_before = 0;
  core::Bytes usage_after = 0;
  // workingset_refault_file of memory.stat, pages, cumulative; absent: not told here.
  std::optional<std::uint64_t> refaults_before;
  std::optional<std::uint64_t> refaults_after;
  core::Duration wall{};
  core::Duration cpu{};  // of our worker: the kernel's work is charged to who asks for it
  int processes = 0;     // kPageOut: how many were advised
};

// One worker thread carries orders out, one after the other; no order ever runs on the caller's thread.
class Reclaimer {
 public:
  using Done = std::function<void(ReclaimResult)>;

  // Both outlive it.
  Reclaimer(const CgroupLayout& layout, boost::asio::io_context& io);
  // Ends the order under way at its next step (32 MiB or one process's smaps) and waits for that.
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

// Tries it on ourselves, on a child that only waits, and by asking to reclaim 0 bytes: touches nobody else.
// Any thread; forks for a moment.
ReclaimAbilities ProbeReclaim(const CgroupLayout& layout);

}  // namespace memgov::kernel
