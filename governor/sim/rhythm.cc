#include "governor/sim/rhythm.h"

#include <algorithm>

namespace memgov::sim {
namespace {

using core::CgroupId;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kUsageEvery = seconds(1);
constexpr Duration kStatEvery = seconds(10);
constexpr Duration kCoalesce = milliseconds(1);
constexpr int kRepeats = 4;
constexpr int kRestFactor = 4;

double Phase(CgroupId id) {
  const std::uint32_t turned = static_cast<std::uint32_t>(id) * 2654435769U;
  return (static_cast<double>(turned) + 1) / 4294967296.0;
}

Duration Fraction(Duration period, double fraction) { return Seconds(SecondsOf(period) * fraction); }

Instant InSlot(Instant at, Duration period) {
  const Duration slot = std::max(period / 32, Duration(1));
  return Instant(at.time_since_epoch() / slot * slot);
}

Instant Next(Instant from, Duration period, Instant now) {
  if (from > now) return from;
  return from + ((now - from) / period + 1) * period;
}

}  // namespace

bool Rhythm::Entry::AtRest() const { return may_rest && usage_every >= kUsageEvery && repeats >= kRepeats; }

Rhythm::Entry& Rhythm::EntryOf(CgroupId id) {
  const auto index = static_cast<std::size_t>(id);
  if (entries_.size() <= index) entries_.resize(index + 1);
  return entries_[index];
}

void Rhythm::Add(CgroupId id) {
  EntryOf(id) = {.known = true, .usage_every = kUsageEvery, .stat_every = kStatEvery};
  Reschedule(id);
}

void Rhythm::Forget(CgroupId id) {
  Unschedule(id);
  EntryOf(id).known = false;
}

std::optional<Instant> Rhythm::NextDue() const {
  if (due_.empty()) return std::nullopt;
  return due_.begin()->first;
}

void Rhythm::Reschedule(CgroupId id) {
  Entry& entry = EntryOf(id);
  if (entry.due == entry.next_usage) return;
  Unschedule(id);
  due_[entry.next_usage].push_back(id);
  entry.due = entry.next_usage;
}

void Rhythm::Unschedule(CgroupId id) {
  Entry& entry = EntryOf(id);
  if (!entry.due) return;
  const auto found = due_.find(*entry.due);
  entry.due.reset();
  if (found == due_.end()) return;
  std::erase(found->second, id);
  if (found->second.empty()) due_.erase(found);
}

void Rhythm::Set(const core::SetCadence& cadence) {
  Entry& entry = EntryOf(cadence.cgroup);
  if (!entry.known) return;
  entry.may_rest = cadence.may_rest;
  if (cadence.usage_every == entry.usage_every && cadence.stat_every == entry.stat_every) return;
  const bool began = entry.next_usage != Instant{};
  if (began && cadence.usage_every != entry.usage_every && entry.read_at) {
    entry.next_usage = InSlot(*entry.read_at + cadence.usage_every, cadence.usage_every);
  }
  if (began && cadence.stat_every != entry.stat_every && entry.stat_read_at) {
    entry.next_stat = *entry.stat_read_at + cadence.stat_every;
  }
  entry.usage_every = cadence.usage_every;
  entry.stat_every = cadence.stat_every;
  Reschedule(cadence.cgroup);
}

void Rhythm::CollectDue(Machine& machine, core::Snapshot* out) {
  const Instant horizon = machine.now() + kCoalesce;
  while (!due_.empty() && due_.begin()->first <= horizon) {
    const auto together = due_.extract(due_.begin());
    for (const CgroupId id : together.mapped()) {
      EntryOf(id).due.reset();
      CollectOne(machine, id, horizon, out);
      Reschedule(id);
    }
  }
}

void Rhythm::CollectOne(Machine& machine, CgroupId id, Instant horizon, core::Snapshot* out) {
  Entry& entry = EntryOf(id);
  const bool first = entry.next_usage == Instant{};
  const bool with_stat = entry.next_stat <= horizon;
  Read(machine, id, with_stat, entry.AtRest() && !with_stat, out);
  if (first) {
    const double phase = Phase(id);
    entry.next_usage = InSlot(horizon + Fraction(entry.usage_every, phase), entry.usage_every);
    entry.next_stat = entry.next_usage + Fraction(entry.stat_every - entry.usage_every, phase);
    return;
  }
  const int rest = entry.AtRest() ? kRestFactor : 1;
  entry.next_usage = Next(entry.next_usage, entry.usage_every * rest, horizon);
  if (with_stat) entry.next_stat = Next(entry.next_stat, entry.stat_every * rest, horizon);
  if (entry.next_stat > horizon + entry.stat_every * rest) entry.next_stat = entry.next_usage;
}

void Rhythm::Sample(Machine& machine, CgroupId id, core::Snapshot* out) {
  if (EntryOf(id).known) Read(machine, id, true, false, out);
}

void Rhythm::Read(Machine& machine, CgroupId id, bool with_stat, bool only_news, core::Snapshot* out) {
  Entry& entry = EntryOf(id);
  core::CgroupSample sample = machine.Read(id, with_stat);
  entry.read_at = sample.taken_at;
  if (with_stat) entry.stat_read_at = sample.taken_at;
  const bool changed = sample.usage != entry.usage;
  entry.usage = sample.usage;
  entry.repeats = changed ? 0 : entry.repeats + 1;
  if (only_news && !changed) return;
  // What changes seldom is read with the stat; in between the last known value stands.
  if (with_stat) {
    entry.limit = sample.limit;
    entry.memory_high = sample.memory_high;
  } else {
    sample.limit = entry.limit;
    sample.memory_high = entry.memory_high;
  }
  for (core::CgroupSample& earlier : out->samples) {
    if (earlier.id != id) continue;
    if (!sample.stat) sample.stat = earlier.stat;
    if (!sample.pressure) sample.pressure = earlier.pressure;
    earlier = sample;
    return;
  }
  out->samples.push_back(sample);
}

}  // namespace memgov::sim
