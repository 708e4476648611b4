#include "governor/sim/recorded_world.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace memgov::sim {
namespace {

// Smaller moves are noise of the kernel's per-CPU charges; without any a point stands every few seconds.
constexpr double kMoved = kMiBf / 4;
constexpr double kPointEvery = 5;
// A step takes so long, so that the points stay in order.
constexpr double kStep = 0.001;
// Seconds: what is there by then was there at the beginning.
constexpr double kBeginning = 5;
constexpr double kNoLimit = 1024.0 * 1024 * kGiBf;
// A cgroup that never needed more holds no program.
constexpr double kNobody = kMiBf / 4;

}  // namespace

int RecordedWorld::IndexOf(core::CgroupId id) const {
  const auto it = index_.find(id);
  return it == index_.end() ? -1 : it->second;
}

void RecordedWorld::Take(Instant now, const core::Snapshot& snapshot,
                         std::span<const core::ClientEvent> events) {
  if (!begin_) begin_ = now;
  end_ = now;
  for (const core::CgroupAppeared& appeared : snapshot.appeared) Appear(appeared);
  for (const core::CgroupSample& sample : snapshot.samples) Sample(sample);
  for (const core::CgroupNamed& named : snapshot.named) {
    const int index = IndexOf(named.id);
    if (index >= 0) cgroups_[static_cast<std::size_t>(index)].appeared.names = named.names;
  }
  for (const core::CgroupId id : snapshot.vanished) Vanish(id, At(now));
  for (const core::ClientEvent& event : events) {
    if (const auto* attached = std::get_if<core::ClientAttached>(&event)) {
      Attach(*attached);
    } else if (const auto* report = std::get_if<core::ClientReport>(&event)) {
      Report(*report);
    } else if (const auto* outcome = std::get_if<core::ClientOutcome>(&event)) {
      Outcome(*outcome);
    } else if (const auto* detached = std::get_if<core::ClientDetached>(&event)) {
      Detach(detached->client);
    }
  }
}

void RecordedWorld::Detach(core::ClientId client) {
  const auto it = clients_.find(client);
  if (it == clients_.end()) return;
  cgroups_[static_cast<std::size_t>(it->second.home)].clients.erase(client);
  clients_.erase(it);
}

void RecordedWorld::Vanish(core::CgroupId id, double at) {
  const int index = IndexOf(id);
  if (index < 0) return;
  faults_.push_back({.at = at, .kind = Fault::Kind::kRemove, .target = index});
  index_.erase(id);
}

void RecordedWorld::SetLimit(int index, double at, std::optional<Bytes> limit) {
  Cgroup& cgroup = cgroups_[static_cast<std::size_t>(index)];
  if (!cgroup.sampled) cgroup.first_limit = limit;
  if (cgroup.sampled && limit != cgroup.limit) {
    faults_.push_back({.at = at,
                       .kind = Fault::Kind::kSetLimit,
                       .target = index,
                       .bytes = limit ? static_cast<double>(*limit) : kNoLimit});
  }
  cgroup.limit = limit;
}

void RecordedWorld::Appear(const core::CgroupAppeared& appeared) {
  const int parent = IndexOf(appeared.parent);
  if (parent >= 0) cgroups_[static_cast<std::size_t>(parent)].has_children = true;
  index_[appeared.id] = static_cast<int>(cgroups_.size());
  cgroups_.push_back({.appeared = appeared, .parent = parent});
  v2_ = v2_ || appeared.has_brake;
}

void RecordedWorld::SampleNode(const core::CgroupSample& sample) {
  if (sample.limit) node_total_ = static_cast<double>(*sample.limit);
  if (!node_usage_) node_usage_ = static_cast<double>(sample.usage);
}

