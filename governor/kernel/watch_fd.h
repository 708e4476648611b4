// Hands a descriptor to the event loop without an exception: epoll may be full (fs.epoll.max_user_watches) or
// out of memory, and neither may end a daemon that others rely on.

#pragma once

// Boost 1.74 uses std::exchange without including <utility>; hence it comes first.
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

using WatchedFd = boost::asio::posix::stream_descriptor;

// The loop's own from then on; closed when it could not be watched. `what` names it in the error.
absl::StatusOr<WatchedFd> WatchFd(boost::asio::io_context& io, UniqueFd fd, std::string_view what);

// The same of a copy of `fd`, for one that somebody else owns. A negative `fd` is an error, too.
absl::StatusOr<WatchedFd> WatchCopyOf(boost::asio::io_context& io, int fd, std::string_view what);

}  // namespace memgov::kernel
