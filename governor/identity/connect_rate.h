// How often a tenant may connect. To identify a peer costs about 100 us, to serve it more; a loop of connect
// and close, or of fork and connect, must not have all of our time, and not hold up what others want of us.
//
// Two doors, so that refusing is cheap. The tenant of a process that was refused is remembered for a moment,
// and its next connections are refused by its pid alone. Only what passes has its cgroup read, once, and
// takes a turn of its tenant. Neither is an identity: a pid may by then be another's, who is refused once for
// nothing and connects again.
//
// A tenant that goes on connecting loses the turns it would have: who connects at full speed is not served
// 200 times a second besides, each of which costs far more than to be refused.
//
// Pure; the caller brings the time. Not thread-safe.

#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>
#include <vector>

#include "governor/base/fair_rate.h"
#include "governor/base/tally.h"
#include "governor/core/units.h"

namespace memgov::identity {

class ConnectRate {
 public:
  struct Options {
    // A server that starts 500 workers at once passes, and one that starts 1,000 nearly so.
    base::FairRate::Limits limits{.per_second = 200, .burst = 1000, .most = 1200};
    double fault = 20;     // turns
    double refused = 0.1;  // turns that being refused costs: 2,000 times a second leave none
    core::Duration remember = std::chrono::milliseconds(200);
    std::size_t most_remembered = 1024;
  };

  explicit ConnectRate(Options options) : options_(options), rate_(options.limits) {}

  // True: the process was refused a moment ago, and is so again. `pid` 0 is nobody's.
  bool RefusesUnseen(int pid, core::Instant now);

  // The process belongs to the tenant. False: it is refused.
  bool Admit(int pid, const std::string& tenant, core::Instant now);

  // A connection of the tenant did what no client does: that costs it the turns of so many.
  void Charge(const std::string& tenant, core::Instant now) { rate_.Charge(tenant, options_.fault, now); }

  // Who was refused how often, to be told now.
  std::vector<base::Tally::Line> TakeRefused(core::Instant now) { return refused_.Due(now); }

  const Options& options() const { return options_; }

 private:
  struct Refused {
    std::string tenant;
    core::Instant until;
  };

  void Refuse(const std::string& tenant, core::Instant now);

  const Options options_;
  base::FairRate rate_;
  base::Tally refused_;
  std::unordered_map<int, Refused> by_pid_;
};

}  // namespace memgov::identity
