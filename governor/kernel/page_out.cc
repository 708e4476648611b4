#include "governor/kernel/page_out.h"

#include <errno.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "governor/kernel/cgroup_processes.h"
#include "governor/kernel/lazy_pages.h"

namespace memgov::kernel {
namespace {

using core::Bytes;
using core::kMiB;

constexpr std::size_t kMostProcesses = 4096;  // whose size is looked at
constexpr std::size_t kMostHolders = 64;      // the largest of them, whose page tables are
constexpr std::size_t kMostRanges = 4096;     // of one process

// Less than that is not worth a walk through a process's page tables.
constexpr Bytes kWorthwhile = kMiB;
// smaps_rollup is one read that nothing can interrupt: 15 ms for each GiB. Above, only smaps, in pieces.
constexpr Bytes kLargestRollup = 8 * core::kGiB;
// Calls end on these boundaries where they can: a huge page cut in two would be split.
constexpr std::uint64_t kHugePage = 2 * kMiB;
// After so many bytes that should have gone, look whether they did; after so many disappointments in a row,
// leave the process alone.
constexpr Bytes kJudgeEvery = 16 * kMiB;
constexpr int kMostDisappointments = 8;

// What should have left the process since its anonymous memory was `anon`. It is judged by its own memory,
// because neighbours in the cgroup may be taking what it gives.
struct Yield {
  Bytes anon = 0;
  Bytes expected = 0;
  int disappointments = 0;
};

struct Holder {
  PinnedProcess process;
  LazyMap map;
};

class PageOutRun {
 public:
  PageOutRun(const CgroupLayout& layout, const ReclaimOrder& order, const GoOn& go_on)
      : layout_(layout), order_(order), go_on_(go_on), meter_(layout, order.path) {}

  ReclaimResult Run();

 private:
  // How the work on one process, or on one range, ended.
  enum class Next { kGoOn, kNextProcess, kStop };

  std::vector<CgroupProcess> LargestProcesses(std::vector<CgroupProcess> all);
  void Confirm(const CgroupProcess& candidate, std::vector<Holder>* holders);
  Next Take(const Holder& holder);
  Next TakeRange(const Holder& holder, const LazyRange& range, LazyPageFinder* finder, Yield* yield);
  bool YieldsNothing(const Holder& holder, Yield* yield);
  Next Advise(const Holder& holder, std::span<const PageRun> runs);
  Next Stop(ReclaimEnd end) {
    result_.end = end;
    return Next::kStop;
  }
  // A process that ended meanwhile, or the end of our time, is not worth a word.
  void NoteFailure(const absl::Status& status) {
    const bool expected = absl::IsNotFound(status) || absl::IsCancelled(status);
    if (!expected && failure_.ok()) failure_ = status;
  }

