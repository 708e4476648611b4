// The daemon's side of clients: who may attach, and whose process has died.

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "governor/core/words.h"
#include "governor/daemon.h"

namespace memgov {
namespace {

// Whose process it is, as far as it is known.
void AddWorkload(const identity::Peer& peer, EventLine* line) {
  const auto add = [line](std::string_view key, std::string_view value) {
    if (!value.empty()) line->Add(key, value);
  };
  add("container", peer.container);
  if (peer.workload.runtime != core::Runtime::kUnknown) add("runtime", core::NameOf(peer.workload.runtime));
  if (peer.workload.qos) add("qos", core::NameOf(*peer.workload.qos));
  add("pod_uid", peer.workload.pod_uid);
  add("container_id", peer.workload.container_id);
  add("namespace", peer.pod.pod_namespace);
  add("pod", peer.pod.pod);
  add("container_name", peer.pod.container);
}

}  // namespace

void Daemon::OnAttach(session::AttachRequest request) {
  const core::Instant now = clock_.Now();
  const auto owner = owners_.find(request.ticket.cookie);
  // It may be younger than our last look.
  const auto cgroup = tree_.Seek(request.ticket.cgroup, now, &early_);
  EventLine line(now, cgroup.ok() ? "attached" : "refused");
  line.Add("client", static_cast<std::int64_t>(request.client))
      .Add("pid", std::int64_t{request.ticket.pid})
      .Add("name", request.name)
      .Add("cgroup", request.ticket.cgroup)
      .BoundBy(LogBudget::Cause::kConnection, request.ticket.tenant);
  if (owner != owners_.end()) AddWorkload(owner->second.peer, &line);
  const std::string who = fmt::format("{} (pid {})", request.name, request.ticket.pid);
  if (!cgroup.ok() || owner == owners_.end()) {
    std::string why = "the process that connected has exited, or did not say Hello in time";
    if (absl::IsPermissionDenied(cgroup.status())) {
      why = fmt::format(
          "cgroup {} is outside of what this governor watches ({}); start memgovd with --root to include it",
          request.ticket.cgroup, fmt::join(options_.roots, ", "));
    } else if (!cgroup.ok()) {
      why = TextOf(cgroup.status());
    }
    sessions_->Refuse(request.client,
                      cgroup.ok() ? absl::AbortedError(why) : absl::PermissionDeniedError(why));
    if (owner != owners_.end()) owners_.erase(owner);
    owner_budget_.Remove(request.ticket.cookie);
    log_->Write(std::move(line), fmt::format("refused {}: {}", who, why));
    return;
  }
  names_[request.client] = {.pid = request.ticket.pid,
                            .name = request.name,
                            .cgroup = request.ticket.cgroup,
                            .container = request.ticket.container,
                            .tenant = request.ticket.tenant,
                            .cookie = request.ticket.cookie,
                            .at = *cgroup,
                            .enforcing = false};
  owner->second.client = request.client;
  owner_budget_.SaidHello(request.ticket.cookie);
  WatchOwner(request.ticket.cookie);

  const core::Rule& rule = RuleAt(*cgroup, owner->second.peer);
  const bool enforcing = rule.mode == core::Mode::kEnforce;
  names_[request.client].enforcing = enforcing;
  sessions_->Welcome(
      request.client,
      {.cgroup = request.ticket.cgroup, .container = request.ticket.container, .enforcing = enforcing});
  log_->Write(std::move(line),
              fmt::format("attached {} in {}: {}, {}, rule {} {}", who, request.ticket.cgroup,
                          request.runtime, request.library, rule.name, enforcing ? "enforces" : "observes"));
  events_.emplace_back(core::ClientAttached{.client = request.client,
                                            .cgroup = *cgroup,
                                            .pid = request.ticket.pid,
                                            .name = request.name,
                                            .runtime = request.runtime,
                                            .capabilities = request.capabilities,
                                            .startup_release_mode = request.startup_release_mode});
  Wake();
}

// As the engine has it, or will have it when the names that we know of the peer have come to it.
const core::Rule& Daemon::RuleAt(core::CgroupId cgroup, const identity::Peer& peer) const {
  core::WorkloadNames names = identity::NamesOf(peer.workload, peer.pod);
  if (const auto told = cgroup_names_.Find(cgroup); told && !told->pending) names = *told;
  return core::RuleFor(policy_, tree_.PathOf(cgroup), names);
}

// A client that was told that it is only observed declines whatever it is asked.
void Daemon::TellModes() {
  for (auto& [id, client] : names_) {
    const auto owner = owners_.find(client.cookie);
    if (owner == owners_.end()) continue;
    const core::Rule& rule = RuleAt(client.at, owner->second.peer);
    const bool enforcing = rule.mode == core::Mode::kEnforce;
    if (enforcing == client.enforcing) continue;
    client.enforcing = enforcing;
    sessions_->Welcome(id, {.cgroup = client.cgroup, .container = client.container, .enforcing = enforcing});
    log_->Write(EventLine(clock_.Now(), "mode")
                    .Add("client", static_cast<std::int64_t>(id))
                    .Add("pid", std::int64_t{client.pid})
                    .Add("name", client.name)
                    .Add("cgroup", client.cgroup)
                    .BoundBy(LogBudget::Cause::kConnection, client.tenant),
                fmt::format("{} (pid {}): rule {} {}", client.name, client.pid, rule.name,
                            enforcing ? "enforces" : "observes"));
  }
}

void Daemon::OnOutcome(core::ClientOutcome outcome) {
  // The engine closes the request by a reading that is younger than the outcome, and judges the domains above
  // by what they have left now.
  if (const auto name = names_.find(outcome.client); name != names_.end()) {
    std::string path = name->second.cgroup;
    for (auto cgroup = tree_.Innermost(path); cgroup; cgroup = tree_.Innermost(path)) {
      read_now_.insert(*cgroup);
      path = tree_.PathOf(*cgroup);
      const std::size_t slash = path.rfind('/');
      if (slash == std::string::npos || slash == 0) break;
      path.resize(slash);
    }
  }
  events_.emplace_back(std::move(outcome));
  Wake();
}

void Daemon::OnDetached(core::ClientId client, const std::string& why) {
  const auto name = names_.find(client);
  if (name == names_.end()) return;  // was refused
  log_->Write(EventLine(clock_.Now(), "detached")
                  .Add("client", static_cast<std::int64_t>(client))
                  .Add("pid", std::int64_t{name->second.pid})
                  .Add("name", name->second.name)
                  .Add("cgroup", name->second.cgroup)
                  .BoundBy(LogBudget::Cause::kConnection, name->second.tenant),
              fmt::format("detached {} (pid {}): {}", name->second.name, name->second.pid, why));
  owners_.erase(name->second.cookie);
  owner_budget_.Remove(name->second.cookie);
  left_.push_back(client);  // what is still in flight for it ends with its name
  events_.emplace_back(core::ClientDetached{client});
  Wake();
}

}  // namespace memgov
