// The sending half of the engine: settings, requests, and what observe mode says in their place.

#include <algorithm>

#include "governor/core/engine.h"
#include "governor/core/explain.h"
#include "governor/core/words.h"

namespace memgov::core {
namespace {

// Of the deadline. After that the client is no longer counted on; releases were measured at 80 to 280 ms.
constexpr int kPatienceDivisor = 4;

}  // namespace

bool Engine::Lists(const Rule& rule, ActionKind kind) {
  return std::find(rule.actions.begin(), rule.actions.end(), kind) != rule.actions.end();
}

const Rule& Engine::RuleOf(const ClientState& client) const {
  const CgroupState* cgroup = world_.Find(client.info.cgroup);
  return cgroup == nullptr ? *world_.Find(kNodeId)->rule : *cgroup->rule;
}

bool Engine::MayAct(const CgroupState& domain, const Rule& client_rule) {
  return domain.rule->mode == Mode::kEnforce && client_rule.mode == Mode::kEnforce;
}

bool Engine::MayAct(const CgroupState& domain, const ClientState& client) const {
  return MayAct(domain, RuleOf(client));
}

void Engine::Send(const CgroupState& domain, ClientState& client, const Action& action, const Reason& reason,
                  const Terms& terms) {
  const Rule& rule = RuleOf(client);
  const bool gives = GivesMemory(action);
  const bool act = MayAct(domain, rule);
  Directive directive{.id = DirectiveId{next_directive_++},
                      .client = client.info.client,
                      .domain = domain.id,
                      .level = domain.detector.level(),
                      .deadline = rule.pace.deadline,
                      .ttl = rule.pace.ttl,
                      .action = action,
                      .reason = reason};
  Note note = NoteOn(domain, act ? NoteKind::kAsked : NoteKind::kWouldAsk);
  note.cgroup = client.info.cgroup;
  note.client = client.info.client;
  note.directive = directive.id;
  note.action = NameOf(directive.action);
  note.bytes = BytesOf(action);
  if (const auto* set = std::get_if<SetReleaseMode>(&action)) note.text = NameOf(set->mode);
  note.reason = reason;
  decisions_.notes.push_back(std::move(note));
  if (!act) {
    // Pretend, so that the record shows the pace that enforcing would have.
    if (gives) {
      client.pretended.expected = terms.expected;
      client.pretended.ask_again_at = now_ + rule.pace.cooldown;
    }
    return;
  }
  CgroupState* cgroup = world_.Find(client.info.cgroup);
  if (gives && cgroup != nullptr) {
    ++cgroup->requests;
    Touch(*cgroup);
  }
  ledger_.Add({.directive = directive,
               .cgroup = client.info.cgroup,
               .sent_at = now_,
               .usage_before = cgroup != nullptr && cgroup->last ? cgroup->last->usage : 0,
               .estimated = terms.estimated,
               .expected = terms.expected,
               .patience = rule.pace.deadline / kPatienceDivisor,
               .outdated = terms.outdated,
               .gives = gives,
               .cooldown = rule.pace.cooldown,
               .gc_cpu_percent = rule.pace.gc_cpu_percent,
               .outcome = std::nullopt});
  decisions_.directives.push_back(std::move(directive));
}

}  // namespace memgov::core
