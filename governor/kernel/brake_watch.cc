#include "governor/kernel/brake_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstring>
#include <set>
#include <utility>

#include "governor/kernel/watch_fd.h"

namespace memgov::kernel {

// Shared with the handlers in flight: a handler that was queued when the watch ended finds `ended`.
struct BrakeWatch::State {
  State(boost::asio::io_context& io, std::function<void(core::CgroupId)> to)
      : on_written(std::move(to)), inotify(io), quiet(io) {}

  bool ended = false;
  const std::function<void(core::CgroupId)> on_written;
  boost::asio::posix::stream_descriptor inotify;
  boost::asio::steady_timer quiet;
  absl::flat_hash_map<core::CgroupId, int> watches;
  absl::flat_hash_map<int, core::CgroupId> ids;
};

BrakeWatch::BrakeWatch(boost::asio::io_context& io, const CgroupLayout& layout,
                       std::function<void(core::CgroupId)> on_written)
    : layout_(layout) {
  auto inotify = WatchFd(io, UniqueFd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)), "memory.high");
  if (!inotify.ok()) return;
  state_ = std::make_shared<State>(io, std::move(on_written));
  state_->inotify = *std::move(inotify);
  Wait(state_);
}

BrakeWatch::~BrakeWatch() {
  if (state_ == nullptr) return;
  state_->ended = true;
  boost::system::error_code ignored;
  state_->inotify.close(ignored);
  state_->quiet.cancel(ignored);
}

void BrakeWatch::Watch(core::CgroupId id, const std::string& path) {
  if (state_ == nullptr || state_->watches.contains(id)) return;
  const std::string file = layout_.memory_mount + path + "/memory.high";
  const int watch = ::inotify_add_watch(state_->inotify.native_handle(), file.c_str(), IN_MODIFY);
  if (watch < 0) return;
  // The same inode twice means the same cgroup, under an id that is no longer used.
  if (const auto earlier = state_->ids.find(watch); earlier != state_->ids.end()) {
    state_->watches.erase(earlier->second);
  }
  state_->watches[id] = watch;
  state_->ids[watch] = id;
}

void BrakeWatch::Unwatch(core::CgroupId id) {
  if (state_ == nullptr) return;
  const auto known = state_->watches.find(id);
  if (known == state_->watches.end()) return;
  ::inotify_rm_watch(state_->inotify.native_handle(), known->second);
  state_->ids.erase(known->second);
  state_->watches.erase(known);
}

void BrakeWatch::Wait(const std::shared_ptr<State>& state) {
  state->inotify.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                            [state](const boost::system::error_code& error) {
                              if (error || state->ended) return;
                              state->quiet.expires_after(kQuiet);
                              state->quiet.async_wait([state](const boost::system::error_code& cancelled) {
                                if (!cancelled && !state->ended) Wait(state);
                              });
                              Read(state);  // last: what it tells may end us
                            });
}

void BrakeWatch::Read(const std::shared_ptr<State>& state) {
  // One buffer at a time; what is left is ready again after the pause.
  std::set<core::CgroupId> written;
  alignas(inotify_event) std::array<char, 4096> buffer;
  const ssize_t got = ::read(state->inotify.native_handle(), buffer.data(), buffer.size());
  for (ssize_t at = 0; at < got;) {
    inotify_event event{};
    std::memcpy(&event, buffer.data() + at, sizeof(event));
    at += static_cast<ssize_t>(sizeof(event) + event.len);
    if ((event.mask & IN_Q_OVERFLOW) != 0) {
      for (const auto& [id, watch] : state->watches) written.insert(id);
    } else if (const auto id = state->ids.find(event.wd); id == state->ids.end()) {
      continue;
    } else if ((event.mask & IN_IGNORED) != 0) {
      state->watches.erase(id->second);
      state->ids.erase(id);
    } else {
      written.insert(id->second);
    }
  }
  for (const core::CgroupId id : written) {
    if (!state->ended) state->on_written(id);
  }
}

}  // namespace memgov::kernel