void RecordedWorld::Sample(const core::CgroupSample& sample) {
  if (sample.id == core::kNodeId) return SampleNode(sample);
  const int index = IndexOf(sample.id);
  if (index < 0) return;
  Cgroup& cgroup = cgroups_[static_cast<std::size_t>(index)];
  const double at = At(sample.taken_at);
  cgroup.usage = sample.usage;
  if (sample.stat) CorrectForCache(cgroup, at, sample.stat->inactive_file);
  has_psi_ = has_psi_ || sample.pressure.has_value();
  SetLimit(index, at, sample.limit);
  // A program that comes later needed nothing before.
  if (!cgroup.sampled && at > kBeginning) AddPoint(cgroup.program, {.progress = at - kStep, .bytes = 0});
  cgroup.sampled = true;
  // Where clients report, what they say has to go with what is charged: their reports come after each
  // request.
  if (at - cgroup.reported_at > kSilent) Need(cgroup, at);
}

// The growth between two stats was taken for need; now it shows how much of it was page cache.
void RecordedWorld::CorrectForCache(Cgroup& cgroup, double at, Bytes cache) {
  const auto more = static_cast<double>(cache - cgroup.cache);
  const double took = at - cgroup.stat_at;
  if (cgroup.sampled && more > 0 && took > 0) {
    const auto correct = [&](Demand::Point& point) {
      const double share = std::clamp((point.progress - cgroup.stat_at) / took, 0.0, 1.0);
      point.bytes = std::max(point.bytes - more * share, 0.0);
    };
    std::vector<Demand::Point>& need = cgroup.program.need;
    for (auto it = need.rbegin(); it != need.rend() && it->progress > cgroup.stat_at; ++it) correct(*it);
    if (cgroup.program.skipped) correct(*cgroup.program.skipped);
  }
  cgroup.cache = cache;
  cgroup.stat_at = at;
}

void RecordedWorld::Attach(const core::ClientAttached& attached) {
  Detach(attached.client);  // attached anew
  const int home = IndexOf(attached.cgroup);
  if (home < 0) return;
  Client& client = clients_[attached.client];
  client.home = home;
  if (At(*end_) > kBeginning) client.since = At(*end_);
  Cgroup& cgroup = cgroups_[static_cast<std::size_t>(home)];
  cgroup.clients.insert(attached.client);
  core::Capabilities& can = cgroup.program.can;
  can.release = can.release || attached.capabilities.release;
  can.release_in_chunks = can.release_in_chunks || attached.capabilities.release_in_chunks;
  can.collect = can.collect || attached.capabilities.collect;
}

void RecordedWorld::Report(const core::ClientReport& report) {
  const auto it = clients_.find(report.client);
  if (it == clients_.end()) return;
  Client& client = it->second;
  Cgroup& cgroup = cgroups_[static_cast<std::size_t>(client.home)];
  Program& program = cgroup.program;
  const auto retained = static_cast<double>(report.retained);
  const double at = At(report.received_at);
  program.tells = program.tells || report.retained_kind != core::EstimateKind::kNone;
  if (std::exchange(client.reported, true)) {
    program.grown += std::max(retained - client.retained, 0.0);
  } else if (at <= kBeginning) {
    WasFree(program, retained, 0);
  }
  client.retained = retained;
  client.lazily_freed = static_cast<double>(report.lazily_freed);
  cgroup.reported_at = at;
  if (cgroup.sampled) Need(cgroup, at);
}

// A collection returned more than was reported: that had died before, and was needed by nobody.
void RecordedWorld::Outcome(const core::ClientOutcome& outcome) {
  const auto it = clients_.find(outcome.client);
  // A setting frees nothing, and a failure tells nothing.
  if (it == clients_.end() || outcome.after >= outcome.before) return;
  Client& client = it->second;
  Cgroup& cgroup = cgroups_[static_cast<std::size_t>(client.home)];
  const double hidden =
      static_cast<double>(outcome.before) - static_cast<double>(outcome.after) - client.retained;
  if (cgroup.program.can.collect && hidden >= kMoved) WasFree(cgroup.program, hidden, client.since);
  client.since = At(outcome.received_at);
}

