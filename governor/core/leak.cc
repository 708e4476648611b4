#include "governor/core/leak.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace memgov::core {
namespace {

constexpr auto kApart = std::chrono::seconds(1);
constexpr std::size_t kParts = 5;
constexpr auto kEvidence = std::chrono::seconds(10);
constexpr auto kHorizon = std::chrono::seconds(60);
// Slower growth fills a 1 GiB limit in more than four hours: nothing to be early about.
constexpr double kLeastGrowth = 64.0 * kKiB;

double Seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

// Least squares.
class Line {
 public:
  void Add(double x, double y) {
    ++count_;
    const double dx = x - mean_x_;
    mean_x_ += dx / count_;
    mean_y_ += (y - mean_y_) / count_;
    variance_ += dx * (x - mean_x_);
    covariance_ += dx * (y - mean_y_);
  }
  double Slope() const { return variance_ > 0 ? covariance_ / variance_ : 0; }

 private:
  double count_ = 0, mean_x_ = 0, mean_y_ = 0, variance_ = 0, covariance_ = 0;
};

}  // namespace

bool Leak::IsDue(Instant now) const { return readings_.empty() || now - readings_.back().at >= kApart; }

void Leak::Observe(Instant at, Bytes floor) {
  if (!IsDue(at)) return;
  readings_.push_back({at, floor});
  while (at - readings_.front().at > kWindow) readings_.pop_front();
}

std::optional<LeakView> Leak::view(Bytes limit) const {
  if (readings_.empty()) return std::nullopt;
  const Instant first = readings_.front().at;
  const Duration over = readings_.back().at - first;
  if (over < kEvidence) return std::nullopt;

  // The lowest of each part of the window. Parts without a reading are no evidence.
  std::array<std::optional<Reading>, kParts> lows;
  for (const Reading& reading : readings_) {
    const auto part = static_cast<std::size_t>((reading.at - first) * kParts / (over + Duration(1)));
    if (!lows[part] || reading.floor < lows[part]->floor) lows[part] = reading;
  }
  Line line;
  for (std::size_t i = 0; i < lows.size(); ++i) {
    if (!lows[i] || (i > 0 && lows[i]->floor <= lows[i - 1]->floor)) return std::nullopt;
    line.Add(Seconds(lows[i]->at - first), static_cast<double>(lows[i]->floor));
  }
  const double rate = line.Slope();
  if (rate < kLeastGrowth) return std::nullopt;
  const Bytes floor = lows.back()->floor;
  const double to_limit = static_cast<double>(std::max<Bytes>(limit - floor, 0)) / rate;
  if (to_limit > Seconds(kHorizon)) return std::nullopt;
  return LeakView{.floor = floor,
                  .bytes_per_second = rate,
                  .over = over,
                  .to_limit = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(to_limit))};
}

}  // namespace memgov::core
