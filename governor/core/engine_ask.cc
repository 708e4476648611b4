// The asking half of the engine: how much is missing in a domain, and who is asked for it.

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "governor/core/engine.h"
#include "governor/core/range.h"

namespace memgov::core {
namespace {

// What came back is the difference to the reading before the request, so that one must be fresh.
constexpr auto kFreshReading = std::chrono::milliseconds(5);

bool Gives(ActionKind kind, const Capabilities& can) {
  switch (kind) {
    case ActionKind::kRelease:
      return can.release;
    case ActionKind::kCollect:
      return can.collect;
    case ActionKind::kShed:
      return can.shed;
    case ActionKind::kSetReleaseMode:
    case ActionKind::kSetSoftLimit:
    case ActionKind::kReclaim:
      return false;
  }
  return false;
}

bool GivesAnything(const Rule& rule, const Capabilities& can) {
  return std::any_of(rule.actions.begin(), rule.actions.end(),
                     [&can](ActionKind kind) { return Gives(kind, can); });
}

Action Giving(ActionKind kind, Bytes bytes, Duration longest_stall) {
  if (kind == ActionKind::kShed) return Shed{.bytes = bytes};
  if (kind == ActionKind::kCollect) return Collect{.bytes = bytes};
  return Release{.bytes = bytes, .longest_stall = longest_stall};
}

// Of the limit: so much more has to leave a domain that thrashes, at least.
constexpr double kStallNeedsShare = 0.1;

// What has been said in an episode about a need that nobody was asked to meet: each at most once.
enum Withheld : unsigned { kSaidNobody = 1, kSaidWaiting = 2, kSaidNothing = 4 };

std::optional<Instant> Sooner(std::optional<Instant> one, std::optional<Instant> other) {
  return one && other ? std::min(*one, *other) : one ? one : other;
}

}  // namespace

// What has to leave the domain: down to the relax threshold, and so much more as it will grow until the same
// clients may be asked again.
Bytes Engine::NeedOf(const CgroupState& domain) const {
  const Bytes target = BytesOf(static_cast<double>(*domain.limit) * domain.rule->relax_percent / 100);
  const double horizon = std::chrono::duration<double>(domain.rule->pace.cooldown).count();
  const Bytes growth =
      BytesOf(std::min(domain.forecast.BytesPerSecond() * horizon, static_cast<double>(*domain.limit)));
  const Bytes need = SaturatedSum(domain.pressing - target, growth);
  // Pages that are read again and again need room: they are part of no usage while they are out.
  if (!domain.stalls) return need;
  return std::max(need, BytesOf(static_cast<double>(*domain.limit) * kStallNeedsShare));
}

// A need is looked at when its domain was read, as is often while it lasts; `all` are, when something else
// may have changed who can be asked.
void Engine::MeetNeeds(bool all) {
  std::vector<CgroupState*> looked_at;
  for (const auto& [depth, id] : in_need_) {
    CgroupState& domain = *world_.Find(id);
    if (all || touched_.contains(id) || (domain.look_again_at && *domain.look_again_at <= now_)) {
      Ask(domain);
      // What waits for a reading is asked next.
      if (!waits_for_reading_) GiveUpOn(domain);
      looked_at.push_back(&domain);
    }
    WakeAt(domain.look_again_at);
  }
  // Memory first: milliseconds count for it, and a setting that itself frees (jemalloc purges when it turns
  // eager) would leave nothing for the request to show. So settings wait while a request waits for a reading.
  if (waits_for_reading_) return;
  for (CgroupState* domain : looked_at) SendEagerMode(*domain);
}

void Engine::Ask(CgroupState& domain) {
  const bool enforce = domain.rule->mode == Mode::kEnforce;
  Survey survey = Look(domain, enforce);
  domain.look_again_at = survey.again_at;
  Bytes missing = NeedOf(domain) - survey.coming;
  if (missing <= 0) return;
  // Lazily freed memory first: nobody uses it, and nobody is held up by taking it.
  missing -= CollectLazilyFreed(domain, missing);
  if (missing <= 0) return;
  // A reading from before the last return still counts what has left.
  if (domain.last->taken_at < domain.settled_at && !IsFresh(domain)) return;
  bool said = Give(domain, missing, survey);
  if (survey.others > 0 && decisions_.read_now.empty()) {
    // Clients that a rule only observes: what would they be asked for in addition?
    Survey observed = Look(domain, false);
    domain.look_again_at = Sooner(domain.look_again_at, observed.again_at);
    const Bytes still_missing = NeedOf(domain) - observed.coming;
    if (still_missing > 0) said = Give(domain, still_missing, std::move(observed)) || said;
  }
  if (!said) Withhold(domain, missing, survey);
}

Engine::Survey Engine::Look(const CgroupState& domain, bool act) {
  Survey survey;
  for (const auto& [id, home] : domain.clients) {
    ClientState& client = ledger_.At(id);
    if (client.giving) {
      const InFlight& request = ledger_.in_flight().at(*client.giving);
      ++survey.busy;
      if (request.CountsAt(now_)) {
        survey.coming += request.expected;
        if (request.expected == 0 && !request.outdated) ++survey.hopes;
      }
      continue;
    }
    if (MayAct(domain, *home->rule) != act) {
      ++survey.others;
    } else if (client.report) {
      LookAt(domain, *home, client, act, &survey);
    }
  }
  return survey;
}

void Engine::LookAt(const CgroupState& domain, const CgroupState& home, ClientState& client, bool act,
                    Survey* survey) {
  const Rule& rule = *home.rule;
  if (!GivesAnything(rule, client.info.capabilities)) return;
  Instant free_at = AskAgainAt(domain, client.learned);
  if (!act) {
    if (client.pretended.ask_again_at > now_) survey->coming += client.pretended.expected;
    free_at = std::max(free_at, client.pretended.ask_again_at);
  }
  if (free_at > now_) {
    ++survey->cooling;
    survey->again_at = Sooner(survey->again_at, free_at);
    return;
  }
  if (home.last) client.price.Observe(home.last->taken_at, home.last->usage);
  if (home.read_wanted_at && *home.read_wanted_at < now_) {
    ++survey->unreadable;  // until a reading comes after all
    return;
  }
  const auto offer = OfferOf(domain, home, client);
  if (!offer) {
    ++survey->empty;
    return;
  }
  if (offer->kind == ActionKind::kCollect && !HasGcBudget(domain, client, offer->expected, survey)) return;
  const Bytes charged = home.last ? home.last->usage : 0;
  survey->candidates.push_back(
      {.client = client.info.client,
       .promise = offer->promise,
       .rung = offer->rung,
       .expected = offer->expected,
       .size = offer->promise == Promise::kOutdated ? std::min(client.report->live, charged) : charged,
       .protect_weight = rule.protect_weight,
       .price = client.price.PerByte(now_),
       .in_chunks = offer->kind == ActionKind::kRelease && client.info.capabilities.release_in_chunks});
}

// A collection costs its program CPU, and has a budget: where there is time, where it brings next to nothing,
// and where it can save nobody.
bool Engine::HasGcBudget(const CgroupState& domain, const ClientState& client, Bytes expected,
                         Survey* survey) {
  const bool worth_it = expected == 0 || expected >= WorthCollectingInHaste(domain);
  const bool in_haste = TimeIsShort(domain);
  if (in_haste && worth_it && !domain.hopeless) return true;
  Instant free_at = client.learned.collect_again_at;
  if (!in_haste || !worth_it) free_at = std::max(free_at, client.learned.ask_again_at);
  if (free_at <= now_) return true;
  ++survey->over_budget;
  survey->again_at = Sooner(survey->again_at, free_at);
  return false;
}

// The first rung of its rule's ladder that promises something; after askings in vain the next one, up to the
// last.
std::optional<Engine::Offer> Engine::OfferOf(const CgroupState& domain, const CgroupState& home,
                                             const ClientState& client) const {
  // No process holds more than its cgroup is charged with, whatever it says.
  const Bytes held =
      home.last ? std::min(client.report->retained, home.last->usage) : client.report->retained;
  const std::vector<ActionKind>& ladder = home.rule->actions;
  int in_vain = client.learned.fruitless;
  std::optional<Offer> found;
  for (std::size_t rung = 0; rung < ladder.size(); ++rung) {
    if (!Gives(ladder[rung], client.info.capabilities)) continue;
    Offer offer{.kind = ladder[rung], .rung = static_cast<int>(rung)};
    if (offer.kind == ActionKind::kShed) {
      offer.promise = Promise::kCaches;
    } else if (client.report->retained_kind == EstimateKind::kNone) {
      offer.promise = Promise::kUnknown;
    } else {
      offer.expected = static_cast<Bytes>(static_cast<double>(held) * client.learned.yield(offer.kind));
      if (offer.expected < kLeastWorthAsking) {
        if (offer.kind != ActionKind::kCollect || !MayHideGarbage(domain, client)) continue;
        offer.promise = Promise::kOutdated;
        offer.expected = 0;
      }
    }
    found = offer;
    if (in_vain-- == 0) break;
  }
  return found;
}

// Sends the shares whose cgroup, and the domain, were just read. False when there is nobody to send to and
// nobody at work.
bool Engine::Give(CgroupState& domain, Bytes missing, Survey survey) {
  const std::vector<Share> shares = Apportion(missing, std::move(survey.candidates), survey.hopes);
  if (shares.empty()) return survey.busy > 0;
  if (!IsFresh(domain)) return true;
  int collecting = ledger_.collecting(now_);
  for (const Share& share : shares) {
    ClientState& client = ledger_.At(share.client);
    CgroupState& home = *world_.Find(client.info.cgroup);
    if (!IsFresh(home)) continue;
    const Offer offer = *OfferOf(domain, home, client);
    // The tick after the one that runs has ended asks the next, if it is still needed.
    if (offer.kind == ActionKind::kCollect && !TimeIsShort(domain) && collecting++ > 0) continue;
    Terms terms{.bytes = share.bytes, .outdated = offer.promise == Promise::kOutdated};
    if (offer.promise == Promise::kEstimate) {
      terms.expected = share.bytes;
      terms.estimated =
          static_cast<Bytes>(static_cast<double>(share.bytes) / client.learned.yield(offer.kind));
    }
    Send(domain, client, Giving(offer.kind, share.bytes, home.rule->pace.longest_stall),
         ReasonToAsk(domain, client.learned), terms);
  }
  return true;
}

// Whether the cgroup was read just now, and after the last return of memory from it. If not, a reading is
// asked for, once; without an answer the cgroup counts as unreadable until one comes.
bool Engine::IsFresh(CgroupState& cgroup) {
  if (cgroup.last && cgroup.last->taken_at >= std::max(now_ - kFreshReading, cgroup.settled_at)) return true;
  WantReading(cgroup);
  // One that cannot be read is not waited for.
  if (cgroup.read_wanted_at == now_) waits_for_reading_ = true;
  return false;
}

void Engine::WantReading(CgroupState& cgroup) {
  if (cgroup.read_wanted_at) return;
  cgroup.read_wanted_at = now_;
  decisions_.read_now.push_back(cgroup.id);
}

bool Engine::HelpIsPossible(const CgroupState& domain) const {
  return std::any_of(domain.clients.begin(), domain.clients.end(), [&](const auto& entry) {
    const Rule& rule = *entry.second->rule;
    return MayAct(domain, rule) && GivesAnything(rule, ledger_.At(entry.first).info.capabilities);
  });
}

bool Engine::HelpIsComing(const CgroupState& domain) const {
  return std::any_of(domain.clients.begin(), domain.clients.end(), [&](const auto& entry) {
    const ClientState& client = ledger_.At(entry.first);
    if (client.giving) {
      const InFlight& request = ledger_.in_flight().at(*client.giving);
      // One that has answered before may be late, and what it gives then counts too.
      const bool answers = client.learned.took > Duration{};
      return now_ < (answers ? request.ClosesAt() : request.sent_at + request.directive.deadline);
    }
    // One that gave, and may soon be asked again.
    const Instant again_at = client.learned.ask_again_in_haste_at;
    const bool soon = client.learned.fruitless == 0 && again_at > now_ && domain.brake.ends_at() &&
                      again_at < *domain.brake.ends_at();
    return soon && MayAct(domain, *entry.second->rule);
  });
}

void Engine::Withhold(CgroupState& domain, Bytes missing, const Survey& survey) {
  Withheld what = kSaidNothing;
  if (survey.cooling + survey.over_budget > 0) {
    what = kSaidWaiting;
  } else if (survey.empty + survey.unreadable == 0) {
    what = kSaidNobody;
  }
  if ((domain.withheld & what) != 0) return;
  domain.withheld |= what;
  std::string text = "no client that could give memory";
  if (what != kSaidNobody) {
    text = absl::StrCat("nobody to ask now: ", survey.cooling, " cooling down, ", survey.empty,
                        " hold nothing, ", survey.unreadable, " cannot be read");
    if (survey.over_budget > 0) absl::StrAppend(&text, ", ", survey.over_budget, " over their CPU budget");
  }
  Note note = NoteOn(domain, NoteKind::kWithheld);
  note.bytes = missing;
  note.text = std::move(text);
  decisions_.notes.push_back(std::move(note));
}

}  // namespace memgov::core
