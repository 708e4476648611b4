#include "governor/sim/baselines.h"

#include <algorithm>
#include <tuple>

namespace memgov::sim {
namespace {

using core::CgroupId;
using core::kNodeId;

constexpr double kGoShare = 0.9;
constexpr auto kPollEvery = std::chrono::seconds(1);
constexpr double kThresholdStep = 0.02;
constexpr double kTop = 0.98;
constexpr double kLeastLow = 0.5;
constexpr double kGap = 0.1;  // between low and high
constexpr double kAssumedYield = 0.3;
constexpr double kGoDuty = 0.1, kOtherDuty = 0.25;

std::size_t At(CgroupId id) { return static_cast<std::size_t>(id); }

double MeanNeed(const Machine& machine, const Machine::Cgroup& cgroup) {
  double sum = 0;
  for (const int service : cgroup.services) {
    const ServicePlan& plan = machine.scenario().services[static_cast<std::size_t>(service)];
    for (double at = 0; at < machine.scenario().seconds; at += 1)
      sum += plan.demand.At(at) + plan.needed_file;
  }
  return sum;
}

}  // namespace

void StaticLimits::Start(Machine& machine) {
  const auto count = static_cast<std::uint32_t>(machine.cgroups().size());
  std::vector<double> need(count);
  for (std::uint32_t i = 0; i < count; ++i) need[i] = MeanNeed(machine, machine.cgroups()[i]);
  for (std::uint32_t i = 1; i < count; ++i) {
    const Machine::Cgroup& cgroup = machine.cgroups()[i];
    const Machine::Cgroup& parent = machine.cgroups()[At(cgroup.parent)];
    if (cgroup.limit || !parent.limit || need[i] <= 0) continue;
    machine.SetLimit(CgroupId{i}, *parent.limit * need[i] / need[At(cgroup.parent)]);
  }
}

void GoMemLimit::Start(Machine& machine) {
  for (int service = 0; service < machine.services(); ++service) {
    if (machine.scenario().services[static_cast<std::size_t>(service)].heap != Heap::kCollected) continue;
    for (CgroupId id = machine.CgroupOf(service); id != kNodeId; id = machine.cgroups()[At(id)].parent) {
      const auto limit = machine.cgroups()[At(id)].limit;
      if (!limit) continue;
      machine.SetFixedLimit(service, kGoShare * *limit);
      break;
    }
  }
}

void M3::Start(Machine& machine) {
  machine_ = &machine;
  next_ = machine.now() + kPollEvery;
  for (std::uint32_t i = 0; i < machine.cgroups().size(); ++i) monitors_[CgroupId{i}] = {};
}

void M3::OnClient(const core::ClientEvent& event) {
  if (const auto* attached = std::get_if<core::ClientAttached>(&event)) {
    applications_[attached->client] = {.info = *attached,
                                       .duty = attached->capabilities.collect ? kGoDuty : kOtherDuty};
  } else if (const auto* detached = std::get_if<core::ClientDetached>(&event)) {
    applications_.erase(detached->client);
  } else if (const auto* outcome = std::get_if<core::ClientOutcome>(&event)) {
    const auto it = applications_.find(outcome->client);
    if (it == applications_.end()) return;
    it->second.free_at = machine_->now() + Seconds(SecondsOf(outcome->wall) * (1 / it->second.duty - 1));
  }
}

void M3::Run(Instant now) {
  next_ = now + kPollEvery;
  for (auto& [id, monitor] : monitors_) Poll(id, monitor);
}

bool M3::IsBelow(CgroupId id, CgroupId above) const {
  for (;; id = machine_->cgroups()[At(id)].parent) {
    if (id == above) return true;
    if (id == kNodeId) return false;
  }
}

double M3::SizeOf(const Application& application) const {
  return static_cast<double>(machine_->Read(application.info.cgroup, false).usage);
}

void M3::Poll(CgroupId id, Monitor& monitor) {
  const Machine::Cgroup& cgroup = machine_->cgroups()[At(id)];
  if (!cgroup.limit || !cgroup.alive) return;
  const double used = static_cast<double>(machine_->Read(id, false).usage) / *cgroup.limit;
  if (used > kTop) {
    monitor.low = std::max(monitor.low - kThresholdStep, kLeastLow);
  } else if (used < monitor.low) {
    monitor.low = std::min(monitor.low + kThresholdStep, kTop - kGap);
  }
  monitor.high = monitor.low + kGap;
  double excess = (used - monitor.low) * *cgroup.limit;
  if (excess <= 0) return;

  std::vector<std::pair<double, Application*>> below;
  for (auto& [client, application] : applications_) {
    if (IsBelow(application.info.cgroup, id)) below.emplace_back(SizeOf(application), &application);
  }
  // The sum of two ranks: by age, the newest first (the map's order is that of attaching), and by size.
  std::vector<std::tuple<std::size_t, std::size_t, Application*, double>> order;
  for (std::size_t i = 0; i < below.size(); ++i) {
    const auto larger = std::count_if(below.begin(), below.end(),
                                      [&](const auto& other) { return other.first > below[i].first; });
    order.emplace_back(below.size() - i + static_cast<std::size_t>(larger), i, below[i].second,
                       below[i].first);
  }
  std::sort(order.begin(), order.end());
  const bool high = used > monitor.high;
  for (const auto& [rank, index, application, size] : order) {
    if (!high && excess <= 0) break;
    if (!high && application->free_at > machine_->now()) continue;
    Signal(*application, id, high);
    excess -= kAssumedYield * size;
  }
}

void M3::Signal(Application& application, CgroupId domain, bool high) {
  const auto bytes = static_cast<Bytes>(std::max(kAssumedYield * SizeOf(application), kMiBf));
  core::Directive directive{.id = core::DirectiveId{next_directive_++},
                            .client = application.info.client,
                            .domain = domain,
                            .level = high ? core::Level::kCritical : core::Level::kWake,
                            .deadline = std::chrono::seconds(2),
                            .ttl = std::chrono::seconds(30)};
  const core::Capabilities& can = application.info.capabilities;
  if (can.collect) {
    directive.action = core::Collect{.bytes = bytes};
  } else if (can.release) {
    directive.action = core::Release{.bytes = bytes};
  } else if (can.shed) {
    directive.action = core::Shed{.bytes = bytes};
  } else {
    return;
  }
  // One that never answers is asked again.
  application.free_at = machine_->now() + directive.deadline;
  machine_->Send(directive);
}

double Oracle::BeforeKill(CgroupId domain, double bytes) {
  std::vector<std::tuple<int, double, int>> holders;
  for (const int service : machine_->cgroups()[At(domain)].services) {
    if (!machine_->WouldGive(service)) continue;
    const Process& process = machine_->Settled(service);
    const double spare = process.Spare();
    if (spare < kPage) continue;
    const Heap heap = process.plan().heap;
    const int dearness = heap == Heap::kCaches ? 2 : heap == Heap::kCollected ? 1 : 0;
    holders.emplace_back(dearness, -spare, service);
  }
  std::sort(holders.begin(), holders.end());
  double taken = 0;
  for (const auto& [dearness, spare, service] : holders) {
    if (taken >= bytes) break;
    taken += machine_->TakeSpare(service, bytes - taken);
  }
  return taken;
}

}  // namespace memgov::sim
