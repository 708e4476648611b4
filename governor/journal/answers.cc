#include "governor/journal/answers.h"

#include <optional>

namespace memgov::journal {
namespace {

// The request of the replay that an answer to the recorded `id` goes to.
template <typename Id, typename Key>
std::optional<Id> Match(Id id, std::map<Id, Key>* recorded, std::map<Key, std::deque<Id>>* open) {
  const auto known = recorded->find(id);
  if (known == recorded->end()) return std::nullopt;
  const auto waiting = open->find(known->second);
  recorded->erase(known);
  if (waiting == open->end()) return std::nullopt;
  const Id oldest = waiting->second.front();
  waiting->second.pop_front();
  if (waiting->second.empty()) open->erase(waiting);
  return oldest;
}

}  // namespace

void Answers::Recorded(const core::Decisions& decisions) {
  for (const core::Directive& directive : decisions.directives) {
    recorded_[directive.id] = {directive.client, directive.action.index()};
  }
  for (const core::Reclaim& reclaim : decisions.reclaims) {
    recorded_levers_[reclaim.id] = {reclaim.cgroup, reclaim.lever};
  }
}

void Answers::Replayed(const core::Decisions& decisions) {
  for (const core::Directive& directive : decisions.directives) {
    open_[{directive.client, directive.action.index()}].push_back(directive.id);
  }
  for (const core::Reclaim& reclaim : decisions.reclaims) {
    open_levers_[{reclaim.cgroup, reclaim.lever}].push_back(reclaim.id);
  }
  for (const core::Note& note : decisions.notes) {
    if (note.kind != core::NoteKind::kExpired || !note.directive) continue;
    for (auto& [request, ids] : open_) std::erase(ids, *note.directive);
    std::erase_if(open_, [](const auto& entry) { return entry.second.empty(); });
  }
}

core::Snapshot Answers::For(const core::Snapshot& snapshot) {
  core::Snapshot answered = snapshot;
  std::erase_if(answered.reclaims, [this](core::ReclaimOutcome& outcome) {
    const auto id = Match(outcome.id, &recorded_levers_, &open_levers_);
    if (id) outcome.id = *id;
    return !id;
  });
  return answered;
}

std::vector<core::ClientEvent> Answers::For(const std::vector<core::ClientEvent>& events) {
  std::vector<core::ClientEvent> answered = events;
  std::erase_if(answered, [this](core::ClientEvent& event) {
    auto* outcome = std::get_if<core::ClientOutcome>(&event);
    if (outcome == nullptr) return false;
    const auto id = Match(outcome->directive, &recorded_, &open_);
    if (id) outcome->directive = *id;
    return !id;
  });
  return answered;
}

}  // namespace memgov::journal
