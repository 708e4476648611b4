#include "governor/kernel/cgroup_tree.h"

#include <sys/inotify.h>
#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/kernel/cgroup_entry.h"
#include "governor/kernel/cgroup_path.h"

namespace memgov::kernel {
namespace {

using core::CgroupId;
using core::Duration;
using core::Instant;

constexpr Duration kFastest = std::chrono::milliseconds(1);
constexpr Duration kSlowest = std::chrono::seconds(10);
constexpr Duration kSlowestStat = std::chrono::hours(1);
// Above this a stat is read too seldom for its descriptor (and the page of kernel memory behind it) to be
// kept.
constexpr Duration kKeepStatBelow = std::chrono::seconds(2);

// Descriptors that were given back: after this the first of them are taken again, an eighth of all each step.
// Where they run out again within kRegainedFor, the wait doubles.
constexpr Duration kRegainFirst = std::chrono::seconds(5);
constexpr Duration kRegainLast = std::chrono::minutes(5);
constexpr Duration kRegainStep = std::chrono::seconds(1);
constexpr Duration kRegainedFor = std::chrono::minutes(1);
constexpr std::size_t kRegainParts = 8;

// Where in its period a cgroup is read, in (0, 1]: multiples of the golden ratio spread any run of ids
// evenly.
double Phase(CgroupId id) {
  const std::uint32_t turned = static_cast<std::uint32_t>(id) * 2654435769U;
  return (static_cast<double>(turned) + 1) / 4294967296.0;
}

Duration Fraction(Duration period, double fraction) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(period.count()) * fraction));
}

// Cgroups of one cadence share 32 slots a period, so that a thousand calm ones wake the loop 32 times a
// second and not a thousand times. At or before `at`, less than a slot.
Instant InSlot(Instant at, Duration period) {
  const Duration slot = std::max(period / 32, Duration(1));
  return Instant(at.time_since_epoch() / slot * slot);
}

// The first instant of the rhythm `from + k * period` that lies after `now`.
Instant Next(Instant from, Duration period, Instant now) {
  if (from > now) return from;
  return from + ((now - from) / period + 1) * period;
}

}  // namespace

CgroupTree::CgroupTree(CgroupLayout layout, const std::vector<std::string>& roots,
                       TreeTenants::IsTenant is_tenant)
    : layout_(std::move(layout)),
      roots_(IndependentRoots(roots)),
      inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)),
      tenants_(std::move(is_tenant)) {
  // A quarter is left to sockets, alarms and whatever else the process opens.
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0)
    budget_.most = full_budget_ = static_cast<std::size_t>(limit.rlim_cur) / 4 * 3;
}

CgroupTree::~CgroupTree() = default;

CgroupTree::Entry* CgroupTree::Find(CgroupId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second.get();
}

// --- what they hold
// -------------------------------------------------------------------------------------------

bool CgroupTree::Sample(CgroupId id, Instant now, bool with_stat, core::Snapshot* out) {
  Entry* entry = Find(id);
  if (entry == nullptr) return false;
  const bool there = ReadInto(*entry, now, with_stat, false, out);
  BalanceDescriptors(now);
  return there;
}

void CgroupTree::CollectDue(Instant now, core::Snapshot* out) {
  const Instant horizon = now + kCoalesce;
  while (!due_.empty() && due_.begin()->first <= horizon) {
    const auto together = due_.extract(due_.begin());
    // Most often all that is due shares one slot.
    if (out->samples.empty()) out->samples.reserve(together.mapped().size());
    const std::vector<Entry*>& entries = together.mapped();
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i + 1 < entries.size()) entries[i + 1]->Prefetch();
      Entry& entry = *entries[i];
      entry.due.reset();
      CollectOne(entry, now, horizon, out);
      Reschedule(entry);
    }
  }
}

void CgroupTree::CollectOne(Entry& entry, Instant now, Instant horizon, core::Snapshot* out) {
  const bool first = entry.next_usage == Instant();
  const bool with_stat = entry.next_stat <= horizon;
  ReadInto(entry, now, with_stat, entry.AtRest() && !with_stat, out);
  BalanceDescriptors(now);
  if (first) {
    const double phase = Phase(entry.id);
    entry.next_usage = InSlot(horizon + Fraction(entry.usage_every, phase), entry.usage_every);
    entry.next_stat = entry.next_usage + Fraction(entry.stat_every - entry.usage_every, phase);
    return;
  }
  const Duration every = entry.AtRest() ? entry.usage_every * kRestFactor : entry.usage_every;
  entry.next_usage = Next(entry.next_usage, every, horizon);
  const Duration stat_every = entry.AtRest() ? entry.stat_every * kRestFactor : entry.stat_every;
  if (with_stat) entry.next_stat = Next(entry.next_stat, stat_every, horizon);
  // It moves again: what a rest has put off is due.
  if (entry.next_stat > horizon + stat_every) entry.next_stat = entry.next_usage;
}

