// How often each tenant may do something, and how often all together: a bucket for each, and a window in
// which turns are shared as fair_share.h has it, so that whoever has many tenants does not have the turns of
// many.
//
// Pure; the caller brings the time. Memory is bounded by the turns of a window. Not thread-safe.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "governor/base/fair_share.h"
#include "governor/base/token_bucket.h"
#include "governor/core/units.h"

namespace memgov::base {

class FairRate {
 public:
  struct Limits {
    double per_second = 0;  // of a tenant
    double burst = 0;       // of a tenant
    std::size_t most = 0;   // turns of all together within `window`
    core::Duration window = std::chrono::seconds(1);
  };

  explicit FairRate(Limits limits) : limits_(limits) {}

  // Takes a turn for the tenant; false: it has to wait.
  bool Take(std::string_view tenant, core::Instant now) {
    for (; !turns_.empty() && now - turns_.front().first >= limits_.window; turns_.pop_front()) {
      shares_.Remove(turns_.front().second);
    }
    ForgetFullBuckets(now);
    auto bucket = buckets_.find(tenant);
    if (bucket == buckets_.end()) {
      bucket = buckets_.emplace(tenant, TokenBucket(limits_.per_second, limits_.burst)).first;
    }
    if (!bucket->second.Has(now)) return false;
    if (!shares_.Fits(tenant, limits_.most)) return false;
    bucket->second.Take(now);
    shares_.Add(tenant, ++last_turn_);
    turns_.emplace_back(now, last_turn_);
    return true;
  }

  // Takes turns of the tenant's alone, for what its last one has cost. A tenant that has none left is charged
  // no more, so it waits for `turns` at most.
  void Charge(std::string_view tenant, double turns, core::Instant now) {
    const auto bucket = buckets_.find(tenant);
    if (bucket != buckets_.end() && !bucket->second.InDebt(now)) bucket->second.Spend(now, turns);
  }

  std::size_t remembered() const { return buckets_.size(); }

 private:
  void ForgetFullBuckets(core::Instant now) {
    if (buckets_.size() < sweep_at_) return;
    for (auto entry = buckets_.begin(); entry != buckets_.end();) {
      entry = entry->second.Full(now) ? buckets_.erase(entry) : std::next(entry);
    }
    sweep_at_ = std::max<std::size_t>(kLeastSweep, 2 * buckets_.size());
  }

  static constexpr std::size_t kLeastSweep = 64;

  const Limits limits_;
  std::map<std::string, TokenBucket, std::less<>> buckets_;
  std::size_t sweep_at_ = kLeastSweep;
  FairShare shares_;
  std::deque<std::pair<core::Instant, FairShare::Holder>> turns_;  // oldest first
  FairShare::Holder last_turn_ = 0;
};

}  // namespace memgov::base
