// The kernel's half of the machine: what happens at limits and at memory.high.

#include <algorithm>

#include "absl/strings/str_format.h"
#include "governor/sim/machine.h"

namespace memgov::sim {
namespace {

using core::CgroupId;
using core::kNodeId;

// Reclaim goes in batches, so that a grower at a limit full of cache is not an event for every page.
constexpr double kBatchSeconds = 0.02;
constexpr double kLeastBatch = 2 * kMiBf;
constexpr double kMostBatch = 64 * kMiBf;
// A brake's first step, above which its law holds.
constexpr double kFirstOver = 0.25;  // MiB
constexpr double kBrakeStepLeast = 0.005, kBrakeStepMost = 0.25;
constexpr double kStallStep = 0.1;
// With less of them left a stall ends in a kill.
constexpr double kNeededWorthTaking = 0.02;  // of what is needed
constexpr double kRecovered = 0.9;

}  // namespace

void Machine::OnCrossing(CgroupId id) {
  Cgroup& cgroup = Group(id);
  if (!cgroup.alive) return;
  SettleGroup(cgroup);
  const auto reached = [&](double threshold) { return cgroup.usage >= threshold - kPage; };
  if (cgroup.limit && !cgroup.tight_since && reached(kTight * *cgroup.limit)) cgroup.tight_since = now_;
  if (cgroup.wire && !cgroup.wire_is_above && reached(*cgroup.wire)) {
    cgroup.wire_is_above = true;
    Alarm(id, kWireDelay);
  }
  if (cgroup.limit && reached(*cgroup.limit)) return AtLimit(id);
  if (cgroup.high && !cgroup.braking && reached(*cgroup.high)) return BeginBraking(id);
  AwaitCrossing(id);
}

void Machine::Alarm(CgroupId id, const Range& delay) {
  Put(now_ + Seconds(Delay(delay)), What::kAlarm, IndexOf(id));
}

// Page cache that nobody needs goes first, then what is freed lazily: the order of the inactive file list.
double Machine::TakeBack(CgroupId id, double bytes) {
  double taken = 0;
  for (const bool lazily : {false, true}) {
    for (const int service : Group(id).services) {
      if (taken >= bytes) return taken;
      const Process& settled = Settled(service);
      if ((lazily ? settled.lazy() : settled.file()) < kPage) continue;
      Alter(service, [&](Process& process) {
        const double share = lazily ? process.TakeLazy(bytes - taken) : process.TakeFile(bytes - taken);
        if (lazily) process.Lose(share / kGiBf * kReclaimPerGiB);
        taken += share;
      });
    }
  }
  return taken;
}

void Machine::AtLimit(CgroupId id) {
  Cgroup& cgroup = Group(id);
  const double over = std::max(cgroup.usage - *cgroup.limit, 0.0);
  const double batch = over + std::clamp(cgroup.slope * kBatchSeconds, kLeastBatch, kMostBatch);
  if (TakeBack(id, batch) > 0) return AwaitCrossing(id);
  if (governor_.BeforeKill(id, batch) > 0) return AwaitCrossing(id);
  double needed = 0, wanted = 0;
  for (const int service : cgroup.services) {
    const Process& process = Settled(service);
    needed += process.needed();
    wanted += process.needed() + process.needed_missing();
  }
  if (needed > std::max(wanted * kNeededWorthTaking, kMiBf)) {
    if (!cgroup.stalled) BeginStall(id);
    double left = std::min(over + kMiBf, needed);
    for (const int service : cgroup.services) {
      if (left <= 0) break;
      if (Settled(service).needed() < kPage) continue;
      Alter(service, [&](Process& process) { left -= process.TakeNeeded(left); });
    }
    return AwaitCrossing(id);
  }
  KillIn(id, batch);
}

void Machine::SetPressure(Cgroup& cgroup, double full_rate, double refault_rate) {
  const double seconds = SecondsOf(now_ - cgroup.squeezed_at);
  if (cgroup.squeezed_at != Instant{}) {
    cgroup.full_us += cgroup.full_rate * seconds * 1e6;
    cgroup.refaults += cgroup.refault_rate * seconds;
  }
  cgroup.squeezed_at = now_;
  cgroup.full_rate = full_rate;
  cgroup.refault_rate = refault_rate;
}

void Machine::BeginStall(CgroupId id) {
  Cgroup& cgroup = Group(id);
  cgroup.stalled = true;
  SetPressure(cgroup, kStallPressure, kStallRefaults);
  Say("stall " + cgroup.path);
  if (cgroup.pressure_alarm) Alarm(id, kPressureDelay);
  RedrawBelow(id);
  Put(now_ + Seconds(kStallStep), What::kSqueeze, IndexOf(id), ++cgroup.episode);
}

// Room that came back is filled with the pages that were missing, and then the stall is over.
void Machine::StepStall(CgroupId id) {
  Cgroup& cgroup = Group(id);
  SettleGroup(cgroup);
  tally_.stalled += kStallStep;
  double room = cgroup.limit ? *cgroup.limit - cgroup.usage - kMiBf : kRefillPerSecond;
  room = std::min(room, kRefillPerSecond * kStallStep);
  double missing = 0, wanted = 0;
  for (const int service : cgroup.services) {
    double gap = Settled(service).needed_missing();
    if (gap > kPage && room > 0) {
      const double share = std::min(gap, room);
      Alter(service, [&](Process& process) { process.Refill(share); });
      room -= share;
      gap -= share;
    }
    missing += gap;
    wanted += processes_[At(service)].needed() + gap;
  }
  if (missing <= wanted * (1 - kRecovered) && room > 0) {
    cgroup.stalled = false;
    SetPressure(cgroup, 0, 0);
    Say("flows again " + cgroup.path);
    RedrawBelow(id);
    if (cgroup.braking) StepBrake(id);
    if (cgroup.resuming) Put(now_, What::kResume, IndexOf(id), ++cgroup.episode);
    return;
  }
  Put(now_ + Seconds(kStallStep), What::kSqueeze, IndexOf(id), ++cgroup.episode);
}

void Machine::BeginBraking(CgroupId id) {
  Cgroup& cgroup = Group(id);
  Alarm(id, kHighDelay);
  const double batch = std::clamp(cgroup.slope * kBatchSeconds, kLeastBatch, kMostBatch);
  // Memory that can be taken back is taken first; a domain that has some is not slowed.
  if (TakeBack(id, batch) > 0) return AwaitCrossing(id);
  cgroup.braking = true;
  cgroup.resuming = false;
  Say("brake " + cgroup.path);
  if (!cgroup.stalled) StepBrake(id);
}

void Machine::StepBrake(CgroupId id) {
  Cgroup& cgroup = Group(id);
  SettleGroup(cgroup);
  const double over = std::max((cgroup.usage - *cgroup.high) / kMiBf, kFirstOver);
  const double high = *cgroup.high / kMiBf;
  double wanted = 0;
  int growers = 0;
  for (const int service : cgroup.services) {
    const double slope = Settled(service).wanted_slope();
    if (slope <= 0) continue;
    wanted += slope;
    ++growers;
  }
  const double most = growers * high * high / (kBrakeLaw * over * over) * kMiBf;
  const double speed = wanted > most ? most / wanted : 1;
  const double step =
      std::clamp(0.1 * over * kMiBf / std::max(std::min(most, wanted), 1.0), kBrakeStepLeast, kBrakeStepMost);
  if (speed < 1) tally_.braked += step;
  SetPressure(cgroup, speed < 1 ? 1 - speed : 0, 0);
  cgroup.growth_speed = speed;
  RedrawBelow(id);
  if (cgroup.braking) Put(now_ + Seconds(step), What::kSqueeze, IndexOf(id), ++cgroup.episode);
}

// Who sleeps in the kernel's penalty sleeps it out.
void Machine::EndBraking(CgroupId id, const Range& delay) {
  Cgroup& cgroup = Group(id);
  cgroup.braking = false;
  cgroup.resuming = true;
  if (!cgroup.stalled) SetPressure(cgroup, 0, 0);
  Say("brake off " + cgroup.path);
  if (cgroup.stalled) return;  // when it is over
  Put(now_ + Seconds(Delay(delay)), What::kResume, IndexOf(id), ++cgroup.episode);
}

void Machine::SetWire(const core::SetWire& wire) {
  Cgroup& cgroup = Group(wire.cgroup);
  if (!cgroup.alive) return;
  SettleGroup(cgroup);
  if (wire.brake) {
    if (cgroup.braking) EndBraking(wire.cgroup, kResumeAfterRaise);
    cgroup.high.reset();
    if (wire.at) cgroup.high = static_cast<double>(*wire.at);
    // inotify tells of the write, whose ever it is.
    Alarm(wire.cgroup, kKnobDelay);
  } else {
    cgroup.wire.reset();
    if (wire.at) cgroup.wire = static_cast<double>(*wire.at) + random_.Between(0, kWireGranularity);
    cgroup.wire_is_above = cgroup.wire && cgroup.usage >= *cgroup.wire;
  }
  AwaitCrossing(wire.cgroup);
}

void Machine::SetPressureAlarm(const core::SetPressureAlarm& alarm) {
  Cgroup& cgroup = Group(alarm.cgroup);
  cgroup.pressure_alarm = alarm.on;
  if (alarm.on && cgroup.stalled) Alarm(alarm.cgroup, kPressureDelay);
}

void Machine::KillIn(CgroupId domain, double lacking) {
  int victim = -1;
  for (const int service : Group(domain).services) {
    const Process& process = Settled(service);
    if (!process.running()) continue;
    if (victim < 0 || process.usage() > processes_[At(victim)].usage()) victim = service;
  }
  if (victim < 0) return;
  const CgroupId home = CgroupOf(victim);
  const std::string& name = scenario_.services[At(victim)].name;
  Kill kill{
      .at = now_, .service = victim, .domain = domain, .lacking = lacking, .growth = Group(domain).slope};
  for (const int service : Group(domain).services) {
    if (Answers(service)) kill.spare += processes_[At(service)].Spare();
  }
  if (Group(domain).tight_since) kill.noticed = now_ - *Group(domain).tight_since;
  tally_.kills.push_back(kill);
  if (tracing()) {
    Say(absl::StrFormat(
        "KILL %s (%.0f MiB) at the limit of %s, growing %.0f MiB/s, %.0f MiB could have been given", name,
        processes_[At(victim)].usage() / kMiBf, Group(domain).path, kill.growth / kMiBf, kill.spare / kMiBf));
  }
  if (scenario_.v2) {
    Upwards(home, [&](CgroupId id) { Group(id).oom_kills += id != kNodeId ? 1 : 0; });
  } else {
    ++Group(home).oom_kills;
  }
  Alter(victim, [this](Process& process) { process.Die(now_); });
  Detach(victim);
  Put(now_ + kRestart, What::kRestart, victim);
  governor_.OnKill({.at = now_,
                    .pid = victim + 1000,
                    .name = name,
                    .domain = Group(domain).path,
                    .cgroup = Group(home).path});
}

void Machine::SetLimit(CgroupId id, std::optional<double> limit) {
  Cgroup& cgroup = Group(id);
  if (!cgroup.alive) return;
  SettleGroup(cgroup);
  if (!scenario_.v2 && limit && cgroup.usage > *limit) {
    // v1 takes back what it can and then refuses.
    TakeBack(id, cgroup.usage - *limit);
    SettleGroup(cgroup);
    if (cgroup.usage > *limit) return;
  }
  cgroup.limit = limit;
  governor_.OnLimitChanged(id);
  AwaitCrossing(id);
}

void Machine::Remove(CgroupId id) {
  Cgroup& cgroup = Group(id);
  if (!cgroup.alive) return;
  for (const int service : cgroup.services) {
    Alter(service, [this](Process& process) { process.Die(now_); });
    Detach(service);
  }
  cgroup.alive = false;
  Say("removed " + cgroup.path);
  governor_.OnVanished(id);
}

void Machine::OnFault(const Fault& fault) {
  const CgroupId id{static_cast<std::uint32_t>(fault.target + 1)};
  switch (fault.kind) {
    case Fault::Kind::kSetLimit:
      if (tracing()) Say(absl::StrFormat("limit of %s: %.0f MiB", Group(id).path, fault.bytes / kMiBf));
      SetLimit(id, fault.bytes);
      break;
    case Fault::Kind::kRemove:
      Remove(id);
      break;
    case Fault::Kind::kLate:
      governor_sleeps_until_ = std::max(governor_sleeps_until_, now_ + Seconds(fault.seconds));
      break;
    case Fault::Kind::kReconnect:
      if (!clients_[At(fault.target)].attached) break;
      Detach(fault.target);
      Put(now_ + Seconds(1), What::kAttach, fault.target, clients_[At(fault.target)].life);
      break;
  }
}

}  // namespace memgov::sim
