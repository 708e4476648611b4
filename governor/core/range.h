// Numbers that stay in range, whatever a kernel file, a client or a journal says.

#pragma once

#include <limits>

#include "governor/core/units.h"

namespace memgov::core {

// More than any machine has, and so little that sums of some readings stay in range. What the edge hands over
// is at most that; a limit above it limits nothing.
inline constexpr Bytes kMostBytes = Bytes{1} << 60;

// The sum, or the nearest that can be told: a journal may hold any numbers.
constexpr Bytes SaturatedSum(Bytes a, Bytes b) {
  constexpr Bytes kHighest = std::numeric_limits<Bytes>::max();
  constexpr Bytes kLowest = std::numeric_limits<Bytes>::min();
  if (b > 0 && a > kHighest - b) return kHighest;
  if (b < 0 && a < kLowest - b) return kLowest;
  return a + b;
}

// A figure that was computed, as bytes; what is none (NaN) is 0. A plain conversion of one out of range is
// undefined.
constexpr Bytes BytesOf(double value) {
  constexpr double kEdge = 9223372036854775808.0;  // 2^63, the first that is too large
  if (value >= kEdge) return std::numeric_limits<Bytes>::max();
  if (value < -kEdge) return std::numeric_limits<Bytes>::min();
  return value == value ? static_cast<Bytes>(value) : 0;
}

}  // namespace memgov::core
