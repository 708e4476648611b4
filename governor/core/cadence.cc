#include "governor/core/cadence.h"

#include <algorithm>

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kFastest = milliseconds(10);
constexpr Duration kSlowest = seconds(1);

// Steps, so that a cadence changes a few times on the way to the wire and not at every sample.
Duration RoundDown(Duration d) {
  for (Duration step : {Duration(kSlowest), Duration(milliseconds(250)), Duration(milliseconds(100)),
                        Duration(milliseconds(25))}) {
    if (d >= step) return step;
  }
  return kFastest;
}

}  // namespace

Cadence CadenceFor(const CadenceInput& input) {
  if (input.in_need) {
    const Duration every = input.in_need_for < seconds(2) ? kFastest : Duration(milliseconds(100));
    return {.usage_every = every, .stat_every = every};
  }
  if (!input.to_wire || input.limit <= 0) return {.may_rest = input.alarmed};

  const double gap_percent = 100.0 * static_cast<double>(*input.to_wire) / static_cast<double>(input.limit);
  Duration every = kSlowest;
  if (gap_percent < 20) every = milliseconds(250);
  if (gap_percent < 5) every = milliseconds(100);
  if (input.bytes_per_second > 0 && *input.to_wire > 0) {
    const double quarter = static_cast<double>(*input.to_wire) / input.bytes_per_second / 4;
    if (quarter < 1) {
      every = std::min(every, std::chrono::duration_cast<Duration>(std::chrono::duration<double>(quarter)));
    }
  }
  if (input.full_of_cache) {
    every = RoundDown(std::min(every, Duration(gap_percent < 40 ? milliseconds(100) : milliseconds(250))));
    return {.usage_every = every, .stat_every = every};
  }
  return {.usage_every = RoundDown(every),
          .stat_every = gap_percent < 20 ? seconds(1) : seconds(10),
          .may_rest = input.alarmed};
}

}  // namespace memgov::core
