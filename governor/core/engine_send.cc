// The sending half of the engine: settings, requests, and what observe mode says in their place.

#include <algorithm>

#include "governor/core/engine.h"
#include "governor/core/explain.h"

namespace memgov::core {
namespace {

// A soft limit that leaves a collected heap room to work: the client raises it to its own floor if need be.
constexpr double kSoftLimitOverLive = 1.3;
constexpr Bytes kSoftLimitSlack = 16 * kMiB;

// Of the deadline. After that the client is no longer counted on; releases were measured at 80 to 280 ms.
constexpr int kPatienceDivisor = 4;

bool Lists(const Rule& rule, ActionKind kind) {
  return std::find(rule.actions.begin(), rule.actions.end(), kind) != rule.actions.end();
}

}  // namespace

const Rule& Engine::RuleOf(const ClientState& client) const {
  const CgroupState* cgroup = world_.Find(client.info.cgroup);
  return cgroup == nullptr ? *world_.Find(kNodeId)->rule : *cgroup->rule;
}

bool Engine::MayAct(const CgroupState& domain, const ClientState& client) const {
  return domain.rule->mode == Mode::kEnforce && RuleOf(client).mode == Mode::kEnforce;
}

// Eager release for as long as the need lasts: what the clients free from now on leaves the cgroup at once.
void Engine::SendSettings(CgroupState& domain) {
  for (const ClientId id : domain.clients) {
    ClientState& client = ledger_.clients().at(id);
    const Rule& rule = RuleOf(client);
    if (!client.info.capabilities.set_release_mode || !client.report) continue;
    if (client.info.startup_release_mode == ReleaseMode::kEager) continue;
    if (!Lists(rule, ActionKind::kSetReleaseMode)) continue;
    Instant& eager_until = MayAct(domain, client) ? client.eager_until : client.pretended.eager_until;
    if (eager_until - now_ > rule.pace.ttl / 2) continue;
    eager_until = now_ + rule.pace.ttl;
    Send(domain, client, SetReleaseMode{.mode = ReleaseMode::kEager}, domain.detector.ReasonAt(now_), {});
  }
}

// After a collection that worked, a lowered soft limit keeps the heap from growing back at once (Go issue
// 41444). It takes the first report since then, because older ones count the garbage as live.
void Engine::SendSoftLimit(ClientId id) {
  const auto it = ledger_.clients().find(id);
  if (it == ledger_.clients().end() || !it->second.soft_limit_after || !it->second.report) return;
  ClientState& client = it->second;
  if (client.report->received_at < client.soft_limit_after->outcome->received_at) return;
  const Directive collect = std::exchange(client.soft_limit_after, std::nullopt)->directive;

  const CgroupState* domain = world_.Find(collect.domain);
  if (domain == nullptr || client.report->retained_kind != EstimateKind::kExact) return;
  if (!client.info.capabilities.set_soft_limit || !Lists(RuleOf(client), ActionKind::kSetSoftLimit)) return;
  const auto bytes = static_cast<Bytes>(static_cast<double>(client.report->live) * kSoftLimitOverLive) +
                     client.report->non_heap + kSoftLimitSlack;
  Send(*domain, client, SetSoftLimit{.bytes = bytes}, collect.reason, {});
}

void Engine::Send(const CgroupState& domain, ClientState& client, const Action& action, const Reason& reason,
                  const Terms& terms) {
  const Rule& rule = RuleOf(client);
  const bool gives = terms.bytes > 0;
  const bool act = MayAct(domain, client);
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
  note.bytes = terms.bytes;
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
    touched_.insert(cgroup->id);
  }
  ledger_.Add({.directive = directive,
               .cgroup = client.info.cgroup,
               .sent_at = now_,
               .usage_before = cgroup != nullptr && cgroup->last ? cgroup->last->usage : 0,
               .estimated = terms.estimated,
               .expected = terms.expected,
               .patience = rule.pace.deadline / kPatienceDivisor,
               .gives = gives,
               .cooldown = rule.pace.cooldown,
               .outcome = std::nullopt});
  decisions_.directives.push_back(std::move(directive));
}

}  // namespace memgov::core
