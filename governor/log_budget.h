// How many lines of the log a tenant may bring about. Whoever attaches and leaves in a loop, crosses its wire
// or is killed again and again writes our log, and fills a disk or hides what others did. What is left out is
// counted, and told in one line.
//
// Pure; the caller brings the time. Not thread-safe.

#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "governor/base/fair_rate.h"
#include "governor/base/tally.h"
#include "governor/core/units.h"

namespace memgov {

class LogBudget {
 public:
  // Each has a budget of its own: a loop of connections does not hide what was decided.
  enum class Cause { kConnection, kDecision };

  // A long line costs the turns of several: a turn for each KiB.
  bool Allows(Cause cause, const std::string& tenant, core::Instant now, std::size_t bytes = 0) {
    base::FairRate& rate = cause == Cause::kConnection ? connections_ : decisions_;
    if (rate.Take(tenant, now)) {
      if (bytes >= kTurnBytes) rate.Charge(tenant, static_cast<double>(bytes / kTurnBytes), now);
      return true;
    }
    left_out_.Count(tenant, now);
    return false;
  }

  // How many lines were left out, to be told by now.
  std::vector<base::Tally::Line> TakeLeftOut(core::Instant now) { return left_out_.Due(now); }

 private:
  static constexpr std::size_t kTurnBytes = 1024;

  // 500 processes attach, are asked at once and answer.
  base::FairRate connections_{
      {.per_second = 10, .burst = 1500, .most = 2000, .window = std::chrono::seconds(30)}};
  base::FairRate decisions_{
      {.per_second = 50, .burst = 2500, .most = 6000, .window = std::chrono::seconds(30)}};
  base::Tally left_out_;
};

}  // namespace memgov
