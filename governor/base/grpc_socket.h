// A socket whose peer is a stranger that speaks gRPC: what it sends goes through the guard to the HTTP/2
// library, and what is to be sent waits here until the socket takes it. Knows no event loop: the owner waits
// for the socket and reads it, and says when it can be written to again.
//
// Not thread-safe.

#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "governor/base/frame_guard.h"
#include "governor/base/grpc_connection.h"
#include "governor/core/units.h"

namespace memgov::base {

class GrpcSocket {
 public:
  // `fd` stays the owner's, `handler` outlives this.
  GrpcSocket(int fd, CallHandler* handler) : fd_(fd), handler_(handler) {}

  // Takes what the peer sent, and sends the answers that follow from it. Not OK: the peer did what no client
  // does; it has been told, as far as it reads, and the connection should be closed.
  absl::Status Take(absl::string_view bytes, core::Instant now);

  // Sends what there is to send, as far as the socket takes it. A peer that is gone is seen by reading.
  void Flush();

  // The socket takes no more: wait until it can be written to, and say so.
  bool blocked() const { return blocked_; }
  void Unblock() { blocked_ = false; }

  // The owner has closed the socket, or is about to.
  void Forget() { fd_ = -1; }

  // Null until the peer has spoken HTTP/2.
  GrpcConnection* grpc() { return grpc_.get(); }
  // Frames that the peer began so far.
  std::uint64_t frames() const { return guard_.frames(); }

 private:
  int fd_;
  CallHandler* const handler_;
  FrameGuard guard_;
  std::unique_ptr<GrpcConnection> grpc_;
  absl::string_view unsent_;  // of grpc_'s bytes, what the socket did not take
  bool blocked_ = false;
};

}  // namespace memgov::base
