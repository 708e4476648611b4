#include "governor/core/soft_limit.h"

#include <algorithm>
#include <cmath>

namespace memgov::core {
namespace {

// The smallest heap that a runtime collects (Go: 4 MiB), so that an empty one gets some room too.
constexpr Bytes kSmallestHeap = 4 * kMiB;
constexpr double kRisePerSecond = 0.1;
// Smaller changes are not worth a message; a limit that is too low for a while costs little.
constexpr double kWorthLowering = 0.05;
constexpr double kWorthRaising = 0.25;

double Weight(const Heap& heap) { return std::sqrt(static_cast<double>(std::max(heap.live, kSmallestHeap))); }

}  // namespace

Bytes SoftLimitFloor(const Heap& heap) {
  const Bytes live = std::max(heap.live, kSmallestHeap);
  return static_cast<Bytes>(std::ceil(static_cast<double>(live) * kLeastOverLive)) + heap.non_heap;
}

std::vector<Bytes> SplitSoftLimits(Bytes room, std::span<const Heap> heaps) {
  std::vector<Bytes> limits(heaps.size(), 0);
  std::vector<bool> at_floor(heaps.size(), false);
  // Whoever would get less than its floor gets the floor; the others share what is left. Each round settles
  // at least one, so it ends.
  for (bool settled = false; !settled;) {
    settled = true;
    auto spare = static_cast<double>(room);
    double weights = 0;
    for (std::size_t i = 0; i < heaps.size(); ++i) {
      spare -= static_cast<double>(at_floor[i] ? limits[i] : heaps[i].live + heaps[i].non_heap);
      if (!at_floor[i]) weights += Weight(heaps[i]);
    }
    for (std::size_t i = 0; i < heaps.size(); ++i) {
      if (at_floor[i]) continue;
      const double extra = spare * Weight(heaps[i]) / weights;
      limits[i] = heaps[i].live + heaps[i].non_heap + static_cast<Bytes>(extra);
      if (limits[i] >= SoftLimitFloor(heaps[i])) continue;
      limits[i] = SoftLimitFloor(heaps[i]);
      at_floor[i] = true;
      settled = false;
    }
  }
  return limits;
}

std::optional<Bytes> SoftLimit::Next(Instant now, Bytes target, Bytes floor) const {
  if (now >= ends_at_) return std::max(target, floor);
  const double seconds = std::chrono::duration<double>(now - told_at_).count();
  const double highest = static_cast<double>(told_) * (1 + kRisePerSecond * seconds);
  const Bytes next = std::max(std::min(target, static_cast<Bytes>(highest)), floor);
  const double change = static_cast<double>(next - told_) / static_cast<double>(told_);
  const bool renew = ends_at_ - now <= (ends_at_ - told_at_) / 2;
  const bool below_floor = static_cast<double>(floor - told_) >= kWorthLowering * static_cast<double>(told_);
  const bool worth_it = change <= -kWorthLowering || change >= kWorthRaising || below_floor;
  if (!worth_it && !renew) return std::nullopt;
  return next;
}

void SoftLimit::Told(Instant now, Bytes bytes, Duration ttl) {
  told_ = std::max<Bytes>(bytes, 1);
  told_at_ = now;
  ends_at_ = now + ttl;
}

}  // namespace memgov::core
