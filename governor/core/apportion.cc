#include "governor/core/apportion.h"

#include <algorithm>
#include <tuple>

namespace memgov::core {
namespace {

bool AskedBefore(const Candidate& a, const Candidate& b) {
  const auto size = [](const Candidate& c) {
    const Bytes bytes = c.promise == Promise::kEstimate ? c.expected : c.size;
    return static_cast<double>(bytes) / (c.protect_weight * c.price);
  };
  return std::tuple(a.promise, a.rung, -size(a), a.client) <
         std::tuple(b.promise, b.rung, -size(b), b.client);
}

}  // namespace

std::vector<Share> Apportion(Bytes deficit, std::vector<Candidate> candidates, int hopes) {
  std::sort(candidates.begin(), candidates.end(), AskedBefore);
  std::vector<Share> shares;
  int outdated = 0;
  Bytes missing = deficit;
  for (const Candidate& candidate : candidates) {
    if (missing <= 0) break;
    const Bytes target = std::max(missing, kLeastWorthAsking);
    if (candidate.promise == Promise::kEstimate) {
      if (candidate.expected < kLeastWorthAsking) continue;
      const Bytes bytes = candidate.in_chunks ? std::min(candidate.expected, target) : candidate.expected;
      shares.push_back({candidate.client, bytes});
      missing -= bytes;
      continue;
    }
    if (candidate.promise == Promise::kOutdated) {
      // Time is short, and most of them will give nothing: the caches do not wait for them.
      if (outdated++ >= kMostHopes) continue;
      shares.push_back({candidate.client, std::clamp(candidate.size, kLeastWorthAsking, target)});
      continue;
    }
    // Nothing is expected of a hope, so the next one is asked for the same bytes.
    if (hopes >= (candidate.promise == Promise::kCaches ? 1 : kMostHopes)) break;
    // Nobody gives more than its whole cgroup holds.
    shares.push_back({candidate.client, std::clamp(candidate.size, kLeastWorthAsking, target)});
    ++hopes;
  }
  return shares;
}

}  // namespace memgov::core
