#include "governor/sim/memgov_arm.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/core/explain.h"
#include "governor/core/words.h"
#include "governor/sim/machine.h"

namespace memgov::sim {
namespace {

using core::CgroupId;
using core::kNodeId;

constexpr auto kNodeEvery = std::chrono::milliseconds(250);
// Reading, deciding and sending; so no two ticks share an instant.
constexpr auto kTickTakes = std::chrono::microseconds(20);

}  // namespace

MemgovArm::MemgovArm(core::Policy policy, Observer observer)
    : engine_(std::move(policy)), observer_(std::move(observer)) {}

core::Policy MemgovArm::DefaultPolicy() {
  core::Policy policy;
  policy.rules.push_back({.name = "default", .mode = core::Mode::kEnforce});
  return policy;
}

void MemgovArm::Start(Machine& machine) {
  machine_ = &machine;
  engine_.SetKernelLevers({.page_out = machine.scenario().has_page_out, .reclaim = machine.scenario().v2});
  next_node_ = machine.now();
  for (std::size_t i = 1; i < machine.cgroups().size(); ++i)
    OnAppeared(CgroupId(static_cast<std::uint32_t>(i)));
}

void MemgovArm::Wake() { awake_ = true; }

void MemgovArm::OnAppeared(CgroupId id) {
  early_.appeared.push_back(machine_->Describe(id));
  rhythm_.Add(id);
  Wake();
}

void MemgovArm::OnVanished(CgroupId id) {
  early_.vanished.push_back(id);
  rhythm_.Forget(id);
  Wake();
}

void MemgovArm::OnAlarm(CgroupId id) {
  read_now_.insert(id);
  Wake();
}

void MemgovArm::OnLimitChanged(CgroupId id) { OnAlarm(id); }

void MemgovArm::OnClient(const core::ClientEvent& event) {
  if (const auto* outcome = std::get_if<core::ClientOutcome>(&event)) {
    if (const auto home = machine_->HomeOf(outcome->client)) {
      for (CgroupId id = *home; id != kNodeId;
           id = machine_->cgroups()[static_cast<std::size_t>(id)].parent) {
        read_now_.insert(id);
      }
    }
  }
  events_.push_back(event);
  Wake();
}

void MemgovArm::OnReclaimed(const core::ReclaimOutcome& outcome) {
  early_.reclaims.push_back(outcome);
  Wake();
}

void MemgovArm::OnKill(const core::KilledProcess& victim) {
  early_.kills.push_back(victim);
  Wake();
}

std::optional<Instant> MemgovArm::Due() const {
  const Instant soonest = ran_at_ + kTickTakes;
  if (awake_) return soonest;
  Instant next = next_node_;
  if (const auto due = rhythm_.NextDue()) next = std::min(next, *due);
  if (engine_next_) next = std::min(next, *engine_next_);
  return std::max(next, soonest);
}

core::Snapshot MemgovArm::Sample(Instant now) {
  core::Snapshot snapshot = std::exchange(early_, {});
  rhythm_.CollectDue(*machine_, &snapshot);
  for (const CgroupId id : std::exchange(read_now_, {})) {
    if (id == kNodeId) {
      next_node_ = now;
    } else {
      rhythm_.Sample(*machine_, id, &snapshot);
    }
  }
  if (now >= next_node_) {
    snapshot.samples.push_back(machine_->Read(kNodeId, true));
    next_node_ = now + kNodeEvery;
  }
  return snapshot;
}

// One round: what it wants to be read at once is read in the next one, a moment later.
void MemgovArm::Run(Instant now) {
  awake_ = false;
  ran_at_ = now;
  const core::Snapshot snapshot = Sample(now);
  const std::vector<core::ClientEvent> events = std::exchange(events_, {});
  const core::Decisions decisions = engine_.Tick(now, snapshot, events);
  ++ticks_;
  if (observer_) observer_(now, snapshot, events, decisions);
  Dispatch(decisions);
  engine_next_ = decisions.next_tick;
  read_now_.insert(decisions.read_now.begin(), decisions.read_now.end());
  if (!read_now_.empty()) Wake();
}

void MemgovArm::Dispatch(const core::Decisions& decisions) {
  for (const core::Directive& directive : decisions.directives) machine_->Send(directive);
  for (const core::Reclaim& request : decisions.reclaims) machine_->Start(request);
  for (const core::SetWire& wire : decisions.wires) machine_->SetWire(wire);
  for (const core::SetPressureAlarm& alarm : decisions.pressure_alarms) machine_->SetPressureAlarm(alarm);
  for (const core::SetCadence& cadence : decisions.cadences) rhythm_.Set(cadence);
  if (machine_->tracing()) Tell(decisions);
}

void MemgovArm::Tell(const core::Decisions& decisions) const {
  for (const core::Note& note : decisions.notes) {
    std::string line(NameOf(note.kind));
    absl::StrAppend(&line, " ", machine_->cgroups()[static_cast<std::size_t>(note.domain)].path, " ",
                    core::TextOf(note.usage), " of ", core::TextOf(note.limit.value_or(0)));
    if (note.client) absl::StrAppend(&line, " ", machine_->NameOf(*note.client));
    if (!note.action.empty()) absl::StrAppend(&line, " ", note.action, " ", core::TextOf(note.bytes));
    if (!note.text.empty()) absl::StrAppend(&line, ": ", note.text);
    machine_->Say(line);
  }
}

}  // namespace memgov::sim
