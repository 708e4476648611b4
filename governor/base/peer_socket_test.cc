// A peer that sends descriptors along, some of which would hold up whoever closes them.

#include "governor/base/peer_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "tests/cpp/send_descriptor.h"

namespace memgov::base {
namespace {

std::pair<int, int> Pair() {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  return {ends[0], ends[1]};
}

// A TCP connection with unsent bytes: to close it takes as long as its linger time. {ours, the peer's}
std::pair<int, int> LingeringSocket() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::listen(listener, 1), 0);
  EXPECT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const int sender = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::connect(sender, reinterpret_cast<sockaddr*>(&address), size), 0);
  const int reader = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  ::close(listener);
  ::fcntl(sender, F_SETFL, O_NONBLOCK);
  const std::string much(1 << 16, 'x');
  while (::send(sender, much.data(), much.size(), MSG_NOSIGNAL) > 0) {
  }
  const linger hours{.l_onoff = 1, .l_linger = 7200};
  EXPECT_EQ(::setsockopt(sender, SOL_SOCKET, SO_LINGER, &hours, sizeof hours), 0);
  return {sender, reader};
}

TEST(PeerSocket, DescriptorsThatComeAlongAreToldAndClosed) {
  const auto [ours, theirs] = Pair();
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  ASSERT_TRUE(SendAlong(theirs, pipe[1]));
  ::close(pipe[1]);
  char buffer[16];
  const Received received = ReceiveFrom(ours, buffer, sizeof buffer);
  EXPECT_EQ(received.size, 1);
  EXPECT_TRUE(received.descriptors);
  EXPECT_EQ(::read(pipe[0], buffer, 1), 0) << "its last copy is closed";
  EXPECT_LT(ReceiveFrom(ours, buffer, sizeof buffer).size, 0);
  EXPECT_EQ(errno, EAGAIN);
  ::close(pipe[0]);
  ::close(ours);
  ::close(theirs);
}

// Each would hang for two hours.
TEST(PeerSocket, NeitherReadingNorClosingWaitsForWhatWasSentAlong) {
  for (const bool read : {true, false}) {
    const auto [ours, theirs] = Pair();
    const auto [lingering, reader] = LingeringSocket();
    ASSERT_TRUE(SendAlong(theirs, lingering));
    ::close(lingering);
    char buffer[16];
    if (read) {
      EXPECT_TRUE(ReceiveFrom(ours, buffer, sizeof buffer).descriptors);
    }
    CloseOf(ours);
    EXPECT_LE(::read(theirs, buffer, 1), 0);
    ::close(theirs);
    ::close(reader);
  }
}

TEST(PeerSocket, WhatWasSentToThePeerIsStillRead) {
  const auto [ours, theirs] = Pair();
  ASSERT_EQ(::send(ours, "bye", 3, MSG_NOSIGNAL), 3);
  ASSERT_EQ(::send(theirs, "unread", 6, MSG_NOSIGNAL), 6);
  CloseOf(ours);
  std::array<char, 8> buffer;
  EXPECT_EQ(::read(theirs, buffer.data(), buffer.size()), 3);
  ::close(theirs);
}

TEST(PeerSocket, AListenerThatRefusesDescriptorsGetsNoneAlsoBeforeAccept) {
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = "memgov-peer-socket-" + std::to_string(::getpid());
  std::memcpy(address.sun_path + 1, name.data(), name.size());  // abstract
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  if (!RefuseDescriptors(listener)) GTEST_SKIP() << "this kernel cannot (before 6.16)";
  ASSERT_EQ(::listen(listener, 4), 0);
  const int client = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::connect(client, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_FALSE(SendAlong(client, listener));
  EXPECT_EQ(errno, EPERM);
  const int accepted = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  EXPECT_FALSE(SendAlong(client, listener));
  for (const int fd : {listener, client, accepted}) ::close(fd);
}

}  // namespace
}  // namespace memgov::base
