// Runs seeded worlds under memgov and its rivals: prints what each cost, and for one seed its story.
//
//   campaign --seed 4711 --trace                 one world, line by line, under memgov
//   campaign --seed 4711 --trace --arm nothing   the same without a governor
//   campaign --seeds 1:1000 [--missed] [--json]  many worlds; --missed lists each savable kill that memgov
//   missed campaign --scene demo                        the demo's stage, as JSON
//
// Exit status 1 when an invariant was broken, 2 for a wrong command line.

#include "governor/sim/campaign.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace memgov::sim {
namespace {

struct Options {
  std::uint64_t seed = 1;
  std::string seeds, arm = "memgov", scene;
  bool trace = false, missed = false, json = false, memgov_only = false;
};

void Print(Instant at, const std::string& text) {
  absl::PrintF("%12.6f  %s\n", SecondsOf(at - Machine::Zero()), text);
}

std::string PathOf(const Scenario& scenario, core::CgroupId id) {
  return id == core::kNodeId ? "/" : scenario.cgroups[static_cast<std::size_t>(id) - 1].path;
}

// What was broken, and how to see it again. False when something was.
bool IsSound(const std::vector<CampaignResult::Broken>& broken) {
  for (const auto& [seed, what] : broken) {
    absl::PrintF("seed %d, %s; replay: build/release/tests/sim/campaign --seed %d --trace\n", seed, what,
                 seed);
  }
  return broken.empty();
}

int RunOne(const Options& options, Arm arm) {
  RunOptions run{.check = true, .record = true};
  if (options.trace) run.trace = Print;
  const RunResult result = RunScenario(DrawScenario(options.seed), arm, run);
  const Tally& tally = result.tally;
  absl::PrintF(
      "seed %d, %s: %d kills, work %.0f s, asked %.0f MiB in %d requests, %.0f MiB came, %d collections, "
      "stalled "
      "%.1f s, braked %.2f s, %d ticks, digest %016x\n",
      options.seed, NameOf(arm), tally.kills.size(), tally.work, tally.asked / kMiBf, tally.requests,
      tally.returned / kMiBf, tally.collections, tally.stalled, tally.braked, result.ticks, result.digest);
  for (const std::string& what : result.broken) absl::PrintF("%s\n", what);
  return result.broken.empty() ? 0 : 1;
}

// Each kill under memgov in a world where the oracle has fewer, and how many of them count as missed.
void ListMissed(const Scenario& scenario, const std::map<Arm, RunResult>& results) {
  const auto& kills = results.at(Arm::kMemgov).tally.kills;
  const std::size_t unsavable = results.at(Arm::kOracle).tally.kills.size();
  if (kills.size() <= unsavable) return;
  absl::PrintF("seed %d (cgroup %s): %d kills, without a governor %d, unsavable %d, missed %d\n",
               scenario.seed, scenario.v2 ? "v2" : "v1", kills.size(),
               results.at(Arm::kNothing).tally.kills.size(), unsavable, MissedKills(kills, unsavable));
  for (const Kill& kill : kills) {
    absl::PrintF(
        "  %10.4f s  %s in %s, above 85 %% for %.3f s, growing %.0f MiB/s, %.0f MiB could have been given\n",
        SecondsOf(kill.at - Machine::Zero()), scenario.services[static_cast<std::size_t>(kill.service)].name,
        PathOf(scenario, kill.domain), SecondsOf(kill.noticed), kill.growth / kMiBf, kill.spare / kMiBf);
  }
}

void PrintTable(const CampaignResult& campaign) {
  absl::PrintF("%-11s %7s %13s %14s %13s %7s %13s %9s %12s %9s\n", "", "kills", "beyond oracle",
               "savable missed", "of nothing's", "work", "asked, GiB", "requests", "collections", "stalled");
  for (const auto& [arm, sums] : campaign.sums) {
    absl::PrintF("%-11s %7d %13d %14d %11.2f %% %5.1f %% %13.0f %9d %12d %7.0f s\n", NameOf(arm), sums.kills,
                 sums.beyond_oracle, sums.missed, campaign.MissedPercent(arm),
                 campaign.WorkOfOraclePercent(arm), sums.asked / kGiBf, sums.requests, sums.collections,
                 sums.stalled);
  }
  absl::PrintF("%d worlds, %d ticks of memgov, digest %016x, %d invariants broken\n", campaign.worlds,
               campaign.ticks, campaign.digest, campaign.broken.size());
}

void PrintJson(const CampaignResult& campaign) {
  std::vector<std::string> fields{
      absl::StrCat("\"worlds\": ", campaign.worlds),
      absl::StrCat("\"ticks\": ", campaign.ticks),
      absl::StrFormat("\"savable_missed_percent\": %.3f", campaign.MissedPercent(Arm::kMemgov)),
      absl::StrFormat("\"work_of_oracle_percent\": %.2f", campaign.WorkOfOraclePercent(Arm::kMemgov)),
      absl::StrFormat("\"asked_per_needed\": %.2f", campaign.AskedPerNeeded(Arm::kMemgov)),
      absl::StrCat("\"invariants_broken\": ", campaign.broken.size())};
  for (const auto& [arm, sums] : campaign.sums) {
    fields.push_back(absl::StrFormat("\"kills_%s\": %d", NameOf(arm), sums.kills));
    fields.push_back(absl::StrFormat("\"kills_beyond_oracle_%s\": %d", NameOf(arm), sums.beyond_oracle));
    fields.push_back(absl::StrFormat("\"collections_%s\": %d", NameOf(arm), sums.collections));
    if (arm == Arm::kMemgov || arm == Arm::kOracle) continue;
    fields.push_back(
        absl::StrFormat("\"savable_missed_percent_%s\": %.3f", NameOf(arm), campaign.MissedPercent(arm)));
    fields.push_back(absl::StrFormat("\"work_of_oracle_percent_%s\": %.2f", NameOf(arm),
                                     campaign.WorkOfOraclePercent(arm)));
  }
  absl::PrintF("{%s}\n", absl::StrJoin(fields, ", "));
}

int RunMany(const Options& options) {
  CampaignOptions campaign_options{.run = {.check = true, .record = true}};
  const std::vector<std::string> ends = absl::StrSplit(options.seeds, ':');
  if (ends.size() != 2 || !absl::SimpleAtoi(ends[0], &campaign_options.first) ||
      !absl::SimpleAtoi(ends[1], &campaign_options.last) || campaign_options.last < campaign_options.first) {
    std::fprintf(stderr, "campaign: --seeds wants FIRST:LAST, LAST not below FIRST, not '%s'\n",
                 options.seeds.c_str());
    return 2;
  }
  if (options.memgov_only) campaign_options.arms = {Arm::kMemgov};
  if (options.missed && !options.memgov_only) campaign_options.on_world = ListMissed;
  const CampaignResult campaign = RunCampaign(campaign_options);
  if (options.json) {
    PrintJson(campaign);
  } else {
    PrintTable(campaign);
  }
  return IsSound(campaign.broken) ? 0 : 1;
}

// Kills and how long the filling took, without and with memgov, on both kinds of cgroups; seconds since the
// filling began, as the demo counts them.
int RunDemo() {
  std::vector<std::string> runs;
  for (const bool v2 : {false, true}) {
    const Scenario demo = DemoScenario(v2);
    for (const Arm arm : {Arm::kNothing, Arm::kMemgov}) {
      double first_asked = -1;
      RunOptions run;
      run.trace = [&](Instant at, const std::string& text) {
        const bool for_memory = text.rfind("asked", 0) == 0 && text.find(" set_") == std::string::npos;
        if (first_asked < 0 && for_memory) first_asked = SecondsOf(at - Machine::Zero()) - kSettle;
      };
      const RunResult result = RunScenario(demo, arm, run);
      std::vector<std::string> kills;
      for (const Kill& kill : result.tally.kills) {
        kills.push_back(absl::StrFormat("{\"victim\": \"%s\", \"s\": %.3f}",
                                        demo.services[static_cast<std::size_t>(kill.service)].name,
                                        SecondsOf(kill.at - Machine::Zero()) - kSettle));
      }
      std::string fields = absl::StrFormat(
          "\"cgroup\": \"%s\", \"arm\": \"%s\", \"kills\": [%s], \"returned_mib\": %.0f", v2 ? "v2" : "v1",
          NameOf(arm), absl::StrJoin(kills, ", "), result.tally.returned / kMiBf);
      if (first_asked >= 0) absl::StrAppendFormat(&fields, ", \"first_asked_s\": %.3f", first_asked);
      runs.push_back(absl::StrCat("{", fields, "}"));
    }
  }
  absl::PrintF("{\"scene\": \"demo\", \"runs\": [%s]}\n", absl::StrJoin(runs, ", "));
  return 0;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app{"Seeded worlds under memgov and its rivals"};
  app.add_option("--seed", options.seed, "one world");
  app.add_option("--seeds", options.seeds, "many worlds, FIRST:LAST");
  app.add_option("--arm", options.arm, "with --seed: nothing, static, gomemlimit, m3, memgov, oracle");
  app.add_option("--scene", options.scene, "a world that was written down: demo")
      ->check(CLI::IsMember({"demo"}));
  app.add_flag("--trace", options.trace, "with --seed: the story, line by line");
  app.add_flag("--missed", options.missed, "with --seeds: each savable kill that memgov missed");
  app.add_flag("--memgov-only", options.memgov_only, "with --seeds: no rivals");
  app.add_flag("--json", options.json, "with --seeds: one JSON object");
  CLI11_PARSE(app, argc, argv);
  if (!options.scene.empty()) return RunDemo();
  if (!options.seeds.empty()) return RunMany(options);
  const auto arm = ArmNamed(options.arm);
  if (arm) return RunOne(options, *arm);
  std::fprintf(stderr, "campaign: no arm '%s'\n", options.arm.c_str());
  return 2;
}

}  // namespace
}  // namespace memgov::sim

int main(int argc, char** argv) { return memgov::sim::Main(argc, argv); }
