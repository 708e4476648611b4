#include "governor/journal/tally.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "governor/core/explain.h"
#include "governor/core/words.h"

namespace memgov::journal {

void Names::Learn(const core::Snapshot& snapshot, const std::vector<core::ClientEvent>& events) {
  for (const core::CgroupAppeared& cgroup : snapshot.appeared) paths[cgroup.id] = cgroup.path;
  for (const core::ClientEvent& event : events) {
    if (const auto* client = std::get_if<core::ClientAttached>(&event)) {
      clients[client->client] = absl::StrCat(client->name, " (pid ", client->pid, ")");
    }
  }
}

std::string Names::PathOf(core::CgroupId id) const {
  const auto it = paths.find(id);
  return it == paths.end() ? absl::StrCat("cgroup ", static_cast<std::uint32_t>(id)) : it->second;
}

void Tally::Add(const core::Decisions& decisions, const Names& names) {
  for (const core::Note& note : decisions.notes) {
    ++notes[std::string(core::NameOf(note.kind))];
    const std::string domain = names.PathOf(note.domain);
    switch (note.kind) {
      case core::NoteKind::kWoke:
      case core::NoteKind::kCritical:
        if (needs_.try_emplace(domain).second) ++needs;
        break;
      case core::NoteKind::kRelaxed:
        if (const auto need = needs_.find(domain); need != needs_.end()) {
          if (!need->second.killed) ++ended;
          needs_.erase(need);
        }
        break;
      case core::NoteKind::kAsked:
      case core::NoteKind::kWouldAsk:
        AddRequest(note, names);
        break;
      case core::NoteKind::kOomKill:
        AddKill(note, names);
        break;
      default:
        break;
    }
  }
}

void Tally::AddRequest(const core::Note& note, const Names& names) {
  const bool setting = note.bytes <= 0 || note.action == NameOf(core::ActionKind::kSetSoftLimit);
  if (setting) return;
  const std::string path = names.PathOf(note.cgroup.value_or(note.domain));
  const auto client = note.client ? names.clients.find(*note.client) : names.clients.end();
  for (Asked* asked : {&total, &containers[path]}) {
    const bool really = note.kind == core::NoteKind::kAsked;
    ++(really ? asked->requests : asked->would_requests);
    (really ? asked->bytes : asked->would_bytes) += note.bytes;
    if (!asked->first) asked->first = note.at;
    asked->whom.insert(client == names.clients.end() ? "the kernel" : client->second);
  }
  if (const auto need = needs_.find(names.PathOf(note.domain)); need != needs_.end()) {
    if (!need->second.asked_at) need->second.asked_at = note.at;
  }
}

void Tally::AddKill(const core::Note& note, const Names& names) {
  const std::uint64_t count = note.kill ? note.kill->count : 1;
  kills += count;
  const auto need = needs_.find(note.kill ? note.kill->domain : names.PathOf(note.domain));
  if (need == needs_.end()) return;
  need->second.killed = true;
  if (!need->second.asked_at) return;
  kills_asked += count;
  const core::Instant killed_at = note.kill && note.kill->victim ? note.kill->victim->at : note.at;
  longest_lead = std::max(longest_lead, killed_at - *need->second.asked_at);
}

}  // namespace memgov::journal
