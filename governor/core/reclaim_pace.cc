#include "governor/core/reclaim_pace.h"

#include <algorithm>

namespace memgov::core {
namespace {

constexpr Duration kAgain = std::chrono::milliseconds(500);
constexpr int kMostDoublings = 9;  // 256 s
constexpr Bytes kPage = 4096;

// An attempt paid when a tenth of what was asked, and at least a megabyte, left for good: file pages that
// were read again meanwhile were taken from somebody who needs them.
bool Paid(Bytes asked, Bytes returned, std::uint64_t refaults) {
  const auto read_again = static_cast<Bytes>(std::min<std::uint64_t>(refaults, kGiB)) * kPage;
  return returned - read_again >= std::max(asked / 10, kMiB);
}

}  // namespace

std::optional<Bytes> ReclaimPace::Offer(Instant now, const LazyBounds& lazily_freed) const {
  if (under_way_ || now < again_at_ || lazily_freed.at_least < kLeastWorthCollecting) return std::nullopt;
  return lazily_freed.at_least;
}

void ReclaimPace::Sent(Instant now, ReclaimId id, Bytes bytes) {
  under_way_ = id;
  bytes_ = bytes;
  sent_at_ = now;
}

std::optional<Bytes> ReclaimPace::Closed(const ReclaimOutcome& outcome) {
  if (under_way_ != outcome.id) return std::nullopt;
  under_way_.reset();
  const Bytes returned = std::max<Bytes>(outcome.before - outcome.after, 0);
  if (Paid(bytes_, returned, outcome.refaults)) {
    fruitless_ = 0;
    again_at_ = outcome.finished_at + kAgain;
  } else {
    fruitless_ = std::min(fruitless_ + 1, kMostDoublings);
    again_at_ = outcome.finished_at + kAgain * (1 << fruitless_);
  }
  return returned;
}

Bytes ReclaimPace::ComingAt(Instant now) const {
  return under_way_ && now < sent_at_ + kPatience ? bytes_ : 0;
}

}  // namespace memgov::core