std::optional<Instant> CgroupTree::NextDue() const {
  if (due_.empty()) return std::nullopt;
  return due_.begin()->first;
}

void CgroupTree::SetCadence(const core::SetCadence& cadence) {
  Entry* entry = Find(cadence.cgroup);
  if (entry == nullptr) return;
  entry->may_rest = cadence.may_rest;
  const Duration usage_every = std::clamp(cadence.usage_every, kFastest, kSlowest);
  const Duration stat_every = std::clamp(cadence.stat_every, usage_every, kSlowestStat);
  if (usage_every == entry->usage_every && stat_every == entry->stat_every) return;
  const bool began = entry->next_usage != Instant();  // otherwise the first reading is still due at once
  if (began && usage_every != entry->usage_every && entry->read_at.has_value()) {
    entry->next_usage = InSlot(*entry->read_at + usage_every, usage_every);
  }
  if (began && stat_every != entry->stat_every && entry->stat_read_at.has_value()) {
    entry->next_stat = *entry->stat_read_at + stat_every;
  }
  entry->usage_every = usage_every;
  entry->stat_every = stat_every;
  Reschedule(*entry);
}

// Moves the entry to its place in due_.
void CgroupTree::Reschedule(Entry& entry) {
  if (!entry.gone && entry.due == entry.next_usage) return;
  Unschedule(entry);
  if (entry.gone) return;
  due_[entry.next_usage].push_back(&entry);
  entry.due = entry.next_usage;
}

void CgroupTree::Unschedule(Entry& entry) {
  if (!entry.due.has_value()) return;
  const auto found = due_.find(*entry.due);
  entry.due.reset();
  if (found == due_.end()) return;
  std::vector<Entry*>& together = found->second;
  together.erase(std::remove(together.begin(), together.end(), &entry), together.end());
  if (together.empty()) due_.erase(found);
}

// `only_news`: a usage that is still the same is not handed over.
bool CgroupTree::ReadInto(Entry& entry, Instant now, bool with_stat, bool only_news, core::Snapshot* out) {
  // Once gone, its path may already name a successor, whose readings are not this one's.
  if (entry.gone) return false;
  const Reading<core::Bytes> usage = entry.files.Usage(entry.path);
  if (usage.gone) {
    entry.gone = true;
    SuspectAt(entry.parent, Instant());
    Reschedule(entry);
    return false;
  }
  entry.read_at = now;
  if (with_stat) entry.stat_read_at = now;
  if (!usage.value.has_value()) return true;
  const bool changed = *usage.value != entry.usage;
  entry.usage = *usage.value;
  entry.repeats = changed ? 0 : entry.repeats + 1;
  if (only_news && !changed) return true;
  ReadSlowParts(entry, now, with_stat, changed);

  core::CgroupSample& sample = SampleOf(entry, out);
  sample.taken_at = now;
  sample.usage = entry.usage;
  sample.limit = entry.limit;
  sample.memory_high = entry.memory_high;
  sample.swap_left = node_has_swap_ ? entry.swap_left : 0;
  sample.oom_kills = entry.oom_kills;
  if (with_stat) {
    const bool keep = entry.stat_every < kKeepStatBelow;
    if (const auto stat = entry.files.Stat(entry.path, keep); stat.value.has_value())
      sample.stat = stat.value;
    if (const auto pressure = entry.files.Pressure(entry.path, keep); pressure.value.has_value()) {
      sample.pressure = pressure.value;
    }
  }
  return true;
}

