#include "governor/core/oom_kills.h"

#include <algorithm>
#include <utility>

namespace memgov::core {
namespace {

// Names that wait for a counter. More are forgotten, the oldest first: their kills are still counted.
constexpr std::size_t kMostUnplaced = 256;

// "/a/b" -> "/a", "/a" -> "".
std::string_view Above(std::string_view path) { return path.substr(0, path.rfind('/')); }

}  // namespace

void OomKills::Add(Instant now, const std::string& path, std::int64_t kills) {
  Tally& tally = tallies_[path];
  const std::int64_t before = tally.open;
  tally.open += kills;
  if ((tally.open > 0) != (before > 0) || before == 0) tally.since = now;
  if (tally.open == 0) tallies_.erase(path);
}

void OomKills::Count(Instant now, const std::string& path, std::uint64_t kills) {
  Add(now, path, static_cast<std::int64_t>(kills));
}

void OomKills::Explain(Instant now, const std::string& cgroup, std::uint64_t kills) {
  Add(now, cgroup, -static_cast<std::int64_t>(kills));
  ExplainAbove(now, cgroup, kills);
}

void OomKills::ExplainAbove(Instant now, std::string_view cgroup, std::uint64_t kills) {
  if (!hierarchical_) return;
  for (std::string_view at = Above(cgroup); !at.empty(); at = Above(at)) {
    Add(now, std::string(at), -static_cast<std::int64_t>(kills));
  }
}

void OomKills::Record(KilledProcess victim) {
  if (victim.cgroup.empty()) {
    unplaced_.push_back(std::move(victim));
    if (unplaced_.size() > kMostUnplaced) unplaced_.pop_front();
    return;
  }
  Explain(victim.at, victim.cgroup, 1);
  if (victim.or_below) {
    Roaming& roaming = roaming_[victim.cgroup];
    ++roaming.kills;
    roaming.since = victim.at;
  }
  KillReport report{.domain = victim.domain, .cgroup = victim.cgroup};
  report.victim = std::move(victim);
  ready_.push_back(std::move(report));
}

// What was never counted (its cgroup is gone) must not hide a later kill.
void OomKills::Forget(Instant now) {
  std::erase_if(tallies_, [now](const auto& entry) {
    return entry.second.open < 0 && now - entry.second.since >= kExplained;
  });
  std::erase_if(roaming_, [now](const auto& entry) { return now - entry.second.since >= kExplained; });
}

// A group kill was reported at the group; the counters of the cgroups inside it tell of the same.
void OomKills::SpendRoaming(Instant now) {
  if (roaming_.empty()) return;
  for (const auto& [path, kills] : OwnKills()) {
    std::uint64_t rest = kills;
    for (std::string_view at = Above(path); !at.empty() && rest > 0; at = Above(at)) {
      const auto roaming = roaming_.find(std::string(at));
      if (roaming == roaming_.end()) continue;
      const std::uint64_t spent = std::min(rest, roaming->second.kills);
      roaming->second.kills -= spent;
      rest -= spent;
      // The group and what is above it have been explained with the report.
      for (std::string_view in = path; in != at; in = Above(in)) {
        Add(now, std::string(in), -static_cast<std::int64_t>(spent));
      }
    }
  }
  std::erase_if(roaming_, [](const auto& entry) { return entry.second.kills == 0; });
}

// What each cgroup counted beyond what those below it did.
std::map<std::string, std::uint64_t> OomKills::OwnKills() const {
  std::map<std::string, std::int64_t> below;
  std::map<std::string, std::uint64_t> own;
  // A child's path sorts behind its parent's.
  for (auto it = tallies_.rbegin(); it != tallies_.rend(); ++it) {
    const auto& [path, tally] = *it;
    const auto counted = below.find(path);
    const std::int64_t rest = tally.open - (counted == below.end() ? 0 : counted->second);
    if (rest <= 0) continue;
    own[path] = static_cast<std::uint64_t>(rest);
    if (!hierarchical_) continue;
    for (std::string_view at = Above(path); !at.empty(); at = Above(at)) below[std::string(at)] += rest;
  }
  return own;
}

void OomKills::ReportCounted(Instant now, const std::string& path, std::uint64_t kills, bool alone) {
  Explain(now, path, kills);
  // A nameless count and placeless names are the same kills only where no other could be meant. Otherwise the
  // latest names are given up for the count, so that there are as many reports as kills.
  const bool certain = alone && unplaced_.size() == kills;
  for (std::uint64_t claimed = kills; claimed > 0 && !unplaced_.empty(); --claimed) {
    KilledProcess victim = std::move(unplaced_.back());
    unplaced_.pop_back();
    if (!certain) continue;
    --kills;
    KillReport report{.domain = victim.domain, .cgroup = path};
    report.victim = std::move(victim);
    ready_.push_back(std::move(report));
  }
  if (kills > 0) ready_.push_back({.domain = "", .cgroup = path, .count = kills, .victim = std::nullopt});
}

std::vector<KillReport> OomKills::Take(Instant now) {
  Forget(now);
  SpendRoaming(now);
  const auto own = OwnKills();
  for (const auto& [path, kills] : own) {
    if (now - tallies_.at(path).since >= kGrace) ReportCounted(now, path, kills, own.size() == 1);
  }
  while (!unplaced_.empty() && now - unplaced_.front().at >= kUnclaimed) {
    KilledProcess victim = std::move(unplaced_.front());
    unplaced_.pop_front();
    if (!victim.maybe_elsewhere) ready_.push_back({.domain = "", .cgroup = "", .victim = std::move(victim)});
  }
  return std::exchange(ready_, {});
}

std::optional<Instant> OomKills::NextDue() const {
  std::optional<Instant> next;
  if (!unplaced_.empty()) next = unplaced_.front().at + kUnclaimed;
  for (const auto& [path, kills] : OwnKills()) {
    const Instant due = tallies_.at(path).since + kGrace;
    if (!next || due < *next) next = due;
  }
  return next;
}

}  // namespace memgov::core
