#include "governor/sim/run.h"

#include <memory>

#include "absl/strings/str_format.h"
#include "governor/core/invariants.h"
#include "governor/core/serialised.h"
#include "governor/sim/baselines.h"
#include "governor/sim/memgov_arm.h"

namespace memgov::sim {
namespace {

// FNV-1a over the text of all decisions.
void Mix(std::string_view text, std::uint64_t* digest) {
  for (const char c : text) *digest = (*digest ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
}

std::unique_ptr<Governor> Baseline(Arm arm) {
  switch (arm) {
    case Arm::kStatic:
      return std::make_unique<StaticLimits>();
    case Arm::kGoMemLimit:
      return std::make_unique<GoMemLimit>();
    case Arm::kM3:
      return std::make_unique<M3>();
    case Arm::kOracle:
      return std::make_unique<Oracle>();
    default:
      return std::make_unique<Nothing>();
  }
}

}  // namespace

std::string_view NameOf(Arm arm) {
  switch (arm) {
    case Arm::kNothing:
      return "nothing";
    case Arm::kStatic:
      return "static";
    case Arm::kGoMemLimit:
      return "gomemlimit";
    case Arm::kM3:
      return "m3";
    case Arm::kMemgov:
      return "memgov";
    case Arm::kOracle:
      return "oracle";
  }
  return "";
}

std::optional<Arm> ArmNamed(std::string_view name) {
  for (const Arm arm : kArms) {
    if (NameOf(arm) == name) return arm;
  }
  return std::nullopt;
}

RunResult RunScenario(const Scenario& scenario, Arm arm, const RunOptions& options) {
  RunResult result;
  if (arm != Arm::kMemgov) {
    const std::unique_ptr<Governor> governor = Baseline(arm);
    Machine machine(scenario, *governor, options.trace);
    machine.Run();
    result.tally = machine.tally();
    return result;
  }
  const core::Policy policy = options.policy.value_or(MemgovArm::DefaultPolicy());
  core::Invariants invariants;
  result.digest = 0xCBF29CE484222325ULL;
  MemgovArm::Observer observer;
  if (options.check || options.record) {
    observer = [&](Instant now, const core::Snapshot& snapshot, std::span<const core::ClientEvent> events,
                   const core::Decisions& decisions) {
      if (options.record) Mix(core::Serialised(decisions), &result.digest);
      if (!options.check) return;
      for (std::string& broken : invariants.Check(now, policy, snapshot, events, decisions)) {
        result.broken.push_back(absl::StrFormat("%.6f s: %s", SecondsOf(now - Machine::Zero()), broken));
      }
    };
  }
  MemgovArm memgov(policy, std::move(observer));
  Machine machine(scenario, memgov, options.trace);
  machine.Run();
  result.tally = machine.tally();
  result.ticks = memgov.ticks();
  return result;
}

}  // namespace memgov::sim
