// How much memory a service needs as its work goes on: straight lines between points.
//
// The abscissa is progress, the seconds of work done, not time: a service that was slowed, stalled or killed
// needs its memory later. That keeps arms comparable, and makes work the measure of all harm.

#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "governor/sim/random.h"

namespace memgov::sim {

class Demand {
 public:
  struct Point {
    double progress = 0;  // seconds, ascending
    double bytes = 0;
  };

  Demand() = default;
  explicit Demand(std::vector<Point> points);

  // Before the first point and after the last it is level.
  double At(double progress) const;
  // Bytes per second right after `progress`.
  double SlopeAfter(double progress) const;
  // Where the slope changes next.
  std::optional<double> NextBreak(double progress) const;
  double Peak() const;

  // The same after a peak at the start, as of a service that loads and then frees what it loaded with.
  Demand WithOpening(double peak, double hold, double fall) const;

  static Demand Steady(double bytes);
  static Demand Ramp(double from, double to, double begin, double seconds);
  // Bursts to `high` with the given growth, held and dropped, at random times.
  static Demand Bursts(Random& random, double low, double high, double speed, double seconds);
  static Demand Diurnal(Random& random, double low, double high, double period, double seconds);
  static Demand Leak(double from, double per_second, double seconds);
  // Up early, then down for good: the service drains.
  static Demand Drain(Random& random, double high, double low, double seconds);

 private:
  // The first point beyond `progress`.
  std::size_t After(double progress) const;

  std::vector<Point> points_;
};

}  // namespace memgov::sim
