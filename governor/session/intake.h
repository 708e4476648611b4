// How fast one client may speak. Time is cut into short windows; in each at most one report goes on, the
// newest, and after a bounded number of HTTP/2 frames the client is not read until the window ends. So a
// flood costs the flooder its own stream, not the governor.

#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "governor/core/client_event.h"
#include "governor/core/units.h"

namespace memgov::session {

class Intake {
 public:
  static constexpr core::Duration kWindow = std::chrono::milliseconds(50);  // 20 reports a second
  static constexpr std::uint64_t kFrames =
      64;  // in a window; a client has a report or two and a few outcomes

  // Begins a window if the last one is over at `now`, and then gives the held report, if there is one, as the
  // one of the new window. Before each read, and when UntilRoll has passed.
  std::optional<core::ClientReport> Roll(core::Instant now) {
    if (started_ && now - *started_ < kWindow) return std::nullopt;
    started_ = now;
    frames_ = 0;
    reported_ = held_.has_value();
    return TakeHeld();
  }

  void Count(std::uint64_t frames) { frames_ += frames; }

  // The report if it may go on now; otherwise it is held, in place of one held before.
  std::optional<core::ClientReport> Offer(const core::ClientReport& report) {
    if (!std::exchange(reported_, true)) return report;
    held_ = report;
    return std::nullopt;
  }

  // A report that may not go on yet for a reason of the caller's; a newer one that is held already stays.
  void Hold(const core::ClientReport& report) {
    if (!held_) held_ = report;
  }

  // The held report. To keep the order it goes before an outcome.
  std::optional<core::ClientReport> TakeHeld() { return std::exchange(held_, std::nullopt); }

  bool holds() const { return held_.has_value(); }
  bool full() const { return frames_ >= kFrames; }

  // How long after `now` the window ends. After Roll.
  core::Duration UntilRoll(core::Instant now) const { return *started_ + kWindow - now; }

 private:
  std::optional<core::Instant> started_;
  std::uint64_t frames_ = 0;
  bool reported_ = false;
  std::optional<core::ClientReport> held_;
};

}  // namespace memgov::session
