// The daemon's side of the freezer (cgroup v1).

#include <algorithm>
#include <chrono>
#include <utility>

#include "governor/daemon.h"

namespace memgov {
namespace {

// The guard thaws so long after we should have; more than we are late on a loaded node.
constexpr auto kGuardGrace = std::chrono::milliseconds(500);

}  // namespace

// Without one every decision to freeze fails, and the log says why.
void Daemon::StartFreezer() {
  if (layout_.memory_version != kernel::MemoryVersion::kV1 || !guard_ || options_.observe) return;
  auto freezer = kernel::FindFreezer(layout_);
  if (!freezer.ok()) {
    no_freezer_ = TextOf(freezer.status());
    return;
  }
  freezer_ = std::make_unique<kernel::FreezeKnob>(
      layout_, *std::move(freezer), options_.state_dir + "/freeze.state", io_,
      [this](const absl::Status& why) {
        TellNotLetGo(why, "a frozen cgroup stands still longer than it may", &not_thawed_);
      });
}

// With what is added when the daemon does not even run.
core::Instant Daemon::LatestThaw(core::Instant now) const {
  core::Duration longest{};
  for (const core::Rule& rule : policy_.rules) {
    if (rule.brake.freeze) longest = std::max(longest, rule.brake.freeze_longest);
  }
  return now + longest + kGuardGrace;
}

void Daemon::ApplyFreeze(const core::SetFreeze& freeze) {
  const auto failed = [this, id = freeze.cgroup](std::string why) {
    early_.freezes_failed.push_back({.cgroup = id, .why = std::move(why)});
    Wake();
  };
  if (!freeze.on) {
    // Kept since the freeze: the memory cgroup may have gone, and the freezer's of the same path be there.
    const auto frozen = frozen_.extract(freeze.cgroup);
    if (frozen.empty()) return;
    freezer_->Thaw(frozen.mapped().path);
    return;
  }
  std::string path = tree_.PathOf(freeze.cgroup);
  if (path.empty()) return failed("its cgroup is gone");
  if (!freezer_) return failed(no_freezer_);
  // Nobody would thaw it if we were killed now.
  if (!guard_->Running()) return failed("nobody is frozen while there is no guard");
  frozen_[freeze.cgroup] = {.path = path, .thaw_by = LatestThaw(clock_.Now())};
  TellGuard(clock_.Now());  // before it is frozen
  freezer_->Freeze(path, [failed](const absl::Status& status) {
    if (!status.ok() && !absl::IsCancelled(status)) failed(TextOf(status));
  });
}

absl::Status Daemon::ThawAll() {
  frozen_.clear();
  return freezer_ ? freezer_->ThawAll() : absl::OkStatus();
}

}  // namespace memgov
