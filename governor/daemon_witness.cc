// How the daemon follows the kernel's own record, and says what this node cannot give it.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "governor/daemon.h"
#include "governor/kernel/cgroup_path.h"

namespace memgov {

kernel::ProbeRequest ProbeRequestOf(const DaemonOptions& options, bool try_out) {
  return {.cgroup_mount = options.cgroup_mount,
          .roots = options.roots,
          .socket_path = options.socket_path,
          .state_dir = options.state_dir,
          .try_out = try_out};
}

void Daemon::ExamineNode() {
  const bool observes = options_.observe || options_.policy_file.empty();
  status_.pid = ::getpid();
  status_.checks = Examine(kernel::ProbeNode(ProbeRequestOf(options_, !observes)));
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
}

void Daemon::SayDegraded(const std::string& what) {
  if (!degraded_.insert(what).second) return;
  log_->Warn(EventLine(clock_.Now(), "degraded"), what);
  WriteStatusFile();
}

void Daemon::WriteStatusFile() {
  status_.degraded.assign(degraded_.begin(), degraded_.end());
  const absl::Status status = WriteStatus(options_.state_dir, status_);
  if (!status.ok() && degraded_.insert(TextOf(status)).second) {
    log_->Warn(EventLine(clock_.Now(), "degraded"), TextOf(status));
  }
}

void Daemon::FollowKernelLog() {
  const absl::Status status = kernel_log_.Open();
  if (status.ok()) return;
  SayDegraded(fmt::format("{}: OOM kills are counted, but their victims are not named", TextOf(status)));
}

void Daemon::OnKernelKill(core::KilledProcess victim) {
  const auto roots = kernel::IndependentRoots(options_.roots);
  const auto watched = [&victim](const std::string& root) { return kernel::IsWithin(victim.cgroup, root); };
  if (!victim.cgroup.empty() && std::none_of(roots.begin(), roots.end(), watched)) return;
  victim.at = clock_.Now();
  early_.kills.push_back(std::move(victim));
  Wake();
}

}  // namespace memgov
