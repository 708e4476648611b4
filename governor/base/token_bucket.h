// How often something may happen: a bucket that fills at a steady rate up to a burst, and from which each
// event takes. Pure; the caller brings the time. Not thread-safe.

#pragma once

#include <algorithm>
#include <chrono>

#include "governor/core/units.h"

namespace memgov::base {

class TokenBucket {
 public:
  // `per_second` > 0 tokens come, at most `burst` are kept; full at the beginning.
  TokenBucket(double per_second, double burst) : per_second_(per_second), burst_(burst), level_(burst) {}

  // Whether they are there.
  bool Has(core::Instant now, double tokens = 1) {
    Fill(now);
    return level_ >= tokens;
  }

  // Takes `tokens` if they are there.
  bool Take(core::Instant now, double tokens = 1) {
    Fill(now);
    if (level_ < tokens) return false;
    level_ -= tokens;
    return true;
  }

  // Takes `tokens` whether they are there or not: what has been done already. The level may go below zero.
  void Spend(core::Instant now, double tokens) {
    Fill(now);
    level_ -= tokens;
  }

  // How long after `now` the level is above zero again; zero: it is.
  core::Duration UntilPositive(core::Instant now) {
    Fill(now);
    if (level_ > 0) return core::Duration::zero();
    const std::chrono::duration<double> wait((1 - level_) / per_second_);
    return std::chrono::duration_cast<core::Duration>(wait);
  }

  // More was spent than there was.
  bool InDebt(core::Instant now) {
    Fill(now);
    return level_ < 0;
  }

  // Nothing is missing: the bucket need not be remembered.
  bool Full(core::Instant now) {
    Fill(now);
    return level_ >= burst_;
  }

 private:
  void Fill(core::Instant now) {
    if (now <= at_) return;
    if (at_ != core::Instant{}) {
      const std::chrono::duration<double> passed = now - at_;
      level_ = std::min(burst_, level_ + passed.count() * per_second_);
    }
    at_ = now;
  }

  double per_second_;
  double burst_;
  double level_;
  core::Instant at_{};  // of the last filling
};

}  // namespace memgov::base
