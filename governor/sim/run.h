// One world under one governor, from the first second to the last.

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "governor/core/policy.h"
#include "governor/sim/machine.h"

namespace memgov::sim {

enum class Arm { kNothing, kStatic, kGoMemLimit, kM3, kMemgov, kOracle };
inline constexpr std::array kArms{Arm::kNothing, Arm::kStatic, Arm::kGoMemLimit,
                                  Arm::kM3,      Arm::kMemgov, Arm::kOracle};
std::string_view NameOf(Arm arm);
std::optional<Arm> ArmNamed(std::string_view name);

struct RunOptions {
  std::optional<core::Policy> policy;  // of memgov; absent: the default rule, enforcing
  bool check = false;                  // the invariants, at each tick of memgov
  bool record = false;                 // a digest of all of memgov's decisions
  Machine::Trace trace;
};

struct RunResult {
  Tally tally;
  std::uint64_t ticks = 0;          // of memgov
  std::uint64_t digest = 0;         // equal digests, equal decisions
  std::vector<std::string> broken;  // invariants, each with the tick and the time
};

RunResult RunScenario(const Scenario& scenario, Arm arm, const RunOptions& options = {});

}  // namespace memgov::sim
