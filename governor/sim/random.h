// The simulator's only source of chance: a generator that a seed determines, the same on every machine.
//
// The standard's distributions may differ between libraries, so the few shapes that worlds need stand here.

#pragma once

#include <cmath>
#include <cstdint>

namespace memgov::sim {

class Random {
 public:
  // Neighbouring seeds give unrelated sequences (the finaliser of splitmix64, Steele et al., 2014).
  explicit Random(std::uint64_t seed) {
    state_ = seed + 0x9E3779B97F4A7C15ULL;
    state_ = (state_ ^ (state_ >> 30)) * 0xBF58476D1CE4E5B9ULL;
    state_ = (state_ ^ (state_ >> 27)) * 0x94D049BB133111EBULL;
    state_ = (state_ ^ (state_ >> 31)) | 1;
  }

  // xorshift64* (Vigna, 2016).
  std::uint64_t Next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1DULL;
  }
  // In [0, 1).
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  double Between(double low, double high) { return low + (high - low) * Unit(); }
  // Each factor is as likely as any other: for sizes and speeds over decades.
  double LogBetween(double low, double high) { return low * std::pow(high / low, Unit()); }
  int Below(int bound) { return static_cast<int>(Next() % static_cast<std::uint64_t>(bound)); }
  bool Chance(double probability) { return Unit() < probability; }

 private:
  std::uint64_t state_;
};

}  // namespace memgov::sim
