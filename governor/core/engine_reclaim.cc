// The kernel's part in the engine: lazily freed memory is collected from outside, also from programs that
// have no client, and domains at risk get a pressure alarm.

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "governor/core/engine.h"
#include "governor/core/explain.h"
#include "governor/core/words.h"

namespace memgov::core {
namespace {

// One attempt's bound on the worker's time: 2 GiB at the measured 190 to 270 ms/GiB.
constexpr auto kLongestReclaim = std::chrono::milliseconds(500);
// So many cgroups may be collected at a time in one domain: the worker takes one after the other.
constexpr std::size_t kMostReclaims = 4;
// From so many points below the wake threshold on a domain is at risk.
constexpr double kAtRiskBelowWake = 10;

}  // namespace

void Engine::SetKernelLevers(KernelLevers levers) {
  levers_ = levers;
  world_.SetCollects(levers_.page_out || levers_.reclaim);
}

void Engine::CloseReclaims(const Snapshot& snapshot) {
  for (const ReclaimOutcome& outcome : snapshot.reclaims) {
    const auto sent = reclaims_.find(outcome.id);
    if (sent == reclaims_.end()) continue;
    const Reclaim request = sent->second;
    reclaims_.erase(sent);
    CgroupState* cgroup = world_.Find(request.cgroup);
    if (cgroup == nullptr) continue;
    const Duration took = outcome.finished_at - *cgroup->reclaim.sent_at();
    const Bytes returned = *cgroup->reclaim.Closed(outcome);
    world_.VisitUpwards(request.cgroup, [&](CgroupState& at) {
      at.settled_at = std::max(at.settled_at, outcome.finished_at);
      Touch(at);
    });
    const CgroupState* domain = world_.Find(request.domain);
    Note note = NoteOn(domain != nullptr ? *domain : *cgroup,
                       outcome.why.empty() ? NoteKind::kReturned : NoteKind::kDeclined);
    note.cgroup = request.cgroup;
    note.action = NameOf(request.lever);
    note.bytes = returned;
    note.took = took;
    note.reason = request.reason;
    note.text = outcome.why;
    decisions_.notes.push_back(std::move(note));
  }
}

// Whether everything in and below `cgroup` may be collected from: the lever reaches all of it.
bool Engine::MayCollect(const CgroupState& cgroup) const {
  for (const auto& [id, other] : world_.cgroups()) {
    const bool same = other.rule == cgroup.rule || !world_.IsBelow(other, cgroup);
    if (!same && (other.rule->mode != cgroup.rule->mode || !Lists(*other.rule, ActionKind::kReclaim)))
      return false;
  }
  return Lists(*cgroup.rule, ActionKind::kReclaim);
}

// Collects what is lazily freed in the domain, the deepest cgroups first, because what they hold is counted
// in those above as well. Returns the bytes that may be counted on, those on their way included.
Bytes Engine::CollectLazilyFreed(CgroupState& domain, Bytes missing) {
  if (!levers_.page_out && !levers_.reclaim) return 0;
  std::vector<CgroupState*> holders;
  for (const CgroupId id : world_.lazy()) {
    CgroupState* cgroup = world_.Find(id);
    if (world_.IsBelow(*cgroup, domain)) holders.push_back(cgroup);
  }
  std::sort(holders.begin(), holders.end(), [](const CgroupState* a, const CgroupState* b) {
    return std::pair(-a->depth, a->id) < std::pair(-b->depth, b->id);
  });
  Bytes coming = 0;
  std::size_t attempts = 0;
  std::vector<const CgroupState*> considered;
  for (CgroupState* cgroup : holders) {
    if (coming >= missing || attempts >= kMostReclaims) break;
    // Whatever was decided for a cgroup holds: the lever on one above it would reach it all the same.
    const bool decided = std::any_of(considered.begin(), considered.end(), [&](const CgroupState* below) {
      return world_.IsBelow(*below, *cgroup);
    });
    if (decided) continue;
    considered.push_back(cgroup);
    const bool act = MayReclaim(domain, *cgroup);
    ReclaimPace& pace = act ? cgroup->reclaim : cgroup->pretended_reclaim;
    if (cgroup->reclaim.under_way()) {
      ++attempts;
      if (const Bytes bytes = cgroup->reclaim.ComingAt(now_); bytes > 0) {
        coming += bytes;
        WakeAt(*cgroup->reclaim.sent_at() + ReclaimPace::kPatience);
      }
      continue;
    }
    const auto offer = pace.Offer(now_, cgroup->lazily_freed);
    if (!offer && pace.again_at() > now_) WakeAt(pace.again_at());
    if (!offer || !MayCollect(*cgroup)) continue;
    ++attempts;
    const Bytes bytes = std::min(*offer, std::max(missing - coming, ReclaimPace::kLeastWorthCollecting));
    if (SendReclaim(domain, *cgroup, bytes)) coming += bytes;
  }
  return coming;
}

bool Engine::MayReclaim(const CgroupState& domain, const CgroupState& cgroup) {
  return domain.rule->mode == Mode::kEnforce && cgroup.rule->mode == Mode::kEnforce;
}

// False in observe mode, where it is only said.
bool Engine::SendReclaim(const CgroupState& domain, CgroupState& cgroup, Bytes bytes) {
  const bool act = MayReclaim(domain, cgroup);
  Reclaim request{.id = ReclaimId{next_reclaim_++},
                  .cgroup = cgroup.id,
                  .domain = domain.id,
                  .lever = levers_.page_out ? ReclaimLever::kPageOut : ReclaimLever::kReclaim,
                  .bytes = bytes,
                  .longest = kLongestReclaim,
                  .reason = domain.detector.ReasonAt(now_)};
  Note note = NoteOn(domain, act ? NoteKind::kAsked : NoteKind::kWouldAsk);
  note.cgroup = cgroup.id;
  note.action = NameOf(request.lever);
  note.bytes = bytes;
  decisions_.notes.push_back(std::move(note));
  if (!act) {
    // As if it had brought nothing, so that the record shows a pace.
    cgroup.pretended_reclaim.Sent(now_, request.id, bytes);
    cgroup.pretended_reclaim.Closed({.id = request.id, .finished_at = now_});
    return false;
  }
  cgroup.reclaim.Sent(now_, request.id, bytes);
  reclaims_.emplace(request.id, request);
  decisions_.reclaims.push_back(std::move(request));
  return true;
}

// PSI triggers cost a kernel thread each in their faster form, so only domains at risk have one. Page cache
// counts here: what thrashes is in it. Some way lies between on and off, because switching is not free.
void Engine::SetPressureAlarmOf(CgroupState& domain) {
  const Rule& rule = *domain.rule;
  const double at_risk = rule.wake.usage_percent.value_or(100) - kAtRiskBelowWake;
  const bool on = rule.mode == Mode::kEnforce && rule.wake.stall_percent && domain.limit &&
                  domain.id != kNodeId &&
                  domain.ChargedPercent() >= (domain.pressure_alarm ? at_risk - kAtRiskBelowWake : at_risk);
  if (on == domain.pressure_alarm) return;
  domain.pressure_alarm = on;
  decisions_.pressure_alarms.push_back({.cgroup = domain.id, .on = on});
}

void Engine::NoteStall(const CgroupState& domain, const StallView& stall) {
  Note note = NoteOn(domain, NoteKind::kStalled);
  note.text = absl::StrFormat(
      "%s: %.0f %% of the last second all its tasks waited for memory, %.0f pages a second "
      "were read again",
      domain.path, stall.full_percent, stall.returns_per_second);
  if (!stall.has_pressure) absl::StrAppend(&note.text, " (estimated: no memory.pressure here)");
  note.facts = world_.FactsOf(domain);
  decisions_.notes.push_back(std::move(note));
}

}  // namespace memgov::core
