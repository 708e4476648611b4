// What a lever is told to do, and what came of it (reclaimer.h).

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "governor/core/decision.h"
#include "governor/core/units.h"

namespace memgov::kernel {

// kPageOut: process_madvise(MADV_PAGEOUT) on confirmed lazily freed ranges. kReclaim: memory.reclaim (v2).
using core::ReclaimLever;

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
  kMixed,     // kPageOut: what was confirmed lies among memory in use, which would suffer (page_out.h)
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

}  // namespace memgov::kernel
