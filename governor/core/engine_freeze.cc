// The freezing part of the engine: in a critical domain of cgroup v1, who shall stand still while help comes.

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "governor/core/engine.h"
#include "governor/core/explain.h"
#include "governor/core/range.h"

namespace memgov::core {
namespace {

// Of what is left below the limit: who would not take so much during the freeze is no danger.
constexpr double kLeastShareOfHeadroom = 0.1;

bool Allows(const Rule& rule) { return rule.mode == Mode::kEnforce && rule.brake.freeze; }

}  // namespace

void Engine::FreezeAndThaw(const Snapshot& snapshot) {
  std::erase_if(frozen_in_, [this](const auto& frozen) {
    if (world_.Find(frozen.first) != nullptr) return false;
    // The domain has gone, and all below it; what is left of it in the freezer's hierarchy shall not stand.
    decisions_.freezes.push_back({.cgroup = frozen.second, .on = false});
    return true;
  });
  std::set<CgroupId> domains;
  for (const auto& [id, frozen] : frozen_in_) domains.insert(id);
  for (const auto& [depth, id] : in_need_) domains.insert(id);
  for (const CgroupId id : domains) SetFreezeOf(*world_.Find(id), snapshot);
  for (const auto& [id, frozen] : frozen_in_) WakeAt(world_.Find(id)->freeze.ends_at());
}

void Engine::SetFreezeOf(CgroupState& domain, const Snapshot& snapshot) {
  const Rule& rule = *domain.rule;
  FreezeView view{.allowed = Allows(rule) && !domain.has_brake && domain.id != kNodeId,
                  .in_need = domain.detector.level() == Level::kCritical,
                  .help_coming = HelpIsComing(domain)};
  const FreezeFailed* failed = nullptr;
  const CgroupState* grower = nullptr;
  if (const auto frozen = domain.freeze.frozen()) {
    grower = world_.Find(*frozen);
    view.gone = grower == nullptr;
    view.has_client = grower != nullptr && !grower->clients.empty();
    const auto& all = snapshot.freezes_failed;
    const auto it = std::find_if(all.begin(), all.end(),
                                 [&](const FreezeFailed& failure) { return failure.cgroup == *frozen; });
    if (it != all.end()) failed = &*it;
    view.failed = failed != nullptr;
  } else if (view.allowed && view.in_need && view.help_coming && domain.freeze.MayBegin(now_)) {
    grower = FastestGrower(domain);
    if (grower != nullptr) view.grower = grower->id;
  }
  const auto change = domain.freeze.Observe(now_, rule.brake.freeze_longest, view);
  if (!change) return;
  decisions_.freezes.push_back({.cgroup = change->cgroup, .on = change->on});
  Note note = NoteOn(domain, change->on ? NoteKind::kFrozen : NoteKind::kThawed);
  note.cgroup = change->cgroup;
  note.text = change->why;
  if (change->on) {
    frozen_in_[domain.id] = change->cgroup;
    absl::StrAppend(&note.text, " (", TextOf(BytesOf(grower->forecast.BytesPerSecond())), " a second)");
  } else {
    frozen_in_.erase(domain.id);
    note.took = change->stood;
    if (failed != nullptr) absl::StrAppend(&note.text, ": ", failed->why);
  }
  decisions_.notes.push_back(std::move(note));
}

// Of the cgroups below without children and without a client, whose own rule allows it too: the one that
// grows most by a reading of now. Null when there is none, or when some must be read first; then the readings
// are asked for.
const CgroupState* Engine::FastestGrower(const CgroupState& domain) {
  // The level stays critical until the domain has relaxed. Only where it is so now is somebody held up.
  if (!domain.last || !domain.limit) return nullptr;
  Detector afresh;
  if (afresh.Observe(now_, *domain.rule, ViewOf(domain)) != Level::kCritical) return nullptr;

  std::set<CgroupId> out_of_question;
  for (const auto& [id, cgroup] : world_.cgroups()) out_of_question.insert(cgroup.parent);
  for (const auto& [id, frozen] : frozen_in_) out_of_question.insert(frozen);
  const CgroupState* fastest = nullptr;
  bool reading = false;
  for (const auto& [id, cgroup] : world_.cgroups()) {
    if (out_of_question.contains(id) || id == domain.id || !cgroup.clients.empty()) continue;
    if (!Allows(*cgroup.rule) || !world_.IsBelow(cgroup, domain)) continue;
    CgroupState& leaf = *world_.Find(id);
    if (!IsFresh(leaf)) {
      reading = reading || leaf.read_wanted_at == now_;
    } else if (fastest == nullptr || leaf.forecast.BytesPerSecond() > fastest->forecast.BytesPerSecond()) {
      fastest = &leaf;
    }
  }
  if (reading || fastest == nullptr) return nullptr;
  const double growth = fastest->forecast.BytesPerSecond() *
                        std::chrono::duration<double>(domain.rule->brake.freeze_longest).count();
  const auto headroom = static_cast<double>(std::max<Bytes>(*domain.limit - domain.pressing, 0));
  return growth > 0 && growth >= kLeastShareOfHeadroom * headroom ? fastest : nullptr;
}

}  // namespace memgov::core
