// The daemon's side of the freezer (cgroup v1): stopping processes blocks, so a worker does it.

#include <boost/asio/post.hpp>
#include <future>
#include <utility>

#include "governor/daemon.h"

namespace memgov {

// Without one every decision to freeze fails, and the log says why.
void Daemon::StartFreezer() {
  if (layout_.memory_version != kernel::MemoryVersion::kV1 || !guard_ || options_.observe) return;
  auto freezer = kernel::FindFreezer(layout_);
  if (!freezer.ok()) {
    no_freezer_ = TextOf(freezer.status());
    return;
  }
  freezer_.emplace(layout_, *std::move(freezer), options_.state_dir + "/freeze.state");
  freeze_worker_ = std::make_unique<boost::asio::thread_pool>(1);
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
    boost::asio::post(*freeze_worker_, [this, path = std::move(frozen.mapped())] {
      const absl::Status status = freezer_->Thaw(path);
      if (status.ok()) return;
      boost::asio::post(io_, [this, status] { SayDegraded(TextOf(status)); });
    });
    return;
  }
  std::string path = tree_.PathOf(freeze.cgroup);
  if (path.empty()) return failed("its cgroup is gone");
  if (!freezer_) return failed(no_freezer_);
  // Nobody would thaw it if we were killed now.
  if (!guard_->Running()) return failed("nobody is frozen while there is no guard");
  frozen_[freeze.cgroup] = path;
  boost::asio::post(*freeze_worker_, [this, failed, path = std::move(path)] {
    const absl::Status status = freezer_->Freeze(path);
    if (!status.ok()) boost::asio::post(io_, [failed, why = TextOf(status)] { failed(why); });
  });
}

// Waits for the worker, at most as long as a freeze under way takes (freezer.h).
absl::Status Daemon::ThawAll() {
  if (!freezer_) return absl::OkStatus();
  frozen_.clear();
  std::promise<absl::Status> thawed;
  boost::asio::post(*freeze_worker_, [this, &thawed] { thawed.set_value(freezer_->ThawAll()); });
  return thawed.get_future().get();
}

}  // namespace memgov
