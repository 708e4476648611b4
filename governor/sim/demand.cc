#include "governor/sim/demand.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace memgov::sim {
namespace {

constexpr double kSteep = 0.05;  // seconds; a step that is not one
constexpr int kPointsOfPeriod = 24;

}  // namespace

Demand::Demand(std::vector<Point> points) : points_(std::move(points)) {}

std::size_t Demand::After(double progress) const {
  const auto it = std::upper_bound(points_.begin(), points_.end(), progress,
                                   [](double at, const Point& point) { return at < point.progress; });
  return static_cast<std::size_t>(it - points_.begin());
}

double Demand::At(double progress) const {
  if (points_.empty()) return 0;
  const std::size_t next = After(progress);
  if (next == 0) return points_.front().bytes;
  if (next == points_.size()) return points_.back().bytes;
  return points_[next - 1].bytes + SlopeAfter(progress) * (progress - points_[next - 1].progress);
}

double Demand::SlopeAfter(double progress) const {
  const std::size_t next = After(progress);
  if (next == 0 || next == points_.size()) return 0;
  const Point& a = points_[next - 1];
  const Point& b = points_[next];
  return (b.bytes - a.bytes) / (b.progress - a.progress);
}

std::optional<double> Demand::NextBreak(double progress) const {
  const std::size_t next = After(progress);
  if (next == points_.size()) return std::nullopt;
  return points_[next].progress;
}

double Demand::Peak() const {
  double peak = 0;
  for (const Point& point : points_) peak = std::max(peak, point.bytes);
  return peak;
}

Demand Demand::WithOpening(double peak, double hold, double fall) const {
  std::vector<Point> points{{0, peak}, {hold, peak}, {hold + fall, At(hold + fall)}};
  for (const Point& point : points_) {
    if (point.progress > hold + fall) points.push_back(point);
  }
  return Demand(std::move(points));
}

Demand Demand::Steady(double bytes) { return Demand({{0, bytes}}); }

Demand Demand::Ramp(double from, double to, double begin, double seconds) {
  return Demand({{0, from}, {begin, from}, {begin + seconds, to}});
}

Demand Demand::Bursts(Random& random, double low, double high, double speed, double seconds) {
  std::vector<Point> points{{0, low}};
  double at = random.Between(0, seconds / 3);
  while (at < seconds) {
    const double top = random.Between((low + high) / 2, high);
    const double rise = std::max((top - low) / speed, kSteep);
    const double hold = random.LogBetween(0.5, 20);
    const double fall = random.Between(0.1, 3);
    points.push_back({at, low});
    points.push_back({at + rise, top});
    points.push_back({at + rise + hold, top});
    points.push_back({at + rise + hold + fall, low});
    at += rise + hold + fall + random.LogBetween(3, 60);
  }
  return Demand(std::move(points));
}

Demand Demand::Diurnal(Random& random, double low, double high, double period, double seconds) {
  std::vector<Point> points;
  const double phase = random.Between(0, 2 * M_PI);
  const double step = period / kPointsOfPeriod;
  for (double at = 0; at < seconds + step; at += step) {
    const double wave = 0.5 + 0.5 * std::sin(phase + 2 * M_PI * at / period);
    points.push_back({at, low + (high - low) * wave});
  }
  return Demand(std::move(points));
}

Demand Demand::Leak(double from, double per_second, double seconds) {
  return Demand({{0, from}, {seconds, from + per_second * seconds}});
}

Demand Demand::Drain(Random& random, double high, double low, double seconds) {
  const double begin = random.Between(0, seconds / 2);
  const double fall = random.LogBetween(0.2, 20);
  return Demand({{0, high}, {begin + 1, high}, {begin + 1 + fall, low}});
}

}  // namespace memgov::sim
