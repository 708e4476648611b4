// When will this cgroup reach its limit if it goes on like this?
//
// Two exponentially weighted growth rates over irregular samples: a fast one (200 ms) that follows a burst
// and a slow one (2 s) that follows a trend. The larger one counts, because asking too early costs a purge
// and asking too late costs a process. Source of the irregular-interval weights: Wright, "Forecasting data
// published at irregular time intervals using an extension of Holt's method", Management Science 32(4), 1986.

#pragma once

#include <optional>

#include "governor/core/units.h"

namespace memgov::core {

class Forecast {
 public:
  // Samples come in order of time; one not later than the last is ignored.
  void Observe(Instant at, Bytes usage);

  // Present growth, bytes per second, never negative. 0 until there is evidence.
  double BytesPerSecond() const;

  // Time until `headroom` is used up. Absent while there is no growth or too little evidence: at least three
  // samples over at least 100 ms, so that one step is not taken for a trend.
  std::optional<Duration> TimeToUse(Bytes headroom) const;

 private:
  bool HasEvidence() const;

  Instant first_at_;
  Instant last_at_;
  Bytes last_usage_ = 0;
  int samples_ = 0;
  double fast_ = 0;  // bytes per second
  double slow_ = 0;
};

}  // namespace memgov::core
