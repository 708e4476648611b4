// What a journal is made of: everything the engine is told, in the order in which it is told, and what it
// decided. The engine is pure, so that is all that its decisions come from.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/policy.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"

namespace memgov::journal {

struct KnownCgroup {
  core::CgroupAppeared cgroup;
  std::optional<core::CgroupSample> last;  // with the last stat, though that may be older
};

struct KnownClient {
  core::ClientAttached client;
  std::optional<core::ClientReport> report;  // the last
};

enum class Beginning {
  kStart,        // of the daemon: the engine knows nothing but policy and levers
  kNextSegment,  // the segment before was full
  kGap,          // records before this one could not be written
};

// The first record of each segment: what an engine needs that begins here. What it has learned besides
// (yields, cooldowns, growth) it learns again.
struct Keyframe {
  Beginning beginning = Beginning::kStart;
  std::uint64_t records_before = 0;  // of this run of the daemon, keyframes apart, also those that were lost
  std::uint64_t lost_ticks = 0;      // kGap: just before
  std::string lost_why;
  core::Policy policy;
  core::KernelLevers kernel_levers;
  std::vector<KnownCgroup> cgroups;  // parents before children
  std::vector<KnownClient> clients;
};

// One call of Engine::Tick.
struct Tick {
  core::Snapshot snapshot;
  std::vector<core::ClientEvent> events;
  std::string decisions;  // as EncodeDecisions writes them: equal decisions are equal bytes
};

struct Record {
  core::Instant now;  // of the tick or keyframe; of others, that of the record before
  std::variant<Keyframe, Tick, core::Policy, core::KernelLevers> what;
};

// Each appends one record's payload to `out`. `previous` is the `now` of the record before in the segment.
void EncodeKeyframe(core::Instant now, const Keyframe& keyframe, std::string* out);
void EncodeTick(core::Instant previous, core::Instant now, const core::Snapshot& snapshot,
                std::span<const core::ClientEvent> events, const core::Decisions& decisions,
                std::string* out);
void EncodePolicy(const core::Policy& policy, std::string* out);
void EncodeKernelLevers(core::KernelLevers levers, std::string* out);
std::string EncodeDecisions(core::Instant now, const core::Decisions& decisions);

// INVALID_ARGUMENT says which field is wrong and how.
absl::StatusOr<Record> DecodeRecord(core::Instant previous, std::string_view payload);
absl::StatusOr<core::Decisions> DecodeDecisions(core::Instant now, std::string_view bytes);

// How many things are decided: requests, wires, alarms, freezes, cadences and notes.
std::size_t CountOf(const core::Decisions& decisions);

}  // namespace memgov::journal
