// memgovctl simulate: the rules of a policy in many simulated nodes, or a whole policy in a node as it was
// recorded, before they govern a real one.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "governor/core/json.h"
#include "governor/core/printable.h"
#include "governor/ctl/command.h"
#include "governor/journal/known_world.h"
#include "governor/journal/reader.h"
#include "governor/policy/loader.h"
#include "governor/sim/campaign.h"
#include "governor/sim/recorded_world.h"

namespace memgov::ctl {
namespace {

constexpr char kFooter[] = R"(
Each world is a node drawn from its number: slices and containers with limits, programs with demand of many shapes,
allocators and collected heaps that keep what was freed, clients that are slow, silent, lying or dying. The real engine
governs it; the kernel's part follows what was measured. The same worlds run without a governor, under memgov's
defaults, under each rule of --policy (enforcing, for every cgroup of the world, whatever the rule matches: the worlds
have other names), and under an oracle that knows what will be needed.

  kills    of the kernel's OOM killer
  missed   kills beyond the oracle's, world by world: what asking could have averted, had it been known
  work     done by all programs, of what they do under the oracle; kills, brakes, stalls and collections cost work

With --journal the world is the node that a journal recorded (memgovd --journal): its cgroups with their limits, one
program in each that has none below it, what the programs needed and how much they kept free. --policy is tried as it
stands then, with its matches and modes, and each kill is listed. Left out are page cache, and caches that applications
could shed.

Equal worlds and rules give equal figures, on every machine. An invariant that is broken is a bug of memgov: it is
printed, with its world.

Exit codes: 0 simulated, 1 an invariant was broken, 2 bad flags, a bad policy or nothing recorded.

Examples:
  memgovctl simulate
  memgovctl simulate --policy policy.yaml --worlds 1:1000
  memgovctl simulate --policy policy.yaml --json
  memgovctl simulate --policy policy.yaml --journal /var/lib/memgov/journal
)";

constexpr std::uint64_t kMostWorlds = 100'000;

struct Flags {
  std::string policy;
  std::string worlds = "1:200";
  std::string journal;
  bool json = false;
};

struct Kill {
  std::string victim;
  double seconds = 0;
};

struct Recording {
  sim::Scenario world;
  core::Instant begins;
};

struct Row {
  std::string name;
  std::size_t kills = 0;
  double missed_percent = 0;
  double work_percent = 0;
  int requests = 0;
  int collections = 0;
  std::vector<Kill> killed;  // with --journal
};

// The rule as if it matched every cgroup.
core::Policy Everywhere(core::Rule rule, const core::NodePolicy& node) {
  rule.cgroup = "/**";
  rule.names = {};
  rule.mode = core::Mode::kEnforce;
  return {.rules = {std::move(rule)}, .node = node};
}

void Print(const std::vector<Row>& rows, const std::string& what) {
  std::cout << Bold(fmt::format("{:<24} {:>7} {:>9} {:>8} {:>9} {:>12}", "", "kills", "missed", "work",
                                "requests", "collections"))
            << "\n";
  for (const Row& row : rows) {
    std::cout << fmt::format("{:<24} {:>7} {:>7.1f} % {:>6.1f} % {:>9} {:>12}\n", row.name, row.kills,
                             row.missed_percent, row.work_percent, row.requests, row.collections);
  }
  std::cout << what << "; missed: of those without a governor\n";
  for (const Row& row : rows) {
    for (const Kill& kill : row.killed) {
      std::cout << fmt::format("{}: {} is killed after {:.2f} s\n", row.name, kill.victim, kill.seconds);
    }
  }
}

std::string JsonOf(const Row& row, bool with_kills) {
  std::string json = fmt::format(
      "{{\"name\": {}, \"kills\": {}, \"missed_percent\": {:.3f}, \"work_of_oracle_percent\": {:.3f}, "
      "\"requests\": {}, \"collections\": {}",
      core::JsonString(row.name), row.kills, row.missed_percent, row.work_percent, row.requests,
      row.collections);
  if (with_kills) {
    std::string list;
    for (const Kill& kill : row.killed) {
      list += fmt::format("{}{{\"victim\": {}, \"s\": {:.3f}}}", list.empty() ? "" : ", ",
                          core::JsonString(kill.victim), kill.seconds);
    }
    json += ", \"killed\": [" + list + "]";
  }
  return json + "}";
}

void PrintJson(const std::vector<Row>& rows, std::uint64_t worlds, std::size_t broken,
               const std::optional<Recording>& recording) {
  std::string list;
  for (const Row& row : rows) list += (list.empty() ? "" : ", ") + JsonOf(row, recording.has_value());
  const std::string begins =
      recording ? fmt::format("\"begins_s\": {:.6f}, ", sim::SecondsOf(recording->begins.time_since_epoch()))
                : "";
  std::cout << fmt::format("{{{}\"worlds\": {}, \"invariants_broken\": {}, \"arms\": [{}]}}\n", begins,
                           worlds, broken, list);
}

// Of the last run of the daemon that was recorded. Absent: stderr says why.
std::optional<Recording> ReadJournal(const std::string& path) {
  auto reader = journal::Reader::Open(path);
  if (!reader.ok()) {
    Fail(std::string(reader.status().message()));
    return std::nullopt;
  }
  sim::RecordedWorld world;
  core::Instant begins;
  while (const auto entry = reader->Next()) {
    const journal::Record& record = entry->record;
    if (const auto* tick = std::get_if<journal::Tick>(&record.what)) {
      world.Take(record.now, tick->snapshot, tick->events);
    } else if (const auto* keyframe = std::get_if<journal::Keyframe>(&record.what)) {
      if (entry->link == journal::Link::kContinues) continue;
      world = {};
      begins = record.now;
      world.Take(record.now, journal::SnapshotOf(*keyframe), journal::EventsOf(*keyframe));
    }
  }
  for (const std::string& trouble : reader->troubles()) std::cerr << core::Printable(trouble) << "\n";
  auto scenario = world.ToScenario();
  if (!scenario) {
    Fail(path + ": no program was recorded for any time");
    return std::nullopt;
  }
  return Recording{.world = *std::move(scenario), .begins = begins};
}

bool ReadWorlds(const std::string& range, sim::CampaignOptions* options) {
  const std::vector<std::string> ends = absl::StrSplit(range, ':');
  if (ends.size() == 2 && absl::SimpleAtoi(ends[0], &options->first) &&
      absl::SimpleAtoi(ends[1], &options->last) && options->first <= options->last &&
      options->last - options->first < kMostWorlds) {
    return true;
  }
  Fail(
      fmt::format("--worlds: '{}' is not FIRST:LAST, such as 1:200 (at most {} worlds)", range, kMostWorlds));
  return false;
}

// Without a governor, with memgov under one policy, and under the oracle.
struct Trial {
  sim::CampaignResult campaign;
  std::map<sim::Arm, std::vector<Kill>> kills;  // of a recorded node
};

std::vector<Kill> KillsOf(const sim::Scenario& world, const sim::RunResult& result) {
  std::vector<Kill> kills;
  for (const sim::Kill& kill : result.tally.kills) {
    kills.push_back({.victim = world.services[static_cast<std::size_t>(kill.service)].name,
                     .seconds = sim::SecondsOf(kill.at - sim::Machine::Zero())});
  }
  return kills;
}

Trial Try(sim::CampaignOptions options, const std::string& name, bool recorded) {
  if (::isatty(STDERR_FILENO) == 1) std::cerr << fmt::format("simulating {} ...\n", name);
  Trial trial;
  if (recorded) {
    options.on_world = [&trial](const sim::Scenario& world,
                                const std::map<sim::Arm, sim::RunResult>& results) {
      for (const auto& [arm, result] : results) trial.kills[arm] = KillsOf(world, result);
    };
  }
  trial.campaign = sim::RunCampaign(options);
  for (const auto& [seed, what] : trial.campaign.broken) {
    std::cerr << fmt::format("{}, world {}: {}\n", name, seed, what);
  }
  return trial;
}

Row RowOf(std::string name, const Trial& trial, sim::Arm arm) {
  const sim::ArmSums& sums = trial.campaign.sums.at(arm);
  const auto kills = trial.kills.find(arm);
  return {.name = std::move(name),
          .kills = sums.kills,
          .missed_percent = trial.campaign.MissedPercent(arm),
          .work_percent = trial.campaign.WorkOfOraclePercent(arm),
          .requests = sums.requests,
          .collections = sums.collections,
          .killed = kills == trial.kills.end() ? std::vector<Kill>{} : kills->second};
}

// In how many of the recorded cgroups the policy lets memgov act.
std::string ReachOf(const core::Policy& policy, const sim::Scenario& world) {
  const auto enforced =
      std::count_if(world.cgroups.begin(), world.cgroups.end(), [&](const sim::CgroupPlan& plan) {
        return core::RuleFor(policy, plan.path, plan.names).mode == core::Mode::kEnforce;
      });
  return fmt::format("; the policy enforces in {} of the cgroups", enforced);
}

int Simulate(const Flags& flags) {
  sim::CampaignOptions options{.arms = {sim::Arm::kNothing, sim::Arm::kMemgov, sim::Arm::kOracle},
                               .run = {.check = true}};
  std::optional<Recording> recording;
  std::string what;
  if (!flags.journal.empty()) {
    recording = ReadJournal(flags.journal);
    if (!recording) return kCannot;
    const sim::Scenario& world = recording->world;
    options.world = [&world](std::uint64_t) { return world; };
    what = fmt::format("{:.0f} s recorded, {} cgroups, {} programs", world.seconds, world.cgroups.size(),
                       world.services.size());
  } else {
    if (!ReadWorlds(flags.worlds, &options)) return kCannot;
    what = fmt::format("{} worlds", options.last - options.first + 1);
  }
  core::Policy policy;
  if (!flags.policy.empty()) {
    auto loaded = policy::LoadPolicy(flags.policy);
    if (!loaded.ok()) return Fail(std::string(loaded.status().message()));
    policy = *std::move(loaded);
    if (policy.rules.empty()) return Fail(flags.policy + " has no rules: memgov only observes under it");
  }

  std::vector<std::pair<std::string, core::Policy>> policies;
  if (recording && !flags.policy.empty()) {
    what += ReachOf(policy, recording->world);
    policies.emplace_back("policy", policy);
  } else {
    for (const core::Rule& rule : policy.rules)
      policies.emplace_back("rule " + rule.name, Everywhere(rule, policy.node));
  }

  const Trial defaults = Try(options, "memgov's defaults", recording.has_value());
  std::vector<Row> rows = {RowOf("nothing", defaults, sim::Arm::kNothing),
                           RowOf("defaults", defaults, sim::Arm::kMemgov)};
  std::size_t broken = defaults.campaign.broken.size();
  for (const auto& [name, each] : policies) {
    options.run.policy = each;
    const Trial trial = Try(options, name, recording.has_value());
    rows.push_back(RowOf(name, trial, sim::Arm::kMemgov));
    broken += trial.campaign.broken.size();
  }
  rows.push_back(RowOf("oracle", defaults, sim::Arm::kOracle));
  if (flags.json) {
    PrintJson(rows, defaults.campaign.worlds, broken, recording);
  } else {
    Print(rows, what);
  }
  return broken == 0 ? kYes : kNo;
}

}  // namespace

void AddSimulate(CLI::App* app, int* exit_code) {
  CLI::App* simulate = app->add_subcommand("simulate", "try the rules of a policy in simulated nodes");
  simulate->footer(kFooter);
  const auto flags = std::make_shared<Flags>();
  simulate->add_option("--policy", flags->policy, "a policy file or directory, each rule of which is tried")
      ->type_name("PATH");
  simulate->add_option("--worlds", flags->worlds, "which worlds, FIRST:LAST")
      ->type_name("RANGE")
      ->capture_default_str();
  simulate
      ->add_option("--journal", flags->journal,
                   "the node that this journal recorded, instead of drawn worlds")
      ->type_name("DIR")
      ->excludes("--worlds");
  simulate->add_flag("--json", flags->json, "one JSON object");
  simulate->callback([flags, exit_code] { *exit_code = Simulate(*flags); });
}

}  // namespace memgov::ctl
