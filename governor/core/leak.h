// Does what no release can free grow into the limit? Then asking again and again only torments the programs,
// and whoever is on call should hear early that a kill is coming that nobody here can avert.
//
// The floor of a domain is its pressing usage less all that could still be returned: what clients hold
// (scaled by what they really gave), and what is lazily freed. Retained memory makes usage go up and down;
// only what is really in use moves the floor. Garbage that no runtime reports lies upon it until a
// collection, so the lowest readings count. A floor that has risen through the whole window, and will meet
// the limit within a minute, is a leak or plain demand: the two differ in nothing that a governor could do.

#pragma once

#include <deque>
#include <optional>

#include "governor/core/units.h"

namespace memgov::core {

struct LeakView {
  Bytes floor = 0;
  double bytes_per_second = 0;  // least squares over the lowest readings of the window's parts
  Duration over{};              // the window
  Duration to_limit{};          // until the floor is at the limit, at that rate
};

class Leak {
 public:
  // The window.
  static constexpr auto kWindow = std::chrono::seconds(30);

  // Whether a reading is wanted: once a second.
  bool IsDue(Instant now) const;
  // In order of time; readings closer than a second to the last one are left out.
  void Observe(Instant at, Bytes floor);
  void Forget() { readings_.clear(); }

  // Present when the floor has grown steadily for at least ten seconds and will be at `limit` within a
  // minute.
  std::optional<LeakView> view(Bytes limit) const;

 private:
  struct Reading {
    Instant at;
    Bytes floor = 0;
  };
  std::deque<Reading> readings_;
};

}  // namespace memgov::core
