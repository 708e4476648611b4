// What changes where time is short: who may be asked again before the rest after a request is over, why, and
// where looking for garbage is worth a collection.

#include <algorithm>

#include "governor/core/engine.h"
#include "governor/core/range.h"

namespace memgov::core {
namespace {

constexpr Bytes kWorthCollectingDivisor = 100;  // of the limit

// A request that has just been answered has shown what there was.
constexpr auto kOutdatedAfter = std::chrono::seconds(1);

}  // namespace

// Also where the usage woke it first, and the forecast would have.
bool Engine::TimeIsShort(const CgroupState& domain) const {
  if (domain.detector.level() == Level::kCritical || domain.brake.braking()) return true;
  if (domain.detector.ReasonAt(now_).signal != Signal::kUsage) return true;
  return IsForecastToWake(domain, TimeToLimit(domain));
}

bool Engine::IsForecastToWake(const CgroupState& domain, std::optional<Duration> left) {
  const std::optional<Duration>& threshold = domain.rule->wake.time_to_limit;
  return left && threshold && *left <= *threshold;
}

// Whether the domain would be full before an answer to what is asked at `at`.
bool Engine::IsFullBefore(const CgroupState& domain, const Learned& learned, Instant at) const {
  if (domain.hopeless) return false;
  const std::optional<Duration> left = TimeToLimit(domain);
  return left && now_ + *left < at + learned.took;
}

// A slow answer earns its program a long rest, but none in which the domain runs full: the kill would be
// worse.
Instant Engine::AskAgainAt(const CgroupState& domain, const Learned& learned) const {
  const bool in_haste = TimeIsShort(domain) || IsFullBefore(domain, learned, learned.ask_again_at);
  if (!in_haste) return learned.ask_again_at;
  return IsFullBefore(domain, learned, learned.ask_again_in_haste_at) ? learned.ask_again_at_earliest
                                                                      : learned.ask_again_in_haste_at;
}

// Why somebody is asked now: the crossing, or else the forecast that cuts the rest after a request short.
Reason Engine::ReasonToAsk(const CgroupState& domain, const Learned& learned) const {
  Reason crossing = domain.detector.ReasonAt(now_);
  const std::optional<Duration> left = TimeToLimit(domain);
  if (domain.detector.level() == Level::kCritical || crossing.signal != Signal::kUsage || !left)
    return crossing;
  Reason forecast{.rule = crossing.rule,
                  .signal = Signal::kTimeToLimit,
                  .observed = std::chrono::duration<double>(*left).count()};
  if (IsForecastToWake(domain, left)) {
    forecast.threshold = std::chrono::duration<double>(*domain.rule->wake.time_to_limit).count();
    return forecast;
  }
  if (now_ >= learned.ask_again_at || !IsFullBefore(domain, learned, learned.ask_again_at)) return crossing;
  forecast.threshold = std::chrono::duration<double>(learned.ask_again_at + learned.took - now_).count();
  return forecast;
}

// A collection that is expected to bring less is none for times of need: a hundredth of the limit, or a
// second of growth where seconds are left.
Bytes Engine::WorthCollectingInHaste(const CgroupState& domain) const {
  const std::optional<Duration> left = TimeToLimit(domain);
  const Bytes hundredth = *domain.limit / kWorthCollectingDivisor;
  if (!left || *left > kSecondsLeft) return hundredth;
  return std::min(hundredth, BytesOf(domain.forecast.BytesPerSecond()));
}

// What died in a collected heap since its last collection is in no estimate. Where a kill is near, looking is
// worth a collection.
bool Engine::MayHideGarbage(const CgroupState& domain, const ClientState& client) const {
  return TimeIsShort(domain) && IsLargeHeap(domain, client) &&
         now_ - client.learned.closed_at >= kOutdatedAfter;
}

bool Engine::IsLargeHeap(const CgroupState& domain, const ClientState& client) {
  return client.report->live >= std::max(*domain.limit / kWorthCollectingDivisor, kLeastWorthAsking);
}

}  // namespace memgov::core
