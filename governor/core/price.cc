#include "governor/core/price.h"

#include <algorithm>

namespace memgov::core {
namespace {

constexpr double kLearning = 0.3;  // weight of the newest observation
// What releases of allocators and collections of heaps take: 100 to 280 ms for each GiB were measured.
constexpr double kUsualSecondsPerGib = 0.2;
constexpr auto kRegrowthAfter = std::chrono::seconds(10);
// What has grown back by then has cost its faults, about four times the release (measured: 81 ms of CPU to
// give a GiB back, 391 to touch it again), and left nothing.
constexpr double kRegrowthCosts = 3;
constexpr auto kAtRestAfter = std::chrono::seconds(10);
constexpr double kAtRestCosts = 0.5;
constexpr Bytes kSame = kMiB;

bool IsSame(Bytes a, Bytes b) { return a - b <= kSame && b - a <= kSame; }

}  // namespace

void Price::Paid(Instant at, Bytes returned, Duration took, Bytes usage) {
  const double gib = static_cast<double>(std::max(returned, kMiB)) / kGiB;
  const double now = std::chrono::duration<double>(took).count() / gib;
  seconds_per_gib_ = seconds_per_gib_ ? *seconds_per_gib_ + kLearning * (now - *seconds_per_gib_) : now;
  given_ = {.at = at, .returned = returned, .usage = usage};
}

void Price::Observe(Instant at, Bytes usage) {
  if (!given_ || at - given_->at < kRegrowthAfter) return;
  const double share = static_cast<double>(usage - given_->usage) / static_cast<double>(given_->returned);
  regrown_ += kLearning * (std::clamp(share, 0.0, 1.0) - regrown_);
  given_.reset();
}

void Price::Report(Instant at, Bytes live, Bytes retained) {
  const bool same = IsSame(live, live_) && IsSame(retained, retained_);
  if (same && at_rest_since_) return;
  at_rest_since_ = at;
  live_ = live;
  retained_ = retained;
}

bool Price::AtRest(Instant now) const { return at_rest_since_ && now - *at_rest_since_ >= kAtRestAfter; }

double Price::PerByte(Instant now) const {
  const double time =
      std::clamp(seconds_per_gib_.value_or(kUsualSecondsPerGib) / kUsualSecondsPerGib, 0.25, 4.0);
  return time * (1 + kRegrowthCosts * regrown_) * (AtRest(now) ? kAtRestCosts : 1);
}

}  // namespace memgov::core
