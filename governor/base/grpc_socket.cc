#include "governor/base/grpc_socket.h"

#include <sys/socket.h>

#include <cerrno>

namespace memgov::base {

absl::Status GrpcSocket::Take(absl::string_view bytes, core::Instant now) {
  absl::Status taken = guard_.Take(bytes, now);
  // Also a peer whose very first bytes are refused is told why, if it speaks HTTP/2.
  if (grpc_ == nullptr && (taken.ok() || guard_.frames() > 0)) {
    grpc_ = std::make_unique<GrpcConnection>(handler_);
  }
  if (taken.ok()) taken = grpc_->Receive(bytes);
  if (grpc_ == nullptr) return taken;
  Flush();
  if (taken.ok()) taken = grpc_->Answers();
  if (!taken.ok()) {
    grpc_->GoAway(NGHTTP2_ENHANCE_YOUR_CALM, taken.message());
    Flush();
  }
  return taken;
}

void GrpcSocket::Flush() {
  while (grpc_ != nullptr && fd_ >= 0 && !blocked_) {
    if (unsent_.empty()) unsent_ = grpc_->ToSend();
    if (unsent_.empty()) return;
    const ssize_t sent = ::send(fd_, unsent_.data(), unsent_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      unsent_.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      blocked_ = true;
    } else if (errno != EINTR) {
      ::shutdown(fd_, SHUT_RDWR);  // the peer reads no more, so it need not speak
      return;
    }
  }
}

}  // namespace memgov::base
