// Runs seeded worlds under memgov and its rivals: prints what each cost, and for one seed its story.
//
//   campaign --seed 4711 --trace                 one world, line by line, under memgov
//   campaign --seed 4711 --trace --arm nothing   the same without a governor
//   campaign --seeds 1:1000                      many worlds: a line each, and the sums
//   campaign --scene demo                        the demo's stage, as JSON

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>

#include "absl/strings/str_format.h"
#include "governor/sim/run.h"

namespace memgov::sim {
namespace {

void Print(Instant at, const std::string& text) {
  std::printf("%12.6f  %s\n", SecondsOf(at - Machine::Zero()), text.c_str());
}

std::string LineOf(const RunResult& result) {
  const Tally& tally = result.tally;
  return absl::StrFormat("%zu kills, work %.0f s, asked %.0f MiB in %d requests, %.0f MiB came, %d collections, "
                         "stalled %.1f s, braked %.2f s",
                         tally.kills.size(), tally.work, tally.asked / kMiBf, tally.requests,
                         tally.returned / kMiBf, tally.collections, tally.stalled, tally.braked);
}

// False when an invariant was broken.
bool Complain(std::uint64_t seed, const RunResult& result) {
  if (result.broken.empty()) return true;
  for (const std::string& broken : result.broken) std::printf("seed %lu: %s\n", seed, broken.c_str());
  std::printf("replay it with: campaign --seed %lu --trace\n", seed);
  return false;
}

bool RunOne(std::uint64_t seed, Arm arm, bool trace) {
  RunOptions options{.check = true, .record = true};
  if (trace) options.trace = Print;
  const RunResult result = RunScenario(DrawScenario(seed), arm, options);
  std::printf("seed %lu, %s: %s, %lu ticks, digest %016lx\n", seed, std::string(NameOf(arm)).c_str(),
              LineOf(result).c_str(), result.ticks, result.digest);
  return Complain(seed, result);
}

struct Sums {
  std::size_t kills = 0, missed = 0;
  double work = 0, asked = 0;
  int collections = 0;
};

bool RunMany(std::uint64_t from, std::uint64_t to, bool all_arms, bool quiet) {
  std::map<Arm, Sums> sums;
  std::uint64_t ticks = 0;
  bool sound = true;
  for (std::uint64_t seed = from; seed <= to; ++seed) {
    const Scenario scenario = DrawScenario(seed);
    std::map<Arm, RunResult> results;
    for (const Arm arm : kArms) {
      if (all_arms || arm == Arm::kMemgov) results[arm] = RunScenario(scenario, arm, {.check = true, .record = true});
    }
    sound = Complain(seed, results[Arm::kMemgov]) && sound;
    ticks += results[Arm::kMemgov].ticks;
    const std::size_t unsavable = results[Arm::kOracle].tally.kills.size();
    std::string line = absl::StrFormat("seed %d:", seed);
    for (const auto& [arm, result] : results) {
      Sums& sum = sums[arm];
      const std::size_t kills = result.tally.kills.size();
      sum.kills += kills;
      sum.missed += kills > unsavable ? kills - unsavable : 0;
      sum.work += result.tally.work;
      sum.asked += result.tally.asked;
      sum.collections += result.tally.collections;
      absl::StrAppendFormat(&line, "  %s %d (%.0f s)", NameOf(arm), kills, result.tally.work);
    }
    if (!quiet) std::puts(line.c_str());
  }
  const Sums& oracle = sums[Arm::kOracle];
  for (const auto& [arm, sum] : sums) {
    if (!all_arms && arm != Arm::kMemgov) continue;
    std::printf("%-10s  kills %5zu  savable missed %5zu (%5.1f %%)  work %5.1f %%  asked %8.0f MiB  collections %d\n",
                std::string(NameOf(arm)).c_str(), sum.kills, sum.missed,
                100.0 * static_cast<double>(sum.missed) / static_cast<double>(std::max<std::size_t>(sums[Arm::kNothing].missed, 1)),
                100 * sum.work / std::max(oracle.work, 1.0), sum.asked / kMiBf, sum.collections);
  }
  std::printf("%lu ticks of memgov, %s\n", ticks, sound ? "no invariant broken" : "INVARIANTS BROKEN");
  return sound;
}

int Main(int argc, char** argv) {
  CLI::App app{"Seeded worlds under memgov and its rivals"};
  std::uint64_t seed = 0;
  std::string seeds, arm_name = "memgov", scene;
  bool trace = false, quiet = false, memgov_only = false;
  app.add_option("--seed", seed, "one world");
  app.add_option("--seeds", seeds, "many worlds, FIRST:LAST");
  app.add_option("--arm", arm_name, "nothing, static, gomemlimit, m3, memgov, oracle");
  app.add_flag("--trace", trace, "the story of one world");
  app.add_flag("--quiet", quiet, "the sums only");
  app.add_flag("--memgov-only", memgov_only, "no rivals");
  CLI11_PARSE(app, argc, argv);
  if (!seeds.empty()) {
    const std::size_t colon = seeds.find(':');
    const std::uint64_t from = std::stoull(seeds.substr(0, colon));
    const std::uint64_t to = colon == std::string::npos ? from : std::stoull(seeds.substr(colon + 1));
    return RunMany(from, to, !memgov_only, quiet) ? 0 : 1;
  }
  const auto arm = ArmNamed(arm_name);
  if (!arm) {
    std::fprintf(stderr, "campaign: no arm '%s'\n", arm_name.c_str());
    return 2;
  }
  return RunOne(seed, *arm, trace) ? 0 : 1;
}

}  // namespace
}  // namespace memgov::sim

int main(int argc, char** argv) { return memgov::sim::Main(argc, argv); }