  const CgroupLayout& layout_;
  const ReclaimOrder& order_;
  const GoOn& go_on_;
  ReclaimMeter meter_;
  bool swap_ = false;
  bool advised_ = false;   // of the present process, anything
  bool left_ = false;      // a range was left alone, for what else is in it
  int without_yield_ = 0;  // processes given up for it
  absl::Status failure_;   // the first
  ReclaimResult result_;
};

ReclaimResult PageOutRun::Run() {
  const auto usage = meter_.Usage();
  auto list = usage.ok() ? ProcessesWithin(layout_, order_.path, kMostProcesses)
                         : absl::StatusOr<ProcessList>(usage.status());
  if (!list.ok()) return {.status = list.status()};
  if (list->processes.empty() && list->hidden > 0) {
    return {.status = absl::FailedPreconditionError(absl::StrCat(
                list->hidden, " processes of ", order_.path, " are in a pid namespace we do not see into"))};
  }
  result_.usage_before = *usage;
  result_.usage_after = *usage;
  result_.refaults_before = meter_.Refaults();
  swap_ = SwapIsAvailable(layout_, order_.path);

  std::vector<Holder> holders;
  for (const CgroupProcess& candidate : LargestProcesses(std::move(list->processes))) {
    if (!go_on_()) break;
    Confirm(candidate, &holders);
  }
  std::sort(holders.begin(), holders.end(),
            [](const Holder& a, const Holder& b) { return a.map.lazy > b.map.lazy; });
  Next next = go_on_() ? Next::kGoOn : Stop(ReclaimEnd::kTimeOver);
  for (std::size_t i = 0; i < holders.size() && next != Next::kStop; ++i) next = Take(holders[i]);

  if (next != Next::kStop && result_.processes > 0 && without_yield_ == result_.processes) {
    result_.end = ReclaimEnd::kNoYield;
  }
  if (next != Next::kStop && result_.processes == 0) {
    result_.status = failure_;
    if (left_) result_.end = ReclaimEnd::kMixed;
  }
  result_.usage_after = meter_.Usage().value_or(result_.usage_after);
  result_.refaults_after = meter_.Refaults();
  return std::move(result_);
}

// Those with the most anonymous memory, the largest first: that is what they can hold lazily freed at most.
std::vector<CgroupProcess> PageOutRun::LargestProcesses(std::vector<CgroupProcess> all) {
  std::vector<std::pair<Bytes, CgroupProcess>> sized;
  for (CgroupProcess& process : all) {
    const auto anon = GuessAnonymousMemory(process.pid);
    if (anon.ok() && *anon >= kWorthwhile) sized.emplace_back(*anon, std::move(process));
  }
  std::sort(sized.begin(), sized.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  if (sized.size() > kMostHolders) sized.resize(kMostHolders);
  std::vector<CgroupProcess> largest;
  largest.reserve(sized.size());
  for (auto& [unused, process] : sized) largest.push_back(std::move(process));
  return largest;
}

void PageOutRun::Confirm(const CgroupProcess& candidate, std::vector<Holder>* holders) {
  auto process = PinnedProcess::Pin(layout_, candidate);
  if (!process.ok()) return NoteFailure(process.status());
  const auto anon = ReadAnonymousMemory(process->directory());
  if (anon.ok() && *anon <= kLargestRollup) {
    const auto lazy = ReadLazyTotal(process->directory());
    if (!lazy.ok()) return NoteFailure(lazy.status());
    if (*lazy < kWorthwhile) {
      result_.confirmed += *lazy;
      return;
    }
  }
  auto map = ReadLazyMap(process->directory(), kMostRanges, go_on_);
  if (!map.ok()) return NoteFailure(map.status());
  result_.confirmed += map->lazy;
  std::sort(map->ranges.begin(), map->ranges.end(),
            [](const LazyRange& a, const LazyRange& b) { return a.lazy > b.lazy; });
  holders->push_back({.process = *std::move(process), .map = *std::move(map)});
}

PageOutRun::Next PageOutRun::Take(const Holder& holder) {
  Yield yield{.anon = ReadAnonymousMemory(holder.process.directory()).value_or(0)};
  auto finder = LazyPageFinder::Open(holder.process.directory());
  Next next = Next::kGoOn;
  advised_ = false;
  for (const LazyRange& range : holder.map.ranges) {
    const PageOutMode mode = ModeFor(range, swap_, finder.ok());
    if (mode == PageOutMode::kLeave) {
      left_ = true;
      continue;
    }
    next = TakeRange(holder, range, mode == PageOutMode::kByPage ? &*finder : nullptr, &yield);
    if (next != Next::kGoOn) break;
  }
  if (advised_) ++result_.processes;
  return next;
}

// Without a `finder`, the range as a whole.
PageOutRun::Next PageOutRun::TakeRange(const Holder& holder, const LazyRange& range, LazyPageFinder* finder,
                                       Yield* yield) {
  const std::uint64_t end = range.start + static_cast<std::uint64_t>(range.length);
  const auto stride = static_cast<std::uint64_t>(finder != nullptr ? kReclaimStep : PageOutStride(range));
  for (std::uint64_t at = range.start; at < end;) {
    if (!go_on_()) return Stop(ReclaimEnd::kTimeOver);
    const std::uint64_t stop = end - at <= stride ? end : (at + stride) / kHugePage * kHugePage;
    std::vector<PageRun> runs = {{.start = at, .end = stop}};
    if (finder != nullptr) {
      auto found = finder->Find(at, stop);
      if (!found.ok()) {
        NoteFailure(found.status());
        return Next::kNextProcess;
      }
      runs = *std::move(found);
      for (const PageRun& run : runs) yield->expected += static_cast<Bytes>(run.end - run.start);
    } else {
      const double share = static_cast<double>(stop - at) / static_cast<double>(range.length);
      yield->expected += static_cast<Bytes>(static_cast<double>(range.lazy) * share);
    }
    at = stop;
    if (runs.empty()) continue;
    const Next advised = Advise(holder, runs);
    if (advised != Next::kGoOn) return advised;

    const auto usage = meter_.Usage();
    if (!usage.ok()) {
      result_.status = usage.status();
      return Next::kStop;
    }
    if (result_.usage_before - *usage >= order_.bytes) return Stop(ReclaimEnd::kEnough);
    if (yield->expected >= kJudgeEvery && YieldsNothing(holder, yield)) {
      ++without_yield_;
      return Next::kNextProcess;
    }
  }
  return Next::kGoOn;
}

bool PageOutRun::YieldsNothing(const Holder& holder, Yield* yield) {
  const Bytes anon = ReadAnonymousMemory(holder.process.directory()).value_or(0);
  const bool disappointed = yield->anon - anon < yield->expected / 8;
  yield->disappointments = disappointed ? yield->disappointments + 1 : 0;
  yield->anon = anon;
  yield->expected = 0;
  return yield->disappointments >= kMostDisappointments;
}

PageOutRun::Next PageOutRun::Advise(const Holder& holder, std::span<const PageRun> runs) {
  std::vector<iovec> ranges;
  for (const PageRun& run : runs) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address in another process
    ranges.push_back({.iov_base = reinterpret_cast<void*>(run.start), .iov_len = run.end - run.start});
  }
  for (std::size_t at = 0; at < ranges.size();) {
    const std::size_t count = std::min<std::size_t>(ranges.size() - at, IOV_MAX);
    const ssize_t done =
        ::syscall(SYS_process_madvise, holder.process.pidfd(), &ranges[at], count, MADV_PAGEOUT, 0U);
    if (done < 0 && errno == ESRCH) return Next::kNextProcess;
    if (done < 0 && (errno == EPERM || errno == EACCES || errno == ENOSYS)) {
      NoteFailure(absl::ErrnoToStatus(errno, absl::StrCat("advising process ", holder.process.pid())));
      return Next::kNextProcess;
    }
    advised_ = true;
    // It stops at a range that is locked or unmapped meanwhile, and says how far it came: that one is left
    // out, those behind it may still be right.
    auto advised = static_cast<std::size_t>(std::max<ssize_t>(done, 0));
    const std::size_t stop = at + count;
    while (at < stop && advised >= ranges[at].iov_len) advised -= ranges[at++].iov_len;
    if (at < stop) ++at;
  }
  return Next::kGoOn;
}

}  // namespace

PageOutMode ModeFor(const LazyRange& range, bool swap, bool page_flags) {
  const Bytes ordinary = std::max<Bytes>(range.anon - range.lazy, 0);
  if (ordinary <= range.lazy / 20) return PageOutMode::kWhole;
  if (ordinary > 16 * range.lazy) return PageOutMode::kLeave;
  // A vast, nearly empty mapping would take long to look through.
  if (page_flags && range.length / 32 <= range.anon) return PageOutMode::kByPage;
  return swap || range.huge > 0 ? PageOutMode::kLeave : PageOutMode::kWhole;
}

core::Bytes PageOutStride(const LazyRange& range) {
  constexpr Bytes kLongest = 8 * kReclaimStep;
  const double spread =
      static_cast<double>(range.length) / static_cast<double>(std::max<Bytes>(range.anon, 1));
  if (spread >= 8) return kLongest;
  return std::max(kReclaimStep, static_cast<Bytes>(static_cast<double>(kReclaimStep) * spread));
}

ReclaimResult PageOut(const CgroupLayout& layout, const ReclaimOrder& order, const GoOn& go_on) {
  return PageOutRun(layout, order, go_on).Run();
}

}  // namespace memgov::kernel
