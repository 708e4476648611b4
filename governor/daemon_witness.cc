#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "governor/daemon.h"
#include "governor/kernel/cgroup_path.h"

namespace memgov {

void Daemon::SayDegraded(const std::string& what) {
  if (degraded_.insert(what).second) log_->Warn(EventLine(clock_.Now(), "degraded"), what);
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
