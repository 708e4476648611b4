#include "governor/kernel/watch_fd.h"

#include <errno.h>
#include <fcntl.h>

#include <boost/system/error_code.hpp>
#include <string>

namespace memgov::kernel {
namespace {

absl::Status Error(int error, std::string_view what) {
  return absl::ErrnoToStatus(error, "watching " + std::string(what));
}

}  // namespace

absl::StatusOr<WatchedFd> WatchFd(boost::asio::io_context& io, UniqueFd fd, std::string_view what) {
  if (!fd) return Error(EBADF, what);
  WatchedFd watched(io);
  boost::system::error_code error;
  watched.assign(fd.get(), error);
  if (error) return Error(error.value(), what);
  fd.release();
  return watched;
}

absl::StatusOr<WatchedFd> WatchCopyOf(boost::asio::io_context& io, int fd, std::string_view what) {
  if (fd < 0) return Error(EBADF, what);
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy) return Error(errno, what);
  return WatchFd(io, std::move(copy), what);
}

}  // namespace memgov::kernel