// When a reading found no descriptor left, others in this process need them more than we need to be quick: a
// quarter of ours is given back, one by one as their turn comes. What ran out comes back: after a while we
// take more again, step by step, and wait for longer where that was too soon.
void CgroupTree::BalanceDescriptors(Instant now) {
  if (std::exchange(budget_.exhausted, false)) {
    readings_lost_ = true;
    const bool soon = now < regain_at_ + kRegainedFor;
    regain_wait_ = soon ? std::min(2 * regain_wait_, kRegainLast) : kRegainFirst;
    regain_at_ = now + regain_wait_;
    budget_.most = std::min(budget_.most, budget_.kept / 4 * 3);
    return;
  }
  if (budget_.most == full_budget_ || now < regain_at_) return;
  budget_.most = std::min(full_budget_, budget_.most + full_budget_ / kRegainParts + 1);
  regain_at_ = now + kRegainStep;
}

// What changes seldom. Where a reading fails, the last known value stands.
void CgroupTree::ReadSlowParts(Entry& entry, Instant now, bool with_stat, bool usage_changed) {
  // Without a watch they are due when the next reading would come too late.
  const bool due = with_stat || !entry.slow_read_at.has_value() ||
                   (entry.polls_knobs && now - *entry.slow_read_at + entry.usage_every > kLimitEvery);
  if (due) {
    entry.slow_read_at = now;
    if (const auto limit = entry.files.OwnLimit(entry.path); limit.value.has_value()) {
      entry.limit = limit.value->Reachable();
    }
    if (const auto high = entry.files.High(entry.path); high.value.has_value()) {
      entry.memory_high = high.value->bytes;
    }
    // Without swap in the machine no allowance matters, and most machines with containers have none.
    if (node_has_swap_) {
      entry.swap_left = entry.files.SwapLeft(
          entry.path, entry.limit ? std::optional(*entry.limit - entry.usage) : std::nullopt);
    }
  }
  if (due || usage_changed) {
    if (const auto kills = entry.files.OomKills(entry.path); kills.value.has_value())
      entry.oom_kills = *kills.value;
  }
}

// Its sample in `out`: an earlier one, whose stat and pressure stand until they are read anew, or a new one.
core::CgroupSample& CgroupTree::SampleOf(Entry& entry, core::Snapshot* out) {
  if (entry.slot < out->samples.size() && out->samples[entry.slot].id == entry.id) {
    return out->samples[entry.slot];
  }
  entry.slot = out->samples.size();
  core::CgroupSample& sample = out->samples.emplace_back();
  sample.id = entry.id;
  return sample;
}

// --- questions
// ------------------------------------------------------------------------------------------------

std::optional<CgroupId> CgroupTree::Innermost(std::string_view path) const {
  std::string above = NormalisedPath(path);
  if (above == "/") {
    if (roots_.size() == 1 && roots_.front() == "/") return core::kNodeId;
    return std::nullopt;
  }
  while (!above.empty()) {
    const auto found = by_path_.find(above);
    if (found != by_path_.end()) return found->second;
    above = ParentPath(above);
  }
  return std::nullopt;
}

std::string CgroupTree::PathOf(CgroupId id) const {
  if (id == core::kNodeId) return "/";
  const Entry* entry = Find(id);
  return entry == nullptr ? std::string() : entry->path;
}

std::vector<std::string> CgroupTree::degraded() const {
  std::vector<std::string> words;
  if (!inotify_)
    words.push_back("inotify is not available: new cgroups are noticed by the periodic scan only");
  if (watches_ran_out_) {
    words.push_back(
        "fs.inotify.max_user_watches is used up: some new cgroups are noticed by the periodic scan only");
  }
  if (cgroups_ran_out_) {
    words.push_back(absl::StrCat("more than ", kMostCgroups, " cgroups: the rest is not governed"));
  }
  if (paths_too_long_) {
    words.push_back("some cgroups are nested too deeply to be opened by path: they are not governed");
  }
  for (std::string& what : tenants_.degraded()) words.push_back(std::move(what));
  if (incomplete_)
    words.push_back("a cgroup directory could not be listed: it is tried again at the next scan");
  if (budget_.most < full_budget_) {
    words.push_back(
        "no file descriptor was left (RLIMIT_NOFILE): fewer files are kept open for a while, and reading "
        "costs "
        "up to five times as much");
  } else if (budget_.ran_out) {
    words.push_back(absl::StrCat(
        "only ", budget_.most, " files can be kept open (RLIMIT_NOFILE): reading costs five times as much"));
  }
  if (readings_lost_) words.push_back("no file descriptor was left (RLIMIT_NOFILE): readings were lost");
  return words;
}

}  // namespace memgov::kernel
