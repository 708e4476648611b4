#include "client/c/testing/rude_peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace memgov::testing {
namespace {

sockaddr_un Address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), std::min(path.size(), sizeof(address.sun_path) - 1));
  return address;
}

}  // namespace

int ListenOn(const std::string& path, int backlog) {
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = Address(path);
  unlink(path.c_str());
  if (bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listener, backlog) != 0) {
    std::abort();
  }
  return listener;
}

RudePeer::RudePeer(const std::string& path, std::string answer, Then then)
    : listener_(ListenOn(path)), answer_(std::move(answer)), then_(then), thread_([this] { Run(); }) {}

RudePeer::~RudePeer() {
  shutdown(listener_, SHUT_RDWR);
  thread_.join();
  close(listener_);
  for (const int fd : kept_) close(fd);
}

void RudePeer::Run() {
  for (;;) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    ++connections_;
    char first[64];
    if (recv(client, first, sizeof(first), 0) > 0) send(client, answer_.data(), answer_.size(), MSG_NOSIGNAL);
    if (then_ == Then::kClose) {
      close(client);
    } else {
      kept_.push_back(client);
    }
  }
}

Relay::Relay(const std::string& front, const std::string& back)
    : listener_(ListenOn(front)), back_(back), thread_([this] { Run(); }) {}

Relay::~Relay() {
  stopping_ = true;
  shutdown(listener_, SHUT_RDWR);
  thread_.join();
  close(listener_);
}

void Relay::Run() {
  while (!stopping_) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    Serve(client);
    close(client);
  }
}

void Relay::Serve(int client) {
  const int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = Address(back_);
  bool open = connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  char buffer[4096];
  while (open && !stopping_ && !cut_) {
    if (hangs_) {
      usleep(1000);
      continue;
    }
    pollfd polled[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
    if (poll(polled, 2, 20) <= 0) continue;
    if (polled[0].revents != 0) {
      const ssize_t got = recv(client, buffer, sizeof(buffer), 0);
      open = got > 0 && send(server, buffer, static_cast<std::size_t>(got), MSG_NOSIGNAL) == got;
    }
    if (open && polled[1].revents != 0) {
      const ssize_t got = recv(server, buffer, sizeof(buffer), 0);
      const int pass = std::min<int>(static_cast<int>(got), allowance_);
      open = got > 0 && send(client, buffer, static_cast<std::size_t>(pass), MSG_NOSIGNAL) == pass;
      if (allowance_ < (1 << 29)) {
        allowance_ -= pass;
        open = open && allowance_ > 0;
      }
    }
  }
  allowance_ = 1 << 30;
  cut_ = false;
  close(server);
}

std::string Frame(unsigned char type, unsigned char flags, std::uint32_t stream, const std::string& payload) {
  const auto byte = [](std::uint32_t value, int shift) { return static_cast<char>((value >> shift) & 0xff); };
  const auto size = static_cast<std::uint32_t>(payload.size());
  std::string frame = {byte(size, 16), byte(size, 8), byte(size, 0), static_cast<char>(type),
                       static_cast<char>(flags)};
  for (const int shift : {24, 16, 8, 0}) frame += byte(stream, shift);
  return frame + payload;
}

std::string EmptySettings() { return Frame(4, 0, 0, ""); }

}  // namespace memgov::testing
