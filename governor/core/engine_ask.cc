// The asking half of the engine: how much is missing in a domain, who can give it, what they are sent.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "governor/core/engine.h"
#include "governor/core/explain.h"

namespace memgov::core {
namespace {

// A soft limit that leaves a collected heap room to work: the client raises it to its own floor if need be.
constexpr double kSoftLimitOverLive = 1.3;
constexpr Bytes kSoftLimitSlack = 16 * kMiB;

// What came back is the difference to the reading before the request, so that one must be fresh.
constexpr auto kFreshReading = std::chrono::milliseconds(5);

bool CanGive(const Capabilities& can) { return can.release || can.collect || can.shed; }

}  // namespace

const Rule& Engine::RuleOf(const ClientState& client) const {
  const CgroupState* cgroup = world_.Find(client.info.cgroup);
  return cgroup == nullptr ? *world_.Find(kNodeId)->rule : *cgroup->rule;
}

bool Engine::MayAct(const CgroupState& domain, const ClientState& client) const {
  return domain.rule->mode == Mode::kEnforce && RuleOf(client).mode == Mode::kEnforce;
}

// What has to leave the domain: down to the relax threshold, and so much more as it will grow until the same
// clients may be asked again. What is already on its way counts.
Bytes Engine::DeficitOf(const CgroupState& domain) const {
  const auto target =
      static_cast<Bytes>(static_cast<double>(*domain.limit) * domain.rule->relax_percent / 100);
  const double horizon = std::chrono::duration<double>(domain.rule->pace.cooldown).count();
  const auto growth = static_cast<Bytes>(
      std::min(domain.forecast.BytesPerSecond() * horizon, static_cast<double>(*domain.limit)));
  const Bytes coming =
      ledger_.ExpectedBytes([&](CgroupId cgroup) { return world_.IsWithin(cgroup, domain.id); });
  return domain.last->usage - target + growth - coming;
}

bool Engine::HelpIsPossible(const CgroupState& domain) const {
  return std::any_of(ledger_.clients().begin(), ledger_.clients().end(), [&](const auto& entry) {
    const ClientState& client = entry.second;
    return CanGive(client.info.capabilities) && MayAct(domain, client) &&
           world_.IsWithin(client.info.cgroup, domain.id);
  });
}

bool Engine::HelpIsComing(const CgroupState& domain) const {
  return std::any_of(ledger_.in_flight().begin(), ledger_.in_flight().end(), [&](const auto& entry) {
    const auto client = ledger_.clients().find(entry.second.directive.client);
    return entry.second.gives && client != ledger_.clients().end() &&
           world_.IsWithin(client->second.info.cgroup, domain.id);
  });
}

// The first rung of the client's ladder that it is able to climb.
std::optional<Action> Engine::GivingAction(const ClientState& client, Bytes bytes) const {
  const Rule& rule = RuleOf(client);
  const Capabilities& can = client.info.capabilities;
  for (const ActionKind kind : rule.actions) {
    if (kind == ActionKind::kRelease && can.release) {
      return Release{.bytes = bytes, .longest_stall = rule.pace.longest_stall};
    }
    if (kind == ActionKind::kCollect && can.collect) return Collect{.bytes = bytes};
    if (kind == ActionKind::kShed && can.shed) return Shed{.bytes = bytes};
  }
  return std::nullopt;
}

void Engine::Ask(CgroupState& domain) {
  const Bytes deficit = DeficitOf(domain);
  if (deficit <= 0) return;
  SendSettings(domain);
  std::string why_not;
  if (!AskForMemory(domain, deficit, &why_not)) Withhold(domain, std::move(why_not));
}

bool Engine::AskForMemory(CgroupState& domain, Bytes deficit, std::string* why_not) {
  std::vector<Candidate> candidates;
  int cooling = 0, empty = 0, busy = 0;
  for (const auto& [id, client] : ledger_.clients()) {
    if (!world_.IsWithin(client.info.cgroup, domain.id) || !client.report) continue;
    if (!GivingAction(client, 0)) continue;
    if (client.giving) {
      ++busy;
    } else if (client.ask_again_at > now_) {
      ++cooling;
    } else {
      const bool unknown = client.report->retained_kind == EstimateKind::kNone;
      const auto expected = static_cast<Bytes>(static_cast<double>(client.report->retained) * client.yield);
      if (!unknown && expected < kMiB) {
        ++empty;
        continue;
      }
      candidates.push_back({.client = id,
                            .expected = unknown ? 0 : expected,
                            .protect_weight = RuleOf(client).protect_weight,
                            .in_chunks = client.info.capabilities.release_in_chunks,
                            .cannot_estimate = unknown});
    }
  }
  const std::vector<Share> shares = Apportion(deficit, std::move(candidates));
  if (!ReadingsAreFresh(shares)) return true;
  for (const Share& share : shares) {
    ClientState& client = ledger_.clients().at(share.client);
    Send(domain, client, *GivingAction(client, share.bytes), share.bytes, RuleOf(client));
  }
  if (!shares.empty()) return true;
  *why_not = busy + cooling + empty == 0 ? "no client that could give memory"
                                         : absl::StrCat("nobody to ask now: ", busy, " busy, ", cooling,
                                                        " cooling down, ", empty, " hold nothing");
  return busy > 0;  // help is under way: not worth a word
}

// False, with the stale ones noted in read_now, when a client's cgroup was not read just now.
bool Engine::ReadingsAreFresh(const std::vector<Share>& shares) {
  bool fresh = true;
  for (const Share& share : shares) {
    const CgroupState* cgroup = world_.Find(ledger_.clients().at(share.client).info.cgroup);
    if (cgroup == nullptr || (cgroup->last && now_ - cgroup->last->taken_at <= kFreshReading)) continue;
    decisions_.read_now.push_back(cgroup->id);
    fresh = false;
  }
  return fresh;
}

// Eager release for as long as the need lasts: what the clients free from now on leaves the cgroup at once.
void Engine::SendSettings(CgroupState& domain) {
  for (auto& [id, client] : ledger_.clients()) {
    const Rule& rule = RuleOf(client);
    const bool listed = std::find(rule.actions.begin(), rule.actions.end(), ActionKind::kSetReleaseMode) !=
                        rule.actions.end();
    if (!listed || !client.info.capabilities.set_release_mode || !client.report) continue;
    if (client.eager_until - now_ > rule.pace.ttl / 2) continue;
    if (!world_.IsWithin(client.info.cgroup, domain.id)) continue;
    client.eager_until = now_ + rule.pace.ttl;
    Send(domain, client, SetReleaseMode{.mode = ReleaseMode::kEager}, 0, rule);
  }
}

// After a collection that worked, a lowered soft limit keeps the heap from growing back at once (Go issue
// 41444).
void Engine::SendSoftLimits() {
  for (auto& [id, client] : ledger_.clients()) {
    if (!client.soft_limit_due || !client.report || client.report->retained_kind != EstimateKind::kExact)
      continue;
    const CgroupState* domain = world_.Find(*client.soft_limit_due);
    client.soft_limit_due.reset();
    const Rule& rule = RuleOf(client);
    const bool listed =
        std::find(rule.actions.begin(), rule.actions.end(), ActionKind::kSetSoftLimit) != rule.actions.end();
    if (!listed || !client.info.capabilities.set_soft_limit || domain == nullptr) continue;
    const auto bytes = static_cast<Bytes>(static_cast<double>(client.report->live) * kSoftLimitOverLive) +
                       client.report->non_heap + kSoftLimitSlack;
    Send(*domain, client, SetSoftLimit{.bytes = bytes}, 0, rule);
  }
}

void Engine::Send(const CgroupState& domain, ClientState& client, Action action, Bytes expected,
                  const Rule& rule) {
  const bool gives = expected > 0;
  const bool act = MayAct(domain, client);
  Directive directive{.id = DirectiveId{next_directive_++},
                      .client = client.info.client,
                      .domain = domain.id,
                      .level = domain.detector.level(),
                      .deadline = rule.pace.deadline,
                      .ttl = rule.pace.ttl,
                      .action = std::move(action),
                      .reason = domain.detector.ReasonAt(now_)};
  Note note = NoteOn(domain, act ? NoteKind::kAsked : NoteKind::kWouldAsk);
  note.cgroup = client.info.cgroup;
  note.client = client.info.client;
  note.directive = directive.id;
  note.action = NameOf(directive.action);
  note.bytes = expected;
  decisions_.notes.push_back(std::move(note));
  if (!act) {
    // Observe mode: pretend, so that the record shows the pace that enforcing would have.
    if (gives) client.ask_again_at = now_ + rule.pace.cooldown;
    return;
  }
  const CgroupState* cgroup = world_.Find(client.info.cgroup);
  ledger_.Add({.directive = directive,
               .sent_at = now_,
               .usage_at_send = cgroup != nullptr && cgroup->last ? cgroup->last->usage : 0,
               .estimated = static_cast<Bytes>(static_cast<double>(expected) / client.yield),
               .expected = expected,
               .gives = gives,
               .cooldown = rule.pace.cooldown,
               .outcome = std::nullopt});
  decisions_.directives.push_back(std::move(directive));
}

void Engine::Withhold(CgroupState& domain, std::string why) {
  if (domain.withheld == why) return;
  Note note = NoteOn(domain, NoteKind::kWithheld);
  note.bytes = DeficitOf(domain);
  note.text = why;
  domain.withheld = std::move(why);
  decisions_.notes.push_back(std::move(note));
}

}  // namespace memgov::core
