#include "governor/sim/machine.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace memgov::sim {
namespace {

using core::CgroupId;
using core::kNodeId;

constexpr double kLeastSlope = 1024;   // bytes per second; slower than that nothing is reached
constexpr double kHover = 16 * kPage;  // usage that memory.high holds
constexpr double kStartsWithin = 10;   // seconds
constexpr Range kAttachDelay{0.05, 0.5};
constexpr double kHorizon = 3600;  // seconds

Bytes Pages(double bytes) { return static_cast<Bytes>(std::max(bytes, 0.0) / kPage) * Bytes{4096}; }

}  // namespace

Machine::Machine(const Scenario& scenario, Governor& governor, Trace trace)
    : scenario_(scenario),
      governor_(governor),
      trace_(std::move(trace)),
      random_(scenario.seed ^ 0x5A5A5A5AULL),
      end_(Zero() + Seconds(scenario.seconds)) {
  Build();
}

void Machine::Build() {
  cgroups_.resize(scenario_.cgroups.size() + 1);
  cgroups_[0] = {.path = "/", .limit = scenario_.node_total - scenario_.node_base, .at = now_};
  for (std::size_t i = 0; i < scenario_.cgroups.size(); ++i) {
    const CgroupPlan& plan = scenario_.cgroups[i];
    Cgroup& cgroup = cgroups_[i + 1];
    cgroup.path = plan.path;
    cgroup.parent = CgroupId(static_cast<std::uint32_t>(plan.parent + 1));
    if (plan.limit) cgroup.limit = static_cast<double>(*plan.limit);
    cgroup.at = now_;
  }
  const int count = static_cast<int>(scenario_.services.size());
  versions_.resize(scenario_.services.size());
  clients_.resize(scenario_.services.size());
  for (int i = 0; i < count; ++i) {
    processes_.emplace_back(&scenario_.services[At(i)]);
    clients_[At(i)].service = i;
    Upwards(CgroupOf(i), [&](CgroupId id) { Group(id).services.push_back(i); });
  }
}

void Machine::Run() {
  governor_.Start(*this);
  for (int i = 0; i < services(); ++i) {
    if (!scenario_.starts_full) {
      Put(now_ + Seconds(random_.Between(0, kStartsWithin)), What::kRestart, i);
      continue;
    }
    Alter(i, [this](Process& process) { process.Begin(now_); });
    AttachSoon(i);
  }
  for (std::size_t i = 0; i < scenario_.faults.size(); ++i) {
    Put(now_ + Seconds(scenario_.faults[i].at), What::kFault, static_cast<int>(i));
  }
  for (;;) {
    Instant next = queue_.empty() ? end_ : queue_.top().at;
    if (const auto due = governor_.Due()) {
      const Instant at = std::max({*due, governor_sleeps_until_, now_});
      if (at < next) {
        if (at >= end_) break;
        now_ = at;
        governor_.Run(now_);
        continue;
      }
    }
    if (next >= end_) break;
    const Event event = queue_.top();
    queue_.pop();
    now_ = std::max(now_, event.at);
    Handle(event);
  }
  now_ = end_;
  for (Process& process : processes_) {
    process.Settle(now_);
    tally_.work += process.work();
  }
}

void Machine::Put(Instant at, What what, int index, std::uint64_t version) {
  if (at >= end_) return;
  queue_.push({.at = at, .order = next_order_++, .what = what, .index = index, .version = version});
}

void Machine::Handle(const Event& event) {
  const CgroupId id{static_cast<std::uint32_t>(event.index)};
  switch (event.what) {
    case What::kService:
      if (event.version == versions_[At(event.index)]) Redraw(event.index);
      break;
    case What::kCrossing:
      if (event.version == Group(id).version) OnCrossing(id);
      break;
    case What::kSqueeze:
      if (Group(id).episode != event.version) break;
      if (Group(id).stalled) {
        StepStall(id);
      } else if (Group(id).braking) {
        StepBrake(id);
      }
      break;
    case What::kResume:
      if (!Group(id).resuming || Group(id).episode != event.version) break;
      Group(id).resuming = false;
      Group(id).growth_speed = 1;
      RedrawBelow(id);
      break;
    case What::kAlarm:
      if (Group(id).alive) governor_.OnAlarm(id);
      break;
    case What::kArrival:
      OnArrival(event.index);
      break;
    case What::kJob:
      StepJob(event.index);
      break;
    case What::kReport:
      if (clients_[At(event.index)].life == event.version) Report(event.index);
      break;
    case What::kAttach:
      if (clients_[At(event.index)].life == event.version) Attach(event.index);
      break;
    case What::kRestart:
      if (!Group(CgroupOf(event.index)).alive) break;
      Say("start " + scenario_.services[At(event.index)].name);
      Alter(event.index, [this](Process& process) { process.Restart(now_); });
      AttachSoon(event.index);
      break;
    case What::kReclaim:
      FinishReclaim(event.index);
      break;
    case What::kFault:
      OnFault(scenario_.faults[At(event.index)]);
      break;
  }
}

void Machine::AttachSoon(int service) {
  if (scenario_.services[At(service)].manner == Manner::kNone) return;
  Put(now_ + Seconds(Delay(kAttachDelay)), What::kAttach, service, clients_[At(service)].life);
}

