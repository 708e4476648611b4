// Does a domain thrash? At its limit, with nothing left to reclaim but the pages of its own programs and
// files, the kernel often does not kill: it drops such pages and reads them again, for minutes, while nothing
// moves. That is worse than a kill, for nobody restarts the service.
//
// Two witnesses have to agree, over the last second: pressure (memory.pressure, "full": every task that
// wanted to run waited for memory) and pages that came back (major faults, refaults). Pressure alone is also
// what a brake causes, or an ancestor's limit; refaults alone are also a backup that streams a large file.
// Fast growth shows neither: new anonymous pages are no refaults (measured: PSI saw none of 105 runs of fast
// growth before the kill).

#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "governor/core/snapshot.h"
#include "governor/core/units.h"

namespace memgov::core {

struct StallView {
  double full_percent = 0;        // of the window; without PSI estimated from the faults
  double returns_per_second = 0;  // pages that came back: major faults or refaults, whichever are more
  bool has_pressure = false;
};

class Stall {
 public:
  // Takes a sample that has a stat; others are ignored. In order of time.
  void Observe(const CgroupSample& sample);

  // What the last window shows. Absent while there is less than half a second of evidence, and where fewer
  // pages come back than a healthy service causes.
  const std::optional<StallView>& view() const { return view_; }

 private:
  struct Reading {
    Instant at;
    std::optional<std::uint64_t> full_us;
    std::uint64_t pgmajfault = 0;
    std::uint64_t refaults = 0;
  };
  std::optional<StallView> ViewOfReadings() const;

  std::deque<Reading> readings_;
  std::optional<StallView> view_;  // asked for at every sample, and changes with a stat only
};

}  // namespace memgov::core
