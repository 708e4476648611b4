#include "governor/journal/test_story.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace memgov::journal {
namespace {

using core::kGiB;
using core::kMiB;

core::Policy Enforcing() { return {.rules = {{.name = "all", .mode = core::Mode::kEnforce}}}; }

}  // namespace

Story::Story(unsigned seed, Recorder* recorder) : random_(seed), recorder_(recorder), engine_(Enforcing()) {
  const core::KernelLevers levers{.page_out = true};
  engine_.SetKernelLevers(levers);
  if (recorder_ != nullptr) {
    recorder_->SetPolicy(Enforcing());
    recorder_->SetKernelLevers(levers);
  }
  for (int pod = 0; pod < 3; ++pod) {
    const std::string path = absl::StrCat("/pod", pod);
    const core::CgroupId id{next_cgroup_};
    AddCgroup(core::kNodeId, path, 2 * kGiB);
    AddCgroup(id, path + "/a", kGiB);
    AddCgroup(id, path + "/\xFF", kGiB);  // a name is any bytes
  }
}

core::Decisions Story::Step() {
  now_ += std::chrono::milliseconds(10 + Below(290));
  if (OneIn(200)) MovePolicy();
  MoveCgroups();
  MoveClients();
  const core::Snapshot snapshot = std::exchange(snapshot_, {});
  const std::vector<core::ClientEvent> events = std::exchange(events_, {});
  core::Decisions decisions = engine_.Tick(now_, snapshot, events);
  if (recorder_ != nullptr) recorder_->Tick(now_, snapshot, events, decisions);
  Answer(decisions);
  return decisions;
}

void Story::AddCgroup(core::CgroupId parent, const std::string& path, core::Bytes limit) {
  const core::CgroupId id{next_cgroup_++};
  Cgroup& cgroup = cgroups_[id];
  cgroup.appeared = {.id = id, .parent = parent, .path = path, .has_brake = OneIn(2)};
  cgroup.sample = {.id = id, .usage = limit / 2, .limit = limit};
  snapshot_.appeared.push_back(cgroup.appeared);
}

void Story::MovePolicy() {
  core::Policy policy = Enforcing();
  policy.rules[0].wake.usage_percent = 81 + static_cast<double>(Below(14)) / 3;
  policy.rules[0].calm.release_mode = OneIn(2) ? core::ReleaseMode::kLazy : core::ReleaseMode::kUnknown;
  engine_.SetPolicy(policy);
  if (recorder_ != nullptr) recorder_->SetPolicy(policy);
}

void Story::MoveCgroups() {
  for (auto& [id, cgroup] : cgroups_) {
    core::CgroupSample& sample = cgroup.sample;
    sample.taken_at = now_ - std::chrono::microseconds(Below(500));
    sample.usage = std::clamp<core::Bytes>(sample.usage + Below(60 * kMiB) - 20 * kMiB, 0, *sample.limit);
    sample.stat = std::nullopt;
    if (OneIn(3)) {
      sample.stat =
          core::MemoryStat{.anon = sample.usage, .inactive_anon = Below(sample.usage + 1), .pgmajfault = 7};
      sample.pressure = core::PressureTotals{.some_us = 10, .full_us = 5};
    }
    if (sample.usage == *sample.limit && OneIn(5)) {
      ++sample.oom_kills;
      sample.usage /= 2;
    }
    snapshot_.samples.push_back(sample);
  }
  if (OneIn(100)) {
    const core::CgroupId id = std::prev(cgroups_.end())->first;  // a leaf
    const core::CgroupAppeared gone = cgroups_.at(id).appeared;
    snapshot_.vanished.push_back(id);
    cgroups_.erase(id);
    std::erase_if(clients_, [&](const auto& client) {
      if (client.second != id) return false;
      events_.emplace_back(core::ClientDetached{client.first});
      return true;
    });
    AddCgroup(gone.parent, gone.path, kGiB);
  }
}

void Story::MoveClients() {
  for (const auto& [id, cgroup] : cgroups_) {
    if (!cgroup.sample.limit || cgroup.appeared.parent == core::kNodeId || !OneIn(20)) continue;
    if (clients_.size() > 8) break;
    const core::ClientId client{next_client_++};
    clients_[client] = id;
    events_.emplace_back(core::ClientAttached{.client = client,
                                              .cgroup = id,
                                              .pid = 100,
                                              .name = "caf\xE9",
                                              .runtime = "test",
                                              .capabilities = {.release = true, .collect = OneIn(2)}});
  }
  for (const auto& [client, cgroup] : clients_) {
    if (!OneIn(4)) continue;
    events_.emplace_back(core::ClientReport{.client = client,
                                            .received_at = now_,
                                            .live = 50 * kMiB,
                                            .retained = Below(300 * kMiB),
                                            .retained_kind = core::EstimateKind::kBound,
                                            .gc_cpu_fraction = 1.0 / static_cast<double>(1 + Below(50))});
  }
}

void Story::Answer(const core::Decisions& decisions) {
  for (const core::Directive& directive : decisions.directives) {
    ++asked_;
    if (OneIn(5) || !clients_.contains(directive.client)) continue;  // says nothing
    const core::Bytes back = Below(100 * kMiB);
    cgroups_.at(clients_.at(directive.client)).sample.usage -= back / 2;
    events_.emplace_back(core::ClientOutcome{.client = directive.client,
                                             .directive = directive.id,
                                             .received_at = now_ + std::chrono::milliseconds(3),
                                             .status = core::OutcomeStatus::kDone,
                                             .before = kGiB,
                                             .after = kGiB - back});
  }
  for (const core::Reclaim& reclaim : decisions.reclaims) {
    snapshot_.reclaims.push_back({.id = reclaim.id,
                                  .finished_at = now_ + std::chrono::milliseconds(4),
                                  .before = kGiB,
                                  .after = kGiB - Below(100 * kMiB)});
  }
}

}  // namespace memgov::journal
