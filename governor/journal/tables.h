// The fields of the core's structs as journal.proto numbers and names them.
//
// To change a struct: append its new member to the table under a new number, add it to journal.proto, and
// raise kFormat (segment.h) if an old journal cannot be replayed with the member's default.

#pragma once

#include <array>

#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/oom_kills.h"
#include "governor/core/policy.h"
#include "governor/core/snapshot.h"
#include "governor/core/words.h"
#include "governor/journal/fields.h"

namespace memgov::journal {

// --- snapshot.h

template <>
inline constexpr auto kFields<core::MemoryStat> =
    std::tuple{Field{1, "anon", &core::MemoryStat::anon},
               Field{2, "file", &core::MemoryStat::file},
               Field{3, "shmem", &core::MemoryStat::shmem},
               Field{4, "inactive_anon", &core::MemoryStat::inactive_anon},
               Field{5, "active_anon", &core::MemoryStat::active_anon},
               Field{6, "inactive_file", &core::MemoryStat::inactive_file},
               Field{7, "active_file", &core::MemoryStat::active_file},
               Field{8, "unevictable", &core::MemoryStat::unevictable},
               Field{9, "slab", &core::MemoryStat::slab},
               Field{10, "pgmajfault", &core::MemoryStat::pgmajfault},
               Field{11, "workingset_refault_file", &core::MemoryStat::workingset_refault_file}};

template <>
inline constexpr auto kFields<core::PressureTotals> = std::tuple{
    Field{1, "some_us", &core::PressureTotals::some_us}, Field{2, "full_us", &core::PressureTotals::full_us}};

template <>
inline constexpr auto kFields<core::CgroupSample> =
    std::tuple{Field{1, "id", &core::CgroupSample::id},
               Field{2, "taken_at", &core::CgroupSample::taken_at},
               Field{3, "usage", &core::CgroupSample::usage},
               Field{4, "limit", &core::CgroupSample::limit},
               Field{5, "memory_high", &core::CgroupSample::memory_high},
               Field{6, "stat", &core::CgroupSample::stat},
               Field{7, "pressure", &core::CgroupSample::pressure},
               Field{8, "swap_left", &core::CgroupSample::swap_left},
               Field{9, "oom_kills", &core::CgroupSample::oom_kills}};

template <>
inline constexpr auto kFields<core::WorkloadNames> =
    std::tuple{Field{1, "pod_namespace", &core::WorkloadNames::pod_namespace},
               Field{2, "pod", &core::WorkloadNames::pod},
               Field{3, "container", &core::WorkloadNames::container},
               Field{4, "qos", &core::WorkloadNames::qos},
               Field{5, "runtime", &core::WorkloadNames::runtime},
               Field{6, "pending", &core::WorkloadNames::pending}};

template <>
inline constexpr auto kFields<core::CgroupAppeared> =
    std::tuple{Field{1, "id", &core::CgroupAppeared::id},
               Field{2, "parent", &core::CgroupAppeared::parent},
               Field{3, "path", &core::CgroupAppeared::path},
               Field{4, "has_brake", &core::CgroupAppeared::has_brake},
               Field{5, "kills_of_subtree", &core::CgroupAppeared::kills_of_subtree},
               Field{6, "names", &core::CgroupAppeared::names}};

template <>
inline constexpr auto kFields<core::CgroupNamed> =
    std::tuple{Field{1, "id", &core::CgroupNamed::id}, Field{2, "names", &core::CgroupNamed::names}};

template <>
inline constexpr auto kFields<core::ProcessSize> =
    std::tuple{Field{1, "pid", &core::ProcessSize::pid}, Field{2, "name", &core::ProcessSize::name},
               Field{3, "rss", &core::ProcessSize::rss}};

template <>
inline constexpr auto kFields<core::KilledProcess> =
    std::tuple{Field{1, "at", &core::KilledProcess::at},
               Field{2, "pid", &core::KilledProcess::pid},
               Field{3, "name", &core::KilledProcess::name},
               Field{4, "domain", &core::KilledProcess::domain},
               Field{5, "cgroup", &core::KilledProcess::cgroup},
               Field{6, "or_below", &core::KilledProcess::or_below},
               Field{7, "maybe_elsewhere", &core::KilledProcess::maybe_elsewhere},
               Field{8, "processes", &core::KilledProcess::processes}};

template <>
inline constexpr auto kFields<core::ReclaimOutcome> =
    std::tuple{Field{1, "id", &core::ReclaimOutcome::id},
               Field{2, "finished_at", &core::ReclaimOutcome::finished_at},
               Field{3, "before", &core::ReclaimOutcome::before},
               Field{4, "after", &core::ReclaimOutcome::after},
               Field{5, "refaults", &core::ReclaimOutcome::refaults},
               Field{6, "why", &core::ReclaimOutcome::why}};

template <>
inline constexpr auto kFields<core::BrakeLost> =
    std::tuple{Field{1, "cgroup", &core::BrakeLost::cgroup}, Field{2, "foreign", &core::BrakeLost::foreign}};

template <>
inline constexpr auto kFields<core::FreezeFailed> =
    std::tuple{Field{1, "cgroup", &core::FreezeFailed::cgroup}, Field{2, "why", &core::FreezeFailed::why}};

template <>
inline constexpr auto kFields<core::Snapshot> =
    std::tuple{Field{1, "appeared", &core::Snapshot::appeared},
               Field{2, "vanished", &core::Snapshot::vanished},
               Field{3, "samples", &core::Snapshot::samples},
               Field{4, "reclaims", &core::Snapshot::reclaims},
               Field{5, "kills", &core::Snapshot::kills},
               Field{6, "brakes_lost", &core::Snapshot::brakes_lost},
               Field{7, "freezes_failed", &core::Snapshot::freezes_failed},
               Field{8, "named", &core::Snapshot::named}};

// --- client_event.h

template <>
inline constexpr auto kFields<core::Capabilities> =
    std::tuple{Field{1, "set_release_mode", &core::Capabilities::set_release_mode},
               Field{2, "release", &core::Capabilities::release},
               Field{3, "release_in_chunks", &core::Capabilities::release_in_chunks},
               Field{4, "collect", &core::Capabilities::collect},
               Field{5, "set_soft_limit", &core::Capabilities::set_soft_limit},
               Field{6, "shed", &core::Capabilities::shed},
               Field{7, "retroactive", &core::Capabilities::retroactive},
               Field{8, "needs_owner_thread", &core::Capabilities::needs_owner_thread},
               Field{9, "stall_class", &core::Capabilities::stall_class}};

template <>
inline constexpr auto kFields<core::ClientAttached> =
    std::tuple{Field{1, "client", &core::ClientAttached::client},
               Field{2, "cgroup", &core::ClientAttached::cgroup},
               Field{3, "pid", &core::ClientAttached::pid},
               Field{4, "name", &core::ClientAttached::name},
               Field{5, "runtime", &core::ClientAttached::runtime},
               Field{6, "capabilities", &core::ClientAttached::capabilities},
               Field{7, "startup_release_mode", &core::ClientAttached::startup_release_mode}};

template <>
inline constexpr auto kFields<core::ClientReport> =
    std::tuple{Field{1, "client", &core::ClientReport::client},
               Field{2, "received_at", &core::ClientReport::received_at},
               Field{3, "live", &core::ClientReport::live},
               Field{4, "retained", &core::ClientReport::retained},
               Field{5, "retained_kind", &core::ClientReport::retained_kind},
               Field{6, "lazily_freed", &core::ClientReport::lazily_freed},
               Field{7, "non_heap", &core::ClientReport::non_heap},
               Field{8, "soft_limit", &core::ClientReport::soft_limit},
               Field{9, "gc_cpu_fraction", &core::ClientReport::gc_cpu_fraction},
               Field{10, "release_mode", &core::ClientReport::release_mode}};

template <>
inline constexpr auto kFields<core::ClientOutcome> =
    std::tuple{Field{1, "client", &core::ClientOutcome::client},
               Field{2, "directive", &core::ClientOutcome::directive},
               Field{3, "received_at", &core::ClientOutcome::received_at},
               Field{4, "status", &core::ClientOutcome::status},
               Field{5, "why", &core::ClientOutcome::why},
               Field{6, "before", &core::ClientOutcome::before},
               Field{7, "after", &core::ClientOutcome::after},
               Field{8, "wall", &core::ClientOutcome::wall},
               Field{9, "cpu", &core::ClientOutcome::cpu}};

template <>
inline constexpr auto kFields<core::ClientDetached> =
    std::tuple{Field{1, "client", &core::ClientDetached::client}};

template <>
inline constexpr std::array kAlternatives<core::ClientEvent> =
    std::to_array<std::string_view>({"attached", "report", "outcome", "detached"});

// --- decision.h

template <>
inline constexpr auto kFields<core::Reason> =
    std::tuple{Field{1, "rule", &core::Reason::rule}, Field{2, "signal", &core::Reason::signal},
               Field{3, "observed", &core::Reason::observed}, Field{4, "threshold", &core::Reason::threshold},
               Field{5, "held", &core::Reason::held}};

template <>
inline constexpr auto kFields<core::SetReleaseMode> =
    std::tuple{Field{1, "mode", &core::SetReleaseMode::mode}};
template <>
inline constexpr auto kFields<core::SetSoftLimit> = std::tuple{Field{1, "bytes", &core::SetSoftLimit::bytes}};
template <>
inline constexpr auto kFields<core::Release> = std::tuple{
    Field{1, "bytes", &core::Release::bytes}, Field{2, "longest_stall", &core::Release::longest_stall}};
template <>
inline constexpr auto kFields<core::Collect> = std::tuple{Field{1, "bytes", &core::Collect::bytes}};
template <>
inline constexpr auto kFields<core::Shed> = std::tuple{Field{1, "bytes", &core::Shed::bytes}};

template <>
inline constexpr std::array kAlternatives<core::Action> =
    std::to_array<std::string_view>({"set_release_mode", "set_soft_limit", "release", "collect", "shed"});

template <>
inline constexpr auto kFields<core::Directive> = std::tuple{Field{1, "id", &core::Directive::id},
                                                            Field{2, "client", &core::Directive::client},
                                                            Field{3, "domain", &core::Directive::domain},
                                                            Field{4, "level", &core::Directive::level},
                                                            Field{5, "deadline", &core::Directive::deadline},
                                                            Field{6, "ttl", &core::Directive::ttl},
                                                            Field{7, "action", &core::Directive::action},
                                                            Field{8, "reason", &core::Directive::reason}};

template <>
inline constexpr auto kFields<core::KernelLevers> = std::tuple{
    Field{1, "page_out", &core::KernelLevers::page_out}, Field{2, "reclaim", &core::KernelLevers::reclaim}};

template <>
inline constexpr auto kFields<core::Reclaim> =
    std::tuple{Field{1, "id", &core::Reclaim::id},         Field{2, "cgroup", &core::Reclaim::cgroup},
               Field{3, "domain", &core::Reclaim::domain}, Field{4, "lever", &core::Reclaim::lever},
               Field{5, "bytes", &core::Reclaim::bytes},   Field{6, "longest", &core::Reclaim::longest},
               Field{7, "reason", &core::Reclaim::reason}};

template <>
inline constexpr auto kFields<core::SetPressureAlarm> = std::tuple{
    Field{1, "cgroup", &core::SetPressureAlarm::cgroup}, Field{2, "on", &core::SetPressureAlarm::on}};

template <>
inline constexpr auto kFields<core::SetFreeze> =
    std::tuple{Field{1, "cgroup", &core::SetFreeze::cgroup}, Field{2, "on", &core::SetFreeze::on}};

template <>
inline constexpr auto kFields<core::SetWire> =
    std::tuple{Field{1, "cgroup", &core::SetWire::cgroup}, Field{2, "at", &core::SetWire::at},
               Field{3, "brake", &core::SetWire::brake}};

template <>
inline constexpr auto kFields<core::SetCadence> = std::tuple{
    Field{1, "cgroup", &core::SetCadence::cgroup}, Field{2, "usage_every", &core::SetCadence::usage_every},
    Field{3, "stat_every", &core::SetCadence::stat_every}, Field{4, "may_rest", &core::SetCadence::may_rest}};

template <>
inline constexpr auto kFields<core::DomainFacts::Headroom> =
    std::tuple{Field{1, "domain", &core::DomainFacts::Headroom::domain},
               Field{2, "bytes", &core::DomainFacts::Headroom::bytes}};

template <>
inline constexpr auto kFields<core::DomainFacts> =
    std::tuple{Field{1, "pressing", &core::DomainFacts::pressing},
               Field{2, "stat", &core::DomainFacts::stat},
               Field{3, "lazily_freed_at_least", &core::DomainFacts::lazily_freed_at_least},
               Field{4, "lazily_freed_at_most", &core::DomainFacts::lazily_freed_at_most},
               Field{5, "growth", &core::DomainFacts::growth},
               Field{6, "swap_left", &core::DomainFacts::swap_left},
               Field{7, "headroom", &core::DomainFacts::headroom}};

template <>
inline constexpr auto kFields<core::KillReport> =
    std::tuple{Field{1, "domain", &core::KillReport::domain}, Field{2, "cgroup", &core::KillReport::cgroup},
               Field{3, "count", &core::KillReport::count}, Field{4, "victim", &core::KillReport::victim}};

template <>
inline constexpr auto kFields<core::Note> =
    std::tuple{Field{1, "kind", &core::Note::kind},     Field{2, "at", &core::Note::at},
               Field{3, "domain", &core::Note::domain}, Field{4, "cgroup", &core::Note::cgroup},
               Field{5, "client", &core::Note::client}, Field{6, "directive", &core::Note::directive},
               Field{7, "action", &core::Note::action}, Field{8, "bytes", &core::Note::bytes},
               Field{9, "usage", &core::Note::usage},   Field{10, "limit", &core::Note::limit},
               Field{11, "took", &core::Note::took},    Field{12, "reason", &core::Note::reason},
               Field{13, "facts", &core::Note::facts},  Field{14, "text", &core::Note::text},
               Field{15, "kill", &core::Note::kill}};

template <>
inline constexpr auto kFields<core::Decisions> =
    std::tuple{Field{1, "directives", &core::Decisions::directives},
               Field{2, "reclaims", &core::Decisions::reclaims},
               Field{3, "wires", &core::Decisions::wires},
               Field{4, "pressure_alarms", &core::Decisions::pressure_alarms},
               Field{5, "freezes", &core::Decisions::freezes},
               Field{6, "cadences", &core::Decisions::cadences},
               Field{7, "notes", &core::Decisions::notes},
               Field{8, "read_now", &core::Decisions::read_now},
               Field{9, "next_tick", &core::Decisions::next_tick}};

// --- policy.h

template <>
inline constexpr auto kFields<core::Threshold> =
    std::tuple{Field{1, "usage_percent", &core::Threshold::usage_percent},
               Field{2, "time_to_limit", &core::Threshold::time_to_limit},
               Field{3, "stall_percent", &core::Threshold::stall_percent}};

template <>
inline constexpr auto kFields<core::BrakePolicy> = std::tuple{
    Field{1, "enabled", &core::BrakePolicy::enabled}, Field{2, "at_percent", &core::BrakePolicy::at_percent},
    Field{3, "longest", &core::BrakePolicy::longest}, Field{4, "freeze", &core::BrakePolicy::freeze},
    Field{5, "freeze_longest", &core::BrakePolicy::freeze_longest}};

template <>
inline constexpr auto kFields<core::Pace> = std::tuple{
    Field{1, "cooldown", &core::Pace::cooldown}, Field{2, "longest_stall", &core::Pace::longest_stall},
    Field{3, "deadline", &core::Pace::deadline}, Field{4, "ttl", &core::Pace::ttl},
    Field{5, "gc_cpu_percent", &core::Pace::gc_cpu_percent}};

template <>
inline constexpr auto kFields<core::SoftLimitPolicy> =
    std::tuple{Field{1, "follow_percent", &core::SoftLimitPolicy::follow_percent}};

template <>
inline constexpr auto kFields<core::CalmPolicy> =
    std::tuple{Field{1, "release_mode", &core::CalmPolicy::release_mode}};

template <>
inline constexpr auto kFields<core::NameMatch> =
    std::tuple{Field{1, "pod_namespace", &core::NameMatch::pod_namespace},
               Field{2, "pod", &core::NameMatch::pod}, Field{3, "container", &core::NameMatch::container},
               Field{4, "qos", &core::NameMatch::qos}, Field{5, "runtime", &core::NameMatch::runtime}};

template <>
inline constexpr auto kFields<core::Rule> =
    std::tuple{Field{1, "name", &core::Rule::name},
               Field{2, "cgroup", &core::Rule::cgroup},
               Field{3, "mode", &core::Rule::mode},
               Field{4, "protect_weight", &core::Rule::protect_weight},
               Field{5, "wake", &core::Rule::wake},
               Field{6, "critical", &core::Rule::critical},
               Field{7, "relax_percent", &core::Rule::relax_percent},
               Field{8, "brake", &core::Rule::brake},
               Field{9, "actions", &core::Rule::actions},
               Field{10, "pace", &core::Rule::pace},
               Field{11, "soft_limit", &core::Rule::soft_limit},
               Field{12, "names", &core::Rule::names},
               Field{13, "calm", &core::Rule::calm}};

template <>
inline constexpr auto kFields<core::NodePolicy> = std::tuple{Field{1, "reserve", &core::NodePolicy::reserve}};

template <>
inline constexpr auto kFields<core::Policy> =
    std::tuple{Field{1, "rules", &core::Policy::rules}, Field{2, "node", &core::Policy::node}};

}  // namespace memgov::journal
