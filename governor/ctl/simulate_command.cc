// memgovctl simulate: the rules of a policy in many simulated nodes, before they govern a real one.

#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "governor/ctl/command.h"
#include "governor/policy/loader.h"
#include "governor/sim/campaign.h"

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

Equal worlds and rules give equal figures, on every machine. An invariant that is broken is a bug of memgov: it is
printed, with its world.

Exit codes: 0 simulated, 1 an invariant was broken, 2 bad flags or a bad policy.

Examples:
  memgovctl simulate
  memgovctl simulate --policy policy.yaml --worlds 1:1000
  memgovctl simulate --policy policy.yaml --json
)";

constexpr std::uint64_t kMostWorlds = 100'000;

struct Flags {
  std::string policy;
  std::string worlds = "1:200";
  bool json = false;
};

struct Row {
  std::string name;
  std::size_t kills = 0;
  double missed_percent = 0;
  double work_percent = 0;
  int requests = 0;
  int collections = 0;
};

Row RowOf(std::string name, const sim::CampaignResult& result, sim::Arm arm) {
  const sim::ArmSums& sums = result.sums.at(arm);
  return {.name = std::move(name),
          .kills = sums.kills,
          .missed_percent = result.MissedPercent(arm),
          .work_percent = result.WorkOfOraclePercent(arm),
          .requests = sums.requests,
          .collections = sums.collections};
}

// The rule as if it matched every cgroup.
core::Policy Everywhere(core::Rule rule, const core::NodePolicy& node) {
  rule.cgroup = "/**";
  rule.names = {};
  rule.mode = core::Mode::kEnforce;
  return {.rules = {std::move(rule)}, .node = node};
}

void Print(const std::vector<Row>& rows, std::uint64_t worlds) {
  std::cout << Bold(fmt::format("{:<24} {:>7} {:>9} {:>8} {:>9} {:>12}", "", "kills", "missed", "work",
                                "requests", "collections"))
            << "\n";
  for (const Row& row : rows) {
    std::cout << fmt::format("{:<24} {:>7} {:>7.1f} % {:>6.1f} % {:>9} {:>12}\n", row.name, row.kills,
                             row.missed_percent, row.work_percent, row.requests, row.collections);
  }
  std::cout << fmt::format("{} worlds; missed: of those without a governor\n", worlds);
}

void PrintJson(const std::vector<Row>& rows, std::uint64_t worlds, const std::vector<std::string>& broken) {
  std::string list;
  for (const Row& row : rows) {
    list += fmt::format(
        "{}{{\"name\": \"{}\", \"kills\": {}, \"missed_percent\": {:.3f}, \"work_of_oracle_percent\": "
        "{:.3f}, "
        "\"requests\": {}, \"collections\": {}}}",
        list.empty() ? "" : ", ", row.name, row.kills, row.missed_percent, row.work_percent, row.requests,
        row.collections);
  }
  std::cout << fmt::format("{{\"worlds\": {}, \"invariants_broken\": {}, \"arms\": [{}]}}\n", worlds,
                           broken.size(), list);
}

int Simulate(const Flags& flags) {
  sim::CampaignOptions options{.arms = {sim::Arm::kNothing, sim::Arm::kMemgov, sim::Arm::kOracle},
                               .run = {.check = true}};
  const std::vector<std::string> ends = absl::StrSplit(flags.worlds, ':');
  if (ends.size() != 2 || !absl::SimpleAtoi(ends[0], &options.first) ||
      !absl::SimpleAtoi(ends[1], &options.last) || options.first > options.last ||
      options.last - options.first >= kMostWorlds) {
    return Fail(fmt::format("--worlds: '{}' is not FIRST:LAST, such as 1:200 (at most {} worlds)",
                            flags.worlds, kMostWorlds));
  }
  core::Policy policy;
  if (!flags.policy.empty()) {
    auto loaded = policy::LoadPolicy(flags.policy);
    if (!loaded.ok()) return Fail(std::string(loaded.status().message()));
    policy = *std::move(loaded);
    if (policy.rules.empty()) return Fail(flags.policy + " has no rules: memgov only observes under it");
  }

  const bool progress = ::isatty(STDERR_FILENO) == 1;
  std::vector<Row> rows;
  std::vector<std::string> broken;
  const auto run = [&](const std::string& name) {
    if (progress) std::cerr << fmt::format("simulating {} ...\n", name);
    sim::CampaignResult result = sim::RunCampaign(options);
    broken.insert(broken.end(), result.broken.begin(), result.broken.end());
    return result;
  };
  const sim::CampaignResult defaults = run("memgov's defaults");
  rows.push_back(RowOf("nothing", defaults, sim::Arm::kNothing));
  rows.push_back(RowOf("defaults", defaults, sim::Arm::kMemgov));
  for (const core::Rule& rule : policy.rules) {
    options.run.policy = Everywhere(rule, policy.node);
    rows.push_back(RowOf("rule " + rule.name, run("rule " + rule.name), sim::Arm::kMemgov));
  }
  rows.push_back(RowOf("oracle", defaults, sim::Arm::kOracle));
  for (const std::string& line : broken) std::cerr << line << "\n";
  if (flags.json) {
    PrintJson(rows, defaults.worlds, broken);
  } else {
    Print(rows, defaults.worlds);
  }
  return broken.empty() ? kYes : kNo;
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
  simulate->add_flag("--json", flags->json, "one JSON object");
  simulate->callback([flags, exit_code] { *exit_code = Simulate(*flags); });
}

}  // namespace memgov::ctl
