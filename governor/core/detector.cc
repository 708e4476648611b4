#include "governor/core/detector.h"

#include <algorithm>

namespace memgov::core {
namespace {

// A forecast alone does not wake a domain that is less than half full: most programs grow fast when they
// start.
constexpr double kForecastFloorPercent = 50;
// A domain that a forecast woke is calm again when the limit is this many times as far as the threshold.
constexpr int kForecastRelaxes = 2;

// A stall that is not this domain's own (an ancestor's limit makes its tasks wait) finds it far from its
// limit.
constexpr double kStallFloorPercent = 80;

// The reason why `view` crosses `threshold`, or nothing.
std::optional<Reason> Crossing(const Rule& rule, const Threshold& threshold, const DomainView& view) {
  if (threshold.stall_percent && view.stall_percent && view.charged_percent >= kStallFloorPercent &&
      *view.stall_percent >= *threshold.stall_percent) {
    return Reason{.rule = rule.name,
                  .signal = Signal::kStall,
                  .observed = *view.stall_percent,
                  .threshold = *threshold.stall_percent};
  }
  if (threshold.usage_percent && view.usage_percent >= *threshold.usage_percent) {
    return Reason{.rule = rule.name,
                  .signal = Signal::kUsage,
                  .observed = view.usage_percent,
                  .threshold = *threshold.usage_percent};
  }
  if (threshold.time_to_limit && view.time_to_limit && view.usage_percent >= kForecastFloorPercent &&
      *view.time_to_limit <= *threshold.time_to_limit) {
    return Reason{.rule = rule.name,
                  .signal = Signal::kTimeToLimit,
                  .observed = std::chrono::duration<double>(*view.time_to_limit).count(),
                  .threshold = std::chrono::duration<double>(*threshold.time_to_limit).count()};
  }
  return std::nullopt;
}

bool HasRelaxed(const Rule& rule, const DomainView& view) {
  if (view.stall_percent && rule.wake.stall_percent && view.charged_percent >= kStallFloorPercent &&
      *view.stall_percent >= *rule.wake.stall_percent / 2) {
    return false;
  }
  if (view.usage_percent >= rule.relax_percent) return false;
  const bool limit_is_near = view.time_to_limit && rule.wake.time_to_limit &&
                             view.usage_percent >= kForecastFloorPercent &&
                             *view.time_to_limit <= kForecastRelaxes * *rule.wake.time_to_limit;
  return !limit_is_near;
}

}  // namespace

std::optional<Level> Detector::Observe(Instant now, const Rule& rule, const DomainView& view) {
  const auto critical = Crossing(rule, rule.critical, view);
  const auto wake = Crossing(rule, rule.wake, view);

  Level next = level_;
  if (critical) {
    next = Level::kCritical;
  } else if (wake) {
    next = std::max(level_, Level::kWake);
  } else if (HasRelaxed(rule, view)) {
    next = Level::kCalm;
  }

  if (critical || wake) {
    const Reason& crossing = critical ? *critical : *wake;
    // A crossing that goes on keeps its start; another signal or level starts anew.
    if (next != level_ || crossing.signal != reason_.signal) crossed_at_ = now;
    reason_ = crossing;
  } else if (next == Level::kCalm && level_ != Level::kCalm) {
    reason_ = Reason{.rule = rule.name,
                     .signal = Signal::kUsage,
                     .observed = view.usage_percent,
                     .threshold = rule.relax_percent};
    crossed_at_ = now;
  }
  if (next == level_) return std::nullopt;
  level_ = next;
  return next;
}

bool Detector::WouldRaise(const Rule& rule, const DomainView& view) const {
  if (level_ != Level::kCritical && Crossing(rule, rule.critical, view)) return true;
  return level_ == Level::kCalm && Crossing(rule, rule.wake, view).has_value();
}

Reason Detector::ReasonAt(Instant now) const {
  Reason reason = reason_;
  if (crossed_at_) reason.held = now - *crossed_at_;
  return reason;
}

}  // namespace memgov::core
