#include "governor/core/apportion.h"

#include <algorithm>

namespace memgov::core {
namespace {

constexpr Bytes kLeastWorthAsking = kMiB;

bool AskedBefore(const Candidate& a, const Candidate& b) {
  if (a.cannot_estimate != b.cannot_estimate) return b.cannot_estimate;
  const double size_a = static_cast<double>(a.expected) / a.protect_weight;
  const double size_b = static_cast<double>(b.expected) / b.protect_weight;
  if (size_a != size_b) return size_a > size_b;
  return a.client < b.client;
}

}  // namespace

std::vector<Share> Apportion(Bytes deficit, std::vector<Candidate> candidates) {
  std::sort(candidates.begin(), candidates.end(), AskedBefore);
  std::vector<Share> shares;
  Bytes missing = deficit;
  for (const Candidate& candidate : candidates) {
    if (missing <= 0) break;
    if (candidate.cannot_estimate) {
      shares.push_back({candidate.client, std::max(missing, kLeastWorthAsking)});
      continue;  // its bytes are a hope, not an expectation: the next one is asked too
    }
    if (candidate.expected < kLeastWorthAsking) continue;
    const Bytes bytes = candidate.in_chunks
                            ? std::min(candidate.expected, std::max(missing, kLeastWorthAsking))
                            : candidate.expected;
    shares.push_back({candidate.client, bytes});
    missing -= bytes;
  }
  return shares;
}

}  // namespace memgov::core
