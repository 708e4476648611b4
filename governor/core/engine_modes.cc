// How allocators that can switch give freed memory back: eagerly while there is a need, and while there is
// none lazily where the policy says so.

#include <algorithm>

#include "governor/core/engine.h"

namespace memgov::core {

// Eager release for as long as the need lasts: what the clients free from now on leaves the cgroup at once.
void Engine::SendEagerMode(CgroupState& domain) {
  for (const auto& [id, home] : domain.clients) {
    ClientState& client = ledger_.At(id);
    if (!client.info.capabilities.set_release_mode || !client.report) continue;
    if (client.info.startup_release_mode == ReleaseMode::kEager) continue;
    const Rule& rule = *home->rule;
    if (!Lists(rule, ActionKind::kSetReleaseMode)) continue;
    const bool act = MayAct(domain, rule);
    Instant& eager_until = act ? client.eager_until : client.pretended.eager_until;
    if (eager_until - now_ > rule.pace.ttl / 2) continue;
    eager_until = now_ + rule.pace.ttl;
    (act ? client.lazy_until : client.pretended.lazy_until) = {};
    Send(domain, client, SetReleaseMode{.mode = ReleaseMode::kEager}, domain.detector.ReasonAt(now_), {});
  }
}

// Lazy release while every limit above the client is known to be calm (the node may be one that nobody
// reads); in the name of the first of them. What a need has set holds to the end of its TTL, so that a domain
// at its wire does not flap; a client that was attached anew tells that itself.
void Engine::SendLazyMode(ClientId id) {
  ClientState* client = ledger_.Find(id);
  if (client == nullptr || !client->info.capabilities.set_release_mode || !client->report) return;
  if (client->info.startup_release_mode != ReleaseMode::kUnknown || now_ < client->lazy_again_at) return;
  if (client->report->release_mode == ReleaseMode::kEager) return;
  const Rule& rule = RuleOf(*client);
  if (rule.calm.release_mode != ReleaseMode::kLazy || !Lists(rule, ActionKind::kSetReleaseMode)) return;
  const CgroupState* first = nullptr;
  bool calm = true;
  world_.VisitUpwards(client->info.cgroup, [&](const CgroupState& domain) {
    calm &= domain.last || domain.id == kNodeId;
    if (!domain.limit || !domain.last) return;
    calm &= domain.detector.level() == Level::kCalm && domain.PressingPercent() < domain.rule->relax_percent;
    if (first == nullptr) first = &domain;
  });
  if (first == nullptr || !calm) return;
  const bool act = MayAct(*first, rule);
  Instant& lazy_until = act ? client->lazy_until : client->pretended.lazy_until;
  const Instant eager_until = act ? client->eager_until : client->pretended.eager_until;
  if (now_ < eager_until || lazy_until - now_ > rule.pace.ttl / 2) return;
  lazy_until = now_ + rule.pace.ttl;
  Send(*first, *client, SetReleaseMode{.mode = ReleaseMode::kLazy},
       {.rule = rule.name,
        .signal = Signal::kCalm,
        .observed = first->PressingPercent(),
        .threshold = first->rule->relax_percent},
       {});
}

}  // namespace memgov::core
