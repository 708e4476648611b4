#include "governor/core/stall.h"

#include <algorithm>

namespace memgov::core {
namespace {

constexpr auto kWindow = std::chrono::seconds(1);
constexpr auto kEvidence = std::chrono::milliseconds(500);
// Readings closer together than this tell no more.
constexpr auto kApart = std::chrono::milliseconds(90);
// A service that starts or opens a file has some hundred major faults, once; a stall has them every second.
constexpr double kLeastReturns = 100;
// Without PSI: a page read from a local disk takes about 100 us, one thread's whole time at 10,000 a second.
constexpr double kSecondsPerReturn = 100e-6;

std::uint64_t Rise(std::uint64_t from, std::uint64_t to) { return to > from ? to - from : 0; }

}  // namespace

void Stall::Observe(const CgroupSample& sample) {
  if (!sample.stat) return;
  if (!readings_.empty() && sample.taken_at < readings_.back().at + kApart) return;
  readings_.push_back({.at = sample.taken_at,
                       .full_us = sample.pressure ? std::optional(sample.pressure->full_us) : std::nullopt,
                       .pgmajfault = sample.stat->pgmajfault,
                       .refaults = sample.stat->workingset_refault_file.value_or(0)});
  // One reading from before the window stays, so that there is always a whole window to look at.
  while (readings_.size() > 2 && readings_[1].at <= sample.taken_at - kWindow) readings_.pop_front();
  view_ = ViewOfReadings();
}

std::optional<StallView> Stall::ViewOfReadings() const {
  if (readings_.size() < 2) return std::nullopt;
  const Reading& first = readings_.front();
  const Reading& last = readings_.back();
  const Duration span = last.at - first.at;
  if (span < kEvidence) return std::nullopt;
  const double seconds = std::chrono::duration<double>(span).count();
  const auto returns = static_cast<double>(
      std::max(Rise(first.pgmajfault, last.pgmajfault), Rise(first.refaults, last.refaults)));
  StallView view{.returns_per_second = returns / seconds};
  if (view.returns_per_second < kLeastReturns) return std::nullopt;
  view.has_pressure = first.full_us.has_value() && last.full_us.has_value();
  const double full = view.has_pressure ? static_cast<double>(Rise(*first.full_us, *last.full_us)) * 1e-6
                                        : returns * kSecondsPerReturn;
  view.full_percent = std::min(100.0, 100 * full / seconds);
  return view;
}

}  // namespace memgov::core
