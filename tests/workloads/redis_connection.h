// A pipelined connection to redis over a Unix socket that never blocks for longer than it is told: a server
// that the kernel stalls or kills must leave its client able to say so.

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace memgov::workloads {

// Not thread-safe. After a failure error() says what happened, and every call does nothing.
class RedisConnection {
 public:
  RedisConnection() = default;
  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;
  ~RedisConnection();

  bool Connect(const std::string& path);

  // Queues SET key value; Exchange sends it. Each gets one reply, in order.
  void AppendSet(std::string_view key, std::string_view value);

  // Sends and receives what goes at once; when nothing does, waits up to `longest` for it.
  void Exchange(std::chrono::milliseconds longest);

  // The next reply: true for success, false for an error reply; nothing when none has arrived.
  std::optional<bool> TakeReply();

  // The number of keys, or -1. Nothing else may be in flight.
  std::int64_t Dbsize(std::chrono::milliseconds longest);

  const std::string& error() const { return error_; }

 private:
  void Fail(std::string_view what);
  bool Send();     // true when bytes moved
  bool Receive();  // true when bytes moved
  std::optional<std::string_view> TakeLine();

  int fd_ = -1;
  std::string error_;
  std::string out_;
  std::size_t out_at_ = 0;
  std::string in_;
  std::size_t in_at_ = 0;
};

}  // namespace memgov::workloads
