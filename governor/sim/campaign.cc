#include "governor/sim/campaign.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace memgov::sim {
namespace {

double Percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

void Add(const RunResult& result, std::size_t unsavable, ArmSums* sums) {
  const Tally& tally = result.tally;
  sums->kills += tally.kills.size();
  sums->beyond_oracle += tally.kills.size() - std::min(tally.kills.size(), unsavable);
  sums->missed += MissedKills(tally.kills, unsavable);
  sums->work += tally.work;
  sums->asked += tally.asked;
  sums->returned += tally.returned;
  sums->requests += tally.requests;
  sums->collections += tally.collections;
  sums->stalled += tally.stalled;
}

const ArmSums& SumsOf(const CampaignResult& result, Arm arm) {
  static const ArmSums kNone;
  const auto it = result.sums.find(arm);
  return it == result.sums.end() ? kNone : it->second;
}

}  // namespace

std::size_t MissedKills(const std::vector<Kill>& kills, std::size_t unsavable) {
  const auto savable = static_cast<std::size_t>(
      std::count_if(kills.begin(), kills.end(), [](const Kill& kill) { return kill.spare >= kill.lacking; }));
  return std::min(kills.size() - std::min(kills.size(), unsavable), savable);
}

double CampaignResult::MissedPercent(Arm arm) const {
  return Percent(static_cast<double>(SumsOf(*this, arm).missed),
                 static_cast<double>(SumsOf(*this, Arm::kNothing).missed));
}

double CampaignResult::WorkOfOraclePercent(Arm arm) const {
  return Percent(SumsOf(*this, arm).work, SumsOf(*this, Arm::kOracle).work);
}

double CampaignResult::AskedPerNeeded(Arm arm) const {
  const double needed = SumsOf(*this, Arm::kOracle).asked;
  return needed > 0 ? SumsOf(*this, arm).asked / needed : 0;
}

CampaignResult RunCampaign(const CampaignOptions& options) {
  CampaignResult campaign;
  for (std::uint64_t seed = options.first; seed <= options.last; ++seed) {
    const Scenario scenario = options.world(seed);
    std::map<Arm, RunResult> results;
    for (const Arm arm : options.arms) results[arm] = RunScenario(scenario, arm, options.run);
    const auto oracle = results.find(Arm::kOracle);
    const std::size_t unsavable = oracle == results.end() ? 0 : oracle->second.tally.kills.size();
    for (const auto& [arm, result] : results) {
      Add(result, unsavable, &campaign.sums[arm]);
      campaign.ticks += result.ticks;
      campaign.digest = campaign.digest * 31 + result.digest;
      for (const std::string& broken : result.broken) campaign.broken.push_back({seed, broken});
    }
    ++campaign.worlds;
    if (options.on_world) options.on_world(scenario, results);
  }
  return campaign;
}

}  // namespace memgov::sim
