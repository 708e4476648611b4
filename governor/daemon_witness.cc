// How the daemon follows the kernel's own record, and says what this node cannot give it.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "governor/daemon.h"
#include "governor/kernel/cgroup_path.h"

namespace memgov {
namespace {

constexpr std::size_t kMostKept = 64;
// Reading who is there costs up to 3 ms; in a storm of kills the later ones do without.
constexpr std::size_t kMostAtOnce = 8;
constexpr auto kAtOnce = std::chrono::milliseconds(100);
// An older table says nothing of the moment of a kill, and its pids may be others' by now.
constexpr auto kKeptFor = std::chrono::seconds(10);

}  // namespace

kernel::ProbeRequest ProbeRequestOf(const DaemonOptions& options, bool try_out) {
  return {.cgroup_mount = options.cgroup_mount,
          .roots = options.roots,
          .socket_path = options.socket_path,
          .state_dir = options.state_dir,
          .clients_per_tenant = options.clients_per_tenant,
          .try_out = try_out};
}

void Daemon::ExamineNode() {
  status_.pid = ::getpid();
  const kernel::NodeFacts facts = kernel::ProbeNode(ProbeRequestOf(options_, Enforces()));
  sees_all_pids_ = facts.first_pid_namespace;
  status_.checks = Examine(facts);
  for (const Check& check : status_.checks) {
    if (check.state == CheckState::kOk) continue;
    log_->Warn(EventLine(clock_.Now(), "degraded")
                   .Add("what", check.name)
                   .Add("found", check.found)
                   .Add("lost", check.lost)
                   .Add("remedy", check.remedy),
               fmt::format("{}: {}; lost: {}{}", check.name, check.found, check.lost,
                           check.remedy.empty() ? "" : "; to get it: " + check.remedy));
  }
  WriteStatusFile();
  for (const auto& [check, what] : std::exchange(unsaid_, {})) SayUnlessChecked(check, what);
}

void Daemon::SayUnlessChecked(const std::string& check, const std::string& what) {
  if (status_.checks.empty()) {
    unsaid_.emplace_back(check, what);
    return;
  }
  const auto says_it = [&check](const Check& other) {
    return other.name == check && other.state != CheckState::kOk;
  };
  if (std::none_of(status_.checks.begin(), status_.checks.end(), says_it)) SayDegraded(what);
}

void Daemon::SetDegraded(const std::string& what, bool is) {
  if (is == degraded_.contains(what)) return;
  if (is) {
    degraded_.insert(what);
    if (said_.Say(what)) log_->Warn(EventLine(clock_.Now(), "degraded"), what);
  } else {
    degraded_.erase(what);
    if (said_.Say("mended: " + what)) {
      log_->Write(EventLine(clock_.Now(), "mended"), "no longer so: " + what);
    }
  }
  WriteStatusFile();
}

void Daemon::WriteStatusFile() {
  status_.degraded.assign(degraded_.begin(), degraded_.end());
  if (status_writer_) return status_writer_->Put(TextOf(status_));
  OnStatusWritten(WriteStatus(options_.state_dir, status_));
}

void Daemon::OnStatusWritten(const absl::Status& status) {
  if (!status.ok() && said_.Say(TextOf(status))) {
    log_->Warn(EventLine(clock_.Now(), "degraded"), TextOf(status));
  }
}

void Daemon::FollowKernelLog() {
  const absl::Status status = kernel_log_.Open();
  if (status.ok()) return;
  SayUnlessChecked("/dev/kmsg",
                   fmt::format("{}: OOM kills are counted, but their victims are not named", TextOf(status)));
}

void Daemon::FollowKernelLogAgain() {
  if (kernel_log_.Open().ok()) {
    kernel_log_retries_.Settled(core::kNodeId);
  } else {
    kernel_log_retries_.Failed(core::kNodeId);
  }
}

void Daemon::OnKernelKill(core::KilledProcess victim) {
  if (victim.cgroup.empty()) victim.cgroup = PlaceOf(victim);
  const auto roots = kernel::IndependentRoots(options_.roots);
  const auto watched = [&victim](const std::string& root) { return kernel::IsWithin(victim.cgroup, root); };
  if (!victim.cgroup.empty() && std::none_of(roots.begin(), roots.end(), watched)) return;
  victim.maybe_elsewhere = victim.cgroup.empty() && roots != std::vector<std::string>{"/"};
  victim.at = clock_.Now();
  early_.kills.push_back(std::move(victim));
  Wake();
}

// Where the log does not say it: the kept tables know the victim, or it has not quite ended yet.
std::string Daemon::PlaceOf(const core::KilledProcess& victim) const {
  if (!sees_all_pids_) return "";
  const core::Instant oldest = clock_.Now() - kKeptFor;
  for (auto kept = kept_processes_.rbegin(); kept != kept_processes_.rend(); ++kept) {
    if (kept->at < oldest) continue;
    for (const kernel::ProcessEntry& process : kept->table.processes) {
      if (process.pid == victim.pid && process.name == victim.name) return process.cgroup;
    }
  }
  return kernel::CgroupOfProcess(layout_.memory_version, victim.pid, victim.name).value_or("");
}

void Daemon::WatchForKills(const core::Snapshot& snapshot) {
  if (layout_.memory_version != kernel::MemoryVersion::kV1) return;
  for (const core::CgroupAppeared& cgroup : snapshot.appeared) {
    oom_alarms_.Arm(cgroup.id, cgroup.path).IgnoreError();  // tried again, and said, by itself
  }
}

void Daemon::OnOomLook(core::CgroupId id, bool first) {
  if (first) KeepProcesses(tree_.PathOf(id));
  read_whole_.insert(id);
  Wake();
}

void Daemon::KeepProcesses(const std::string& path) {
  const core::Instant now = clock_.Now();
  if (path.empty() || path == "/") return;  // of the whole machine the kernel's own table has to do
  if (kept_processes_.size() >= kMostAtOnce &&
      now - kept_processes_[kept_processes_.size() - kMostAtOnce].at < kAtOnce) {
    return;
  }
  kernel::ProcessTable table = kernel::ReadProcessTable(layout_, path);
  if (table.processes.empty()) return;  // removed: what was kept before is worth more
  std::erase_if(kept_processes_, [&path](const KeptProcesses& kept) { return kept.cgroup == path; });
  kept_processes_.push_back({.cgroup = path, .at = now, .table = std::move(table)});
  if (kept_processes_.size() > kMostKept) kept_processes_.pop_front();
}

// The kernel's own table of that moment; else what was kept of the domain or the victim's cgroup; else who is
// left.
std::vector<core::ProcessSize> Daemon::ProcessesFor(const core::KillReport& report) const {
  if (report.victim && !report.victim->processes.empty()) return report.victim->processes;
  if (report.domain.empty()) return {};
  const core::Instant oldest = clock_.Now() - kKeptFor;
  kernel::ProcessTable left;
  const kernel::ProcessTable* table = nullptr;
  for (const std::string& path : {report.cgroup, report.domain}) {
    for (const KeptProcesses& kept : kept_processes_) {
      if (kept.cgroup == path && kept.at >= oldest) table = &kept.table;
    }
  }
  if (table == nullptr) {
    if (report.domain == "/") return {};
    left = kernel::ReadProcessTable(layout_, report.domain);
    table = &left;
  }
  std::vector<core::ProcessSize> processes;
  processes.reserve(table->processes.size());
  for (const kernel::ProcessEntry& process : table->processes) {
    processes.push_back({.pid = process.pid, .name = process.name, .rss = process.rss});
  }
  return processes;
}

}  // namespace memgov
