#include "governor/core/forecast.h"

#include <algorithm>
#include <cmath>

namespace memgov::core {
namespace {

constexpr double kFastSeconds = 0.2;
constexpr double kSlowSeconds = 2.0;
constexpr auto kEvidenceSpan = std::chrono::milliseconds(100);
constexpr int kEvidenceSamples = 3;
// Below this a forecast is noise: 64 KiB/s fills a 1 GiB limit in more than four hours.
constexpr double kLeastGrowth = 64.0 * kKiB;
constexpr double kLongestSeconds = 1e6;

double Seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

void Forecast::Observe(Instant at, Bytes usage) {
  if (samples_ > 0) {
    const double dt = Seconds(at - last_at_);
    if (dt <= 0) return;
    const double rate = static_cast<double>(usage - last_usage_) / dt;
    fast_ += (1 - std::exp(-dt / kFastSeconds)) * (rate - fast_);
    slow_ += (1 - std::exp(-dt / kSlowSeconds)) * (rate - slow_);
  } else {
    first_at_ = at;
  }
  last_at_ = at;
  last_usage_ = usage;
  samples_ = std::min(samples_ + 1, kEvidenceSamples);
}

bool Forecast::HasEvidence() const {
  return samples_ >= kEvidenceSamples && last_at_ - first_at_ >= kEvidenceSpan;
}

double Forecast::BytesPerSecond() const {
  if (!HasEvidence()) return 0;
  return std::max({fast_, slow_, 0.0});
}

std::optional<Duration> Forecast::TimeToUse(Bytes headroom) const {
  const double growth = BytesPerSecond();
  if (growth < kLeastGrowth) return std::nullopt;
  const double seconds =
      std::min(static_cast<double>(std::max<Bytes>(headroom, 0)) / growth, kLongestSeconds);
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace memgov::core