// It was free before anybody said so.
void RecordedWorld::WasFree(Program& program, double free, double since) {
  if (since <= 0) program.kept += free;
  for (Demand::Point& point : program.need) {
    if (point.progress >= since) point.bytes = std::max(point.bytes - free, 0.0);
  }
  if (program.skipped) program.skipped->bytes = std::max(program.skipped->bytes - free, 0.0);
}

void RecordedWorld::Need(Cgroup& cgroup, double at) const {
  // What is freed lazily is in what clients can return, and in `cache`.
  double kept = 0;
  double lazily_freed = 0;
  for (const core::ClientId id : cgroup.clients) {
    const Client& client = clients_.at(id);
    kept += std::max(client.retained - client.lazily_freed, 0.0);
    lazily_freed += client.lazily_freed;
  }
  const double cache = std::max(static_cast<double>(cgroup.cache), lazily_freed);
  const double need = static_cast<double>(cgroup.usage) - cache - kept;
  AddPoint(cgroup.program, {.progress = std::max(at, 0.0), .bytes = std::max(need, 0.0)});
}

// Of a level stretch only its two ends are kept.
void RecordedWorld::AddPoint(Program& program, Demand::Point point) {
  std::vector<Demand::Point>& need = program.need;
  if (!need.empty()) {
    if (point.progress <= need.back().progress) return;
    const bool level = std::abs(point.bytes - need.back().bytes) < kMoved;
    if (level && point.progress - need.back().progress < kPointEvery) {
      program.skipped = point;
      return;
    }
    if (program.skipped && program.skipped->progress < point.progress) need.push_back(*program.skipped);
  }
  program.skipped.reset();
  need.push_back(point);
}

Heap RecordedWorld::HeapOf(const Program& program) {
  if (program.can.collect) return Heap::kCollected;
  if (program.can.release) return program.tells ? Heap::kAllocator : Heap::kTrim;
  return Heap::kPlain;
}

std::optional<Scenario> RecordedWorld::ToScenario() const {
  if (!begin_ || *end_ <= *begin_) return std::nullopt;
  Scenario scenario{
      .seconds = At(*end_), .v2 = v2_, .has_psi = has_psi_, .starts_full = true, .faults = faults_};
  double used = 0;
  for (std::size_t i = 0; i < cgroups_.size(); ++i) {
    const Cgroup& cgroup = cgroups_[i];
    scenario.cgroups.push_back({.path = cgroup.appeared.path,
                                .parent = cgroup.parent,
                                .limit = cgroup.first_limit,
                                .names = cgroup.appeared.names});
    scenario.cgroups.back().names.pending = false;
    const Program& program = cgroup.program;
    const Demand demand(program.need);
    if (cgroup.has_children || demand.Peak() < kNobody) continue;
    const Heap heap = HeapOf(program);
    ServicePlan plan{.cgroup = static_cast<int>(i), .name = cgroup.appeared.path, .heap = heap};
    plan.manner = heap == Heap::kPlain ? Manner::kNone : Manner::kHonest;
    plan.demand = demand;
    plan.keep = 1;
    plan.in_chunks = program.can.release_in_chunks;
    plan.old_retained = program.kept;
    if (heap == Heap::kCollected) {
      plan.garbage_per_second = program.grown / scenario.seconds;
      // None would mean: as much as its collector allows.
      plan.old_retained = std::max(plan.old_retained, 1.0);
    }
    used += demand.At(0) + plan.old_retained;
    scenario.services.push_back(std::move(plan));
  }
  if (scenario.services.empty()) return std::nullopt;
  if (node_total_ > 0) scenario.node_total = node_total_;
  if (node_usage_) scenario.node_base = std::max(*node_usage_ - used, 0.0);
  return scenario;
}

}  // namespace memgov::sim
