#include "governor/kernel/brake_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <set>
#include <utility>

namespace memgov::kernel {

BrakeWatch::BrakeWatch(boost::asio::io_context& io, const CgroupLayout& layout,
                       std::function<void(core::CgroupId)> on_written)
    : layout_(layout), on_written_(std::move(on_written)), quiet_(io) {
  const int fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) return;
  inotify_.emplace(io, fd);
  Wait();
}

void BrakeWatch::Watch(core::CgroupId id, const std::string& path) {
  if (!inotify_ || watches_.contains(id)) return;
  const std::string file = layout_.memory_mount + path + "/memory.high";
  const int watch = ::inotify_add_watch(inotify_->native_handle(), file.c_str(), IN_MODIFY);
  if (watch < 0) return;
  // The same inode twice means the same cgroup, under an id that is no longer used.
  if (const auto earlier = ids_.find(watch); earlier != ids_.end()) watches_.erase(earlier->second);
  watches_[id] = watch;
  ids_[watch] = id;
}

void BrakeWatch::Unwatch(core::CgroupId id) {
  const auto known = watches_.find(id);
  if (known == watches_.end()) return;
  ::inotify_rm_watch(inotify_->native_handle(), known->second);
  ids_.erase(known->second);
  watches_.erase(known);
}

void BrakeWatch::Wait() {
  inotify_->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& error) {
                         if (error) return;
                         Read();
                         quiet_.expires_after(kQuiet);
                         quiet_.async_wait([this](const boost::system::error_code& cancelled) {
                           if (!cancelled) Wait();
                         });
                       });
}

void BrakeWatch::Read() {
  // One buffer at a time; what is left is ready again after the pause.
  std::set<core::CgroupId> written;
  alignas(inotify_event) std::array<char, 4096> buffer;
  const ssize_t got = ::read(inotify_->native_handle(), buffer.data(), buffer.size());
  for (ssize_t at = 0; at < got;) {
    inotify_event event{};
    std::memcpy(&event, buffer.data() + at, sizeof(event));
    at += static_cast<ssize_t>(sizeof(event) + event.len);
    if ((event.mask & IN_Q_OVERFLOW) != 0) {
      for (const auto& [id, watch] : watches_) written.insert(id);
    } else if (const auto id = ids_.find(event.wd); id == ids_.end()) {
      continue;
    } else if ((event.mask & IN_IGNORED) != 0) {
      watches_.erase(id->second);
      ids_.erase(id);
    } else {
      written.insert(id->second);
    }
  }
  for (const core::CgroupId id : written) on_written_(id);
}

}  // namespace memgov::kernel
