// When the whole tree is to be scanned next. A directory that could not be listed (no descriptor left, say)
// is worth another look soon; but where it stays so, a thousand others must not be walked ten times a second
// for it.

#pragma once

#include <algorithm>

#include "governor/core/units.h"

namespace memgov::kernel {

class ScanPace {
 public:
  // `soonest` after the first incomplete scan, twice as late after each further one.
  explicit ScanPace(core::Duration soonest) : soonest_(soonest) {}

  // The pause after a scan; `every` where it was complete.
  core::Duration After(bool incomplete, core::Duration every) {
    wait_ = incomplete ? std::min(std::max(2 * wait_, soonest_), every) : core::Duration{};
    return incomplete ? wait_ : every;
  }
  // Whether the last whole scan was incomplete, so that the next one will come early.
  bool hurries() const { return wait_ != core::Duration{}; }

 private:
  const core::Duration soonest_;
  core::Duration wait_{};
};

}  // namespace memgov::kernel
