// The fields of the journal's own records; see tables.h.

#pragma once

#include "governor/journal/records.h"
#include "governor/journal/segment.h"
#include "governor/journal/tables.h"

namespace memgov::journal {

std::string_view NameOf(Beginning beginning);

template <>
inline constexpr auto kFields<SegmentHeader> =
    std::tuple{Field{1, "sequence", &SegmentHeader::sequence},
               Field{2, "run_started_ns", &SegmentHeader::run_started_ns},
               Field{3, "opened_ns", &SegmentHeader::opened_ns}, Field{4, "boot_id", &SegmentHeader::boot_id},
               Field{5, "memgov_version", &SegmentHeader::memgov_version}};

template <>
inline constexpr auto kFields<KnownCgroup> =
    std::tuple{Field{1, "cgroup", &KnownCgroup::cgroup}, Field{2, "last", &KnownCgroup::last}};

template <>
inline constexpr auto kFields<KnownClient> =
    std::tuple{Field{1, "client", &KnownClient::client}, Field{2, "report", &KnownClient::report}};

template <>
inline constexpr auto kFields<Keyframe> = std::tuple{
    Field{1, "beginning", &Keyframe::beginning},   Field{2, "records_before", &Keyframe::records_before},
    Field{3, "lost_ticks", &Keyframe::lost_ticks}, Field{4, "lost_why", &Keyframe::lost_why},
    Field{5, "policy", &Keyframe::policy},         Field{6, "kernel_levers", &Keyframe::kernel_levers},
    Field{7, "cgroups", &Keyframe::cgroups},       Field{8, "clients", &Keyframe::clients}};

// Record and Tick are written by hand (records.cc): the first field of a record, `passed`, says what the
// instants in the rest of it count from, and the decisions of a tick stay as they are.
inline constexpr int kPassed = 1;
inline constexpr int kKeyframe = 2;
inline constexpr int kTick = 3;
inline constexpr int kPolicy = 4;
inline constexpr int kKernelLevers = 5;

inline constexpr int kSnapshot = 1;
inline constexpr int kEvents = 2;
inline constexpr int kDecisions = 3;

}  // namespace memgov::journal
