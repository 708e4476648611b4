// The engine and collected heaps: soft limits that follow the limits of cgroups, the one that follows a
// collection, and the verdict on a domain that no release can save.

#include <algorithm>

#include "absl/strings/str_format.h"
#include "governor/core/engine.h"
#include "governor/core/explain.h"
#include "governor/core/range.h"

namespace memgov::core {
namespace {

// A soft limit that leaves a collected heap room to work: the client raises it to its own floor if need be.
constexpr double kSoftLimitOverLive = 1.3;
constexpr Bytes kSoftLimitSlack = 16 * kMiB;

// Changes of soft limits come so often at most: a burst needs room within its first second.
constexpr auto kShareOutEvery = std::chrono::milliseconds(250);

// Where a rule knows no critical usage.
constexpr double kCriticalPercent = 95;

// A heap may have so much over what is live in any case, as it grows by itself: held below that, a busy
// program pays with its CPU for garbage that others hold, and that one collection of theirs would return.
constexpr double kComfortableOverLive = 2;
constexpr Bytes kComfortableSlack = 32 * kMiB;

constexpr auto kHeldBackFor = std::chrono::seconds(10);

// Below this share of its limit no domain is near enough to be watched for a leak.
constexpr double kWatchedAbovePercent = 50;

}  // namespace

// After a collection that worked, a lowered soft limit keeps the heap from growing back at once (Go issue
// 41444). It takes the first report since then, because older ones count the garbage as live.
void Engine::SendSoftLimit(ClientId id) {
  ClientState* known = ledger_.Find(id);
  if (known == nullptr || !known->soft_limit_after || !known->report) return;
  ClientState& client = *known;
  if (client.report->received_at < client.soft_limit_after->outcome->received_at) return;
  const Directive collect = std::exchange(client.soft_limit_after, std::nullopt)->directive;

  const CgroupState* domain = world_.Find(collect.domain);
  if (domain == nullptr || client.report->retained_kind != EstimateKind::kExact) return;
  if (!client.info.capabilities.set_soft_limit || !Lists(RuleOf(client), ActionKind::kSetSoftLimit)) return;
  auto bytes = static_cast<Bytes>(static_cast<double>(client.report->live) * kSoftLimitOverLive) +
               client.report->non_heap + kSoftLimitSlack;
  // It would lift the one that keeps the heap below the limits above it.
  for (const auto& [unused, share] : client.shares) bytes = std::min(bytes, share);
  bytes = std::max(bytes, SoftLimitFloor({.live = client.report->live, .non_heap = client.report->non_heap}));
  SoftLimit& told = MayAct(*domain, client) ? client.soft_limit : client.pretended.soft_limit;
  told.Told(now_, bytes, RuleOf(client).pace.ttl);
  Send(*domain, client, SetSoftLimit{.bytes = bytes}, collect.reason, {});
}

// Soft limits follow every limit above a heap but the node's: what the node has left is shared with programs
// that nobody told us of.
void Engine::FollowLimits(const ClientReport& report) {
  ClientState* client = ledger_.Find(report.client);
  if (client == nullptr || !client->info.capabilities.set_soft_limit) return;
  std::vector<CgroupState*> above;
  world_.VisitUpwards(client->info.cgroup, [&above](CgroupState& domain) {
    if (domain.id == kNodeId || !domain.limit || !domain.rule->soft_limit.follow_percent) return;
    above.push_back(&domain);
  });
  // Limits that have gone, or are no longer followed, count no more.
  std::erase_if(client->shares, [&above](const auto& share) {
    return std::none_of(above.begin(), above.end(),
                        [&share](const CgroupState* domain) { return domain->id == share.first; });
  });
  for (CgroupState* domain : above) {
    if (!domain->last || now_ - domain->soft_limits_at < kShareOutEvery) continue;
    domain->soft_limits_at = now_;
    ShareOutSoftLimits(*domain);
  }
}

Engine::Sharing Engine::SharingIn(const CgroupState& domain) {
  Sharing sharing;
  sharing.homes.reserve(domain.clients.size());
  for (const auto& [id, governed_by] : domain.clients) {
    ClientState& client = ledger_.At(id);
    if (!client.report) continue;
    const ClientReport& report = *client.report;
    Sharing::Home& home = sharing.homes[client.info.cgroup];
    const bool follows = client.info.capabilities.set_soft_limit && !client.keeps_own_limit &&
                         report.live > 0 && Lists(*governed_by->rule, ActionKind::kSetSoftLimit);
    if (!follows) {
      home.of_others += report.live + report.non_heap;
      if (report.retained_kind == EstimateKind::kExact) {
        home.of_others += std::max<Bytes>(report.retained - report.lazily_freed, 0);
      }
      continue;
    }
    ++home.heaps;
    home.reported += report.non_heap + report.live + report.retained;
    sharing.heaps.push_back(&client);
    sharing.sizes.push_back({.live = report.live, .non_heap = report.non_heap});
  }
  for (auto& [id, home] : sharing.homes) {
    if (home.heaps == 0) continue;
    // Others may report more than is resident; that takes nothing from what the heaps themselves report.
    const Bytes pressing = world_.Find(id)->pressing;
    home.of_heaps = std::max(pressing - home.of_others, std::min(pressing, home.reported));
    sharing.of_heaps += home.of_heaps;
  }
  return sharing;
}

void Engine::ShareOutSoftLimits(CgroupState& domain) {
  const double follow = *domain.rule->soft_limit.follow_percent;
  const Sharing sharing = SharingIn(domain);
  const std::vector<ClientState*>& heaps = sharing.heaps;
  if (heaps.empty()) return;
  const Bytes followed = BytesOf(static_cast<double>(*domain.limit) * follow / 100);
  const Bytes room = followed - std::max<Bytes>(domain.pressing - sharing.of_heaps, 0);
  const std::vector<Bytes> limits = SplitSoftLimits(room, sharing.sizes);
  // While there is room that nobody uses, no share holds a heap back: one that idles has a small share, and
  // its burst comes next. As others want it back there is less that is free, and all are held to their
  // shares.
  const Bytes free = std::max<Bytes>(followed - domain.pressing, 0);
  const bool is_critical = domain.detector.level() == Level::kCritical;
  for (std::size_t i = 0; i < heaps.size(); ++i) {
    const ClientReport& heap = *heaps[i]->report;
    const Bytes comfortable =
        static_cast<Bytes>(static_cast<double>(heap.live) * kComfortableOverLive) + kComfortableSlack;
    // A report is up to a second old, and the garbage since the last collection is in none. Until a kill is
    // near that is not held against a heap: a request brings it, and costs a busy program less. Whose it is
    // can be told where a cgroup has one heap.
    const Sharing::Home& home = sharing.homes.at(heaps[i]->info.cgroup);
    const Bytes reported = heap.non_heap + heap.live + heap.retained;
    const Bytes holds = !is_critical && home.heaps == 1 ? std::max(reported, home.of_heaps) : reported;
    const Bytes at_once = std::min(room, std::max(holds + free, heap.non_heap + comfortable));
    // The tightest limit above counts.
    Bytes& share = heaps[i]->shares[domain.id];
    share = std::max(limits[i], at_once);
    Bytes target = share;
    for (const auto& [unused, bytes] : heaps[i]->shares) target = std::min(target, bytes);
    const bool act = MayAct(domain, *heaps[i]);
    SoftLimit& told = act ? heaps[i]->soft_limit : heaps[i]->pretended.soft_limit;
    // One that was just collected shall not grow back at once.
    const bool held_back = now_ - heaps[i]->learned.closed_at < kHeldBackFor;
    const Bytes least = held_back ? 0 : std::min(target, at_once);
    const auto next = told.Next(now_, target, std::max(least, SoftLimitFloor(sharing.sizes[i])));
    if (!next) continue;
    told.Told(now_, *next, RuleOf(*heaps[i]).pace.ttl);
    Send(domain, *heaps[i], SetSoftLimit{.bytes = *next},
         {.rule = domain.rule->name,
          .signal = Signal::kSoftLimit,
          .observed = domain.PressingPercent(),
          .threshold = follow},
         {});
  }
}

// What stays in the domain if everybody gives all they have. `hope` where somebody cannot tell how much that
// is, and has not shown it of late.
Bytes Engine::FloorOf(const CgroupState& domain, bool* hope) const {
  Bytes floor = domain.pressing - domain.lazily_freed.at_most;
  for (const auto& [id, home] : domain.clients) {
    const ClientState& client = ledger_.At(id);
    if (!client.report) continue;
    const Capabilities& can = client.info.capabilities;
    const Rule& rule = *home->rule;
    // No heap knows of what died since its last collection; only asking shows.
    const bool may_be_asked = MayAct(domain, rule) && Lists(rule, ActionKind::kCollect);
    const bool cannot_tell =
        (client.report->retained_kind == EstimateKind::kNone && (can.release || can.collect)) ||
        (can.collect && may_be_asked && IsLargeHeap(domain, client));
    const bool caches = can.shed && Lists(rule, ActionKind::kShed);
    const bool untried = client.learned.fruitless == 0 && now_ - client.learned.closed_at > Leak::kWindow;
    if ((cannot_tell || caches) && untried) *hope = true;
    const double yield =
        std::max(client.learned.yield(ActionKind::kRelease), client.learned.yield(ActionKind::kCollect));
    floor -= static_cast<Bytes>(static_cast<double>(client.report->retained) * yield);
  }
  return floor;
}

void Engine::WatchForLeak(CgroupState& domain) {
  if (domain.PressingPercent() < kWatchedAbovePercent) {
    domain.leak.Forget();
    domain.unsavable = domain.hopeless = false;
    return;
  }
  if (!domain.leak.IsDue(now_)) return;
  bool hope = false;
  domain.leak.Observe(now_, FloorOf(domain, &hope));
  const auto leak = domain.leak.view(SaturatedSum(*domain.limit, world_.SwapLeftOf(domain)));
  const bool unsavable = leak && !hope && domain.detector.level() != Level::kCalm;
  domain.hopeless = unsavable && IsCritical(domain, leak->floor);
  if (!unsavable) {
    if (!leak && domain.detector.level() == Level::kCalm) domain.unsavable = false;
    return;
  }
  SayUnsavable(domain, leak->floor,
               absl::StrFormat(
                   "what no release can free grows by %s/s (over the last %.0f s, now %s): the limit is "
                   "reached in %.0f s",
                   TextOf(BytesOf(leak->bytes_per_second)), std::chrono::duration<double>(leak->over).count(),
                   TextOf(leak->floor), std::chrono::duration<double>(leak->to_limit).count()));
}

// What is needed at once, as one large allocation is, gives no evidence over time. But where all who could
// give have been asked, what they would still give changes nothing, and the limit is seconds away, none is
// needed.
void Engine::GiveUpOn(CgroupState& domain) {
  if (domain.unsavable || domain.detector.level() != Level::kCritical) return;
  if (domain.PressingPercent() < kWatchedAbovePercent) return;
  const std::optional<Duration> left = TimeToLimit(domain);
  if (!left || *left > kSecondsLeft) return;
  bool hope = std::any_of(domain.clients.begin(), domain.clients.end(),
                          [this](const auto& at) { return ledger_.At(at.first).giving.has_value(); });
  const Bytes floor = FloorOf(domain, &hope);
  if (hope || !IsCritical(domain, floor)) return;
  SayUnsavable(domain, floor,
               absl::StrFormat("usage grows by %s/s, and no release can free %s of it: the limit is reached "
                               "in %.1f s",
                               TextOf(BytesOf(domain.forecast.BytesPerSecond())), TextOf(floor),
                               std::chrono::duration<double>(*left).count()));
}

bool Engine::IsCritical(const CgroupState& domain, Bytes floor) {
  const double critical = domain.rule->critical.usage_percent.value_or(kCriticalPercent);
  return static_cast<double>(floor) * 100 >= critical * static_cast<double>(*domain.limit);
}

// Once for an episode.
void Engine::SayUnsavable(CgroupState& domain, Bytes floor, std::string why) {
  if (std::exchange(domain.unsavable, true)) return;
  Note note = NoteOn(domain, NoteKind::kUnsavable);
  note.bytes = floor;
  note.facts = world_.FactsOf(domain);
  note.text = std::move(why);
  decisions_.notes.push_back(std::move(note));
}

}  // namespace memgov::core
