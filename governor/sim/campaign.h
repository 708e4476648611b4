// Many seeded worlds, each under several governors: what each cost, and what it missed of what could be
// saved.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "governor/sim/run.h"

namespace memgov::sim {

struct ArmSums {
  std::size_t kills = 0;
  // More kills than under the oracle, world by world.
  std::size_t beyond_oracle = 0;
  std::size_t missed = 0;  // of those, savable ones: see MissedKills()
  double work = 0;
  double asked = 0, returned = 0;
  int requests = 0, collections = 0;
  double stalled = 0;
};

// How many of a world's kills asking could have saved, at most: those beyond the `unsavable` ones, which
// happen under the oracle too, as far as what the domain lacked was there to be given. The others are no
// miss: each governor lets programs work at another pace, so that what they need falls together at other
// times, under the oracle as well.
std::size_t MissedKills(const std::vector<Kill>& kills, std::size_t unsavable);

struct CampaignOptions {
  std::uint64_t first = 1, last = 1;
  // The world of a number.
  std::function<Scenario(std::uint64_t)> world = [](std::uint64_t seed) { return DrawScenario(seed); };
  std::vector<Arm> arms{kArms.begin(), kArms.end()};
  RunOptions run;
  // After each world.
  std::function<void(const Scenario&, const std::map<Arm, RunResult>&)> on_world;
};

struct CampaignResult {
  std::map<Arm, ArmSums> sums;
  std::uint64_t worlds = 0;
  std::uint64_t ticks = 0;   // of memgov
  std::uint64_t digest = 0;  // of all of memgov's decisions, when they are recorded
  struct Broken {
    std::uint64_t seed = 0;
    std::string what;  // the invariant, the tick and the time
  };
  std::vector<Broken> broken;

  // Savable kills that were missed, of those that happen without a governor.
  double MissedPercent(Arm arm) const;
  double WorkOfOraclePercent(Arm arm) const;
  double AskedPerNeeded(Arm arm) const;
};

CampaignResult RunCampaign(const CampaignOptions& options);

}  // namespace memgov::sim
