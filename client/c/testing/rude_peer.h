// Peers that a client must survive: one that answers with bytes of our choice, or not at all; and a relay
// that cuts or stops the connection between a client and a governor.

#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace memgov::testing {

// Listens on a Unix socket. -1 in the constructor's way aborts: a test cannot go on without.
int ListenOn(const std::string& path, int backlog = 64);

// Accepts, sends `answer` after the client's first bytes, and then keeps the connection open (reading nothing
// more) or closes it. Counts the connections.
class RudePeer {
 public:
  enum class Then { kKeepOpen, kClose };
  RudePeer(const std::string& path, std::string answer, Then then);
  ~RudePeer();
  int connections() const { return connections_; }

 private:
  void Run();

  const int listener_;
  const std::string answer_;
  const Then then_;
  std::atomic<int> connections_ = 0;
  std::vector<int> kept_;
  std::thread thread_;
};

// Forwards between the clients of `front` and the server at `back`, one connection at a time.
class Relay {
 public:
  Relay(const std::string& front, const std::string& back);
  ~Relay();

  // Cuts the connection when `bytes` more have passed from the server to the client, in the middle of
  // whatever it is.
  void CutAfter(int bytes) { allowance_ = bytes; }
  // Cuts it now.
  void Cut() { cut_ = true; }
  // Passes nothing on, either way, while true: the governor hangs.
  void Hang(bool hangs) { hangs_ = hangs; }

 private:
  void Run();
  void Serve(int client);

  const int listener_;
  const std::string back_;
  std::atomic<int> allowance_ = 1 << 30;
  std::atomic<bool> cut_ = false;
  std::atomic<bool> hangs_ = false;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

// HTTP/2 in the raw, for answers: a frame, and the server's first SETTINGS.
std::string Frame(unsigned char type, unsigned char flags, std::uint32_t stream, const std::string& payload);
std::string EmptySettings();

}  // namespace memgov::testing