void Machine::Redraw(int service) {
  Alter(service, [](Process&) {});
}

Process& Machine::Settled(int service) {
  processes_[At(service)].Settle(now_);
  return processes_[At(service)];
}

void Machine::RedrawBelow(CgroupId id) {
  for (const int service : Group(id).services) Redraw(service);
}

void Machine::SettleGroup(Cgroup& cgroup) const {
  const double seconds = SecondsOf(now_ - cgroup.at);
  cgroup.at = now_;
  cgroup.usage = std::max(cgroup.usage + cgroup.slope * seconds, 0.0);
}

void Machine::Charge(CgroupId home, double bytes, double slope) {
  Upwards(home, [&](CgroupId id) {
    Cgroup& cgroup = Group(id);
    SettleGroup(cgroup);
    cgroup.usage += bytes;
    cgroup.slope += slope;
    AwaitCrossing(id);
  });
}

// When usage reaches the next threshold above it: the wire, memory.high or the limit.
void Machine::AwaitCrossing(CgroupId id) {
  Cgroup& cgroup = Group(id);
  ++cgroup.version;
  if (cgroup.wire && cgroup.usage < *cgroup.wire) cgroup.wire_is_above = false;
  const double tight = cgroup.limit ? kTight * *cgroup.limit : 0;
  if (cgroup.usage < tight) cgroup.tight_since.reset();
  const bool below_high = !cgroup.high || cgroup.usage < *cgroup.high - kHover;
  if (cgroup.braking && below_high) EndBraking(id, kResumeAfterRelease);
  double next = -1;
  const auto consider = [&](double threshold) {
    const double gap = threshold - cgroup.usage;
    if (next < 0 || gap < next) next = std::max(gap, 0.0);
  };
  if (cgroup.limit && !cgroup.tight_since) consider(tight);
  if (cgroup.limit) consider(*cgroup.limit);
  if (cgroup.high && !cgroup.braking) consider(*cgroup.high);
  if (cgroup.wire && !cgroup.wire_is_above) consider(*cgroup.wire);
  if (next < 0 || cgroup.slope < kLeastSlope) {
    // What came at once, as a lower limit or a restart, is seen at once.
    const bool over = cgroup.limit && cgroup.usage > *cgroup.limit + kPage;
    if (over) Put(now_, What::kCrossing, IndexOf(id), cgroup.version);
    return;
  }
  const double seconds = next / cgroup.slope;
  if (seconds > kHorizon) return;
  Put(now_ + Seconds(seconds) + Duration(1), What::kCrossing, IndexOf(id), cgroup.version);
}

core::CgroupAppeared Machine::Describe(CgroupId id) const {
  const Cgroup& cgroup = cgroups_[static_cast<std::size_t>(id)];
  return {.id = id,
          .parent = cgroup.parent,
          .path = cgroup.path,
          .has_brake = scenario_.v2,
          .kills_of_subtree = scenario_.v2,
          .names = id == kNodeId ? core::WorkloadNames{}
                                 : scenario_.cgroups[static_cast<std::size_t>(id) - 1].names};
}

core::CgroupSample Machine::Read(CgroupId id, bool with_stat) {
  Cgroup& cgroup = Group(id);
  SettleGroup(cgroup);
  core::CgroupSample sample{.id = id, .taken_at = now_, .usage = Pages(cgroup.usage)};
  sample.swap_left = 0;
  sample.oom_kills = cgroup.oom_kills;
  if (cgroup.limit) sample.limit = static_cast<Bytes>(*cgroup.limit);
  if (cgroup.high) sample.memory_high = static_cast<Bytes>(*cgroup.high);
  const bool is_node = id == kNodeId;
  if (!is_node && !(with_stat && scenario_.has_stat)) return sample;
  double anon = 0, lazy = 0, file = 0, needed = 0;
  for (const int service : cgroup.services) {
    const Process& process = Settled(service);
    anon += process.anon();
    lazy += process.lazy();
    file += process.file();
    needed += process.needed();
  }
  if (is_node) {
    // MemTotal - MemAvailable: what the kernel can take back is available.
    sample.limit = static_cast<Bytes>(scenario_.node_total);
    sample.usage = Pages(scenario_.node_base + cgroup.usage - file - lazy);
    return sample;
  }
  core::MemoryStat stat{.anon = Pages(anon), .file = Pages(file + needed)};
  stat.active_anon = Pages(anon - lazy);
  stat.inactive_file = Pages(file) + stat.anon - stat.active_anon;
  stat.active_file = stat.file - Pages(file);
  SetPressure(cgroup, cgroup.full_rate, cgroup.refault_rate);
  stat.pgmajfault = static_cast<std::uint64_t>(cgroup.refaults);
  stat.workingset_refault_file = stat.pgmajfault;
  sample.stat = stat;
  if (scenario_.has_psi) {
    sample.pressure = {.some_us = static_cast<std::uint64_t>(cgroup.full_us),
                       .full_us = static_cast<std::uint64_t>(cgroup.full_us)};
  }
  return sample;
}

}  // namespace memgov::sim
