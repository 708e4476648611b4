#include "tests/workloads/redis_connection.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

namespace memgov::workloads {

RedisConnection::~RedisConnection() {
  if (fd_ >= 0) close(fd_);
}

void RedisConnection::Fail(std::string_view what) {
  if (error_.empty()) error_ = what;
}

bool RedisConnection::Connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    Fail("the path of the socket is too long");
    return false;
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0 || connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    Fail(std::strerror(errno));
    return false;
  }
  return true;
}

void RedisConnection::AppendSet(std::string_view key, std::string_view value) {
  out_ += "*3\r\n$3\r\nSET\r\n$";
  out_ += std::to_string(key.size());
  out_ += "\r\n";
  out_ += key;
  out_ += "\r\n$";
  out_ += std::to_string(value.size());
  out_ += "\r\n";
  out_ += value;
  out_ += "\r\n";
}

bool RedisConnection::Send() {
  if (out_at_ == out_.size()) return false;
  const ssize_t sent = send(fd_, out_.data() + out_at_, out_.size() - out_at_, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno != EAGAIN && errno != EINTR)
      Fail(errno == EPIPE || errno == ECONNRESET ? "the server died" : std::strerror(errno));
    return false;
  }
  out_at_ += static_cast<std::size_t>(sent);
  if (out_at_ == out_.size()) {
    out_.clear();
    out_at_ = 0;
  }
  return true;
}

bool RedisConnection::Receive() {
  char buffer[16384];
  const ssize_t received = recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT);
  if (received > 0) {
    in_.append(buffer, static_cast<std::size_t>(received));
    return true;
  }
  if (received == 0 || errno == ECONNRESET) {
    Fail("the server died");
  } else if (errno != EAGAIN && errno != EINTR) {
    Fail(std::strerror(errno));
  }
  return false;
}

void RedisConnection::Exchange(std::chrono::milliseconds longest) {
  if (!error_.empty()) return;
  const bool sent = Send();
  const bool received = Receive();
  if (sent || received || !error_.empty()) return;
  pollfd waiting{.fd = fd_, .events = POLLIN, .revents = 0};
  if (out_at_ < out_.size()) waiting.events |= POLLOUT;
  poll(&waiting, 1, static_cast<int>(longest.count()));
}

std::optional<std::string_view> RedisConnection::TakeLine() {
  const std::size_t end = in_.find("\r\n", in_at_);
  if (end == std::string::npos) {
    in_.erase(0, in_at_);
    in_at_ = 0;
    return std::nullopt;
  }
  const std::string_view line(in_.data() + in_at_, end - in_at_);
  in_at_ = end + 2;
  return line;
}

std::optional<bool> RedisConnection::TakeReply() {
  const auto line = TakeLine();
  if (!line) return std::nullopt;
  return !line->empty() && line->front() == '+';
}

std::int64_t RedisConnection::Dbsize(std::chrono::milliseconds longest) {
  out_ += "*1\r\n$6\r\nDBSIZE\r\n";
  const auto deadline = std::chrono::steady_clock::now() + longest;
  while (error_.empty() && std::chrono::steady_clock::now() < deadline) {
    Exchange(std::chrono::milliseconds(20));
    const auto line = TakeLine();
    if (!line) continue;
    std::int64_t keys = -1;
    if (line->size() < 2 || line->front() != ':') return -1;
    std::from_chars(line->data() + 1, line->data() + line->size(), keys);
    return keys;
  }
  return -1;
}

}  // namespace memgov::workloads
