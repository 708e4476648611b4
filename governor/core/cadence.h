// How often is a cgroup worth reading? Rarely while it is far from its wire, often where the next reading may
// decide something. Kernel alarms cover the time between samples; this is what stands behind them.

#pragma once

#include <optional>

#include "governor/core/units.h"

namespace memgov::core {

struct Cadence {
  Duration usage_every = std::chrono::seconds(1);
  Duration stat_every = std::chrono::seconds(10);
  bool may_rest = false;  // nothing is lost when it is read seldom for as long as its usage stays the same
  friend bool operator==(const Cadence&, const Cadence&) = default;
};

struct CadenceInput {
  bool alarmed = false;          // the kernel tells of a crossing, or there is no limit to cross
  bool in_need = false;          // above its wake threshold, or a request for it is in flight
  Duration in_need_for{};        // how long already
  std::optional<Bytes> to_wire;  // pressing usage below the wire by this much; absent: no limit
  bool full_of_cache = false;    // usage is at the wire, so no alarm can stand there
  Bytes limit = 0;
  double bytes_per_second = 0;
};

// In need: 100 Hz for two seconds, then 10 Hz (confirm by short polling, then back off), each with its stat.
// A domain that is full of page cache shows its growth in the stat alone, and no alarm covers it. Otherwise a
// quarter of the time that the present growth needs to the wire, and at least as often as the distance
// suggests.
Cadence CadenceFor(const CadenceInput& input);

}  // namespace memgov::core
