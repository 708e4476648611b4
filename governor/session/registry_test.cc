#include "governor/session/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace memgov::session {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

constexpr core::Instant kStart{};

TEST(DescriptorOfPeer, ReadsOnlyWhatGrpcWritesForDescriptors) {
  EXPECT_EQ(DescriptorOfPeer("fd:0"), 0);
  EXPECT_EQ(DescriptorOfPeer("fd:4711"), 4711);
  for (const char* peer :
       {"", "fd:", "fd:-1", "fd:x", "fd:1x", "fd:99999999999", "unix:", "ipv4:127.0.0.1:1"}) {
    EXPECT_EQ(DescriptorOfPeer(peer), std::nullopt) << peer;
  }
}

// Real sockets, because the registry looks at their cookies. Only their descriptors matter.
class RegistryTest : public testing::Test {
 protected:
  ~RegistryTest() override {
    for (const int fd : fds_) ::close(fd);
  }

  int Socket() {
    fds_.push_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return fds_.back();
  }

  static Ticket TicketFor(int fd, std::string container, std::string cgroup = "/a") {
    Ticket ticket;
    ticket.cgroup = std::move(cgroup);
    ticket.container = std::move(container);
    socklen_t size = sizeof ticket.cookie;
    EXPECT_EQ(::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &ticket.cookie, &size), 0);
    return ticket;
  }

  bool Add(int fd, const std::string& container, core::Instant now = kStart) {
    return registry_.AddConnection(fd, TicketFor(fd, container), now);
  }

  std::vector<int> fds_;
  Registry registry_{{.streams = 3, .per_container = 2, .idle = seconds(10)}};
};

TEST_F(RegistryTest, TracesAStreamToTheTicketOfItsConnection) {
  const int fd = Socket();
  ASSERT_TRUE(Add(fd, "redis"));
  EXPECT_EQ(registry_.OpenStream(fd, nullptr)->container, "redis");
}

TEST_F(RegistryTest, RefusesUnknownConnections) {
  EXPECT_EQ(registry_.OpenStream(-1, nullptr).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(registry_.OpenStream(Socket(), nullptr).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(RegistryTest, RefusesADescriptorThatBecameAnotherConnection) {
  const int fd = Socket();
  ASSERT_TRUE(Add(fd, "redis"));
  const int other = Socket();
  ASSERT_EQ(::dup2(other, fd), fd);
  EXPECT_EQ(registry_.OpenStream(fd, nullptr).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(RegistryTest, AConnectionHasOneStreamAtATime) {
  const int fd = Socket();
  ASSERT_TRUE(Add(fd, "redis"));
  ASSERT_TRUE(registry_.OpenStream(fd, nullptr).ok());
  EXPECT_EQ(registry_.OpenStream(fd, nullptr).status().code(), absl::StatusCode::kResourceExhausted);
  registry_.CloseStream(fd, kStart);
  EXPECT_TRUE(registry_.OpenStream(fd, nullptr).ok());
}

TEST_F(RegistryTest, OverItsCapAContainerIsToldSoAndFarOverItNothing) {
  ASSERT_TRUE(Add(Socket(), "redis"));
  ASSERT_TRUE(Add(Socket(), "redis"));
  const int third = Socket();
  ASSERT_TRUE(Add(third, "redis"));
  const absl::Status refusal = registry_.OpenStream(third, nullptr)->refusal;
  EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refusal.message()), HasSubstr("redis has 2 connections"));
  EXPECT_TRUE(Add(Socket(), "redis"));
  EXPECT_FALSE(Add(Socket(), "redis"));
  const int neighbour = Socket();
  ASSERT_TRUE(Add(neighbour, "nginx"));
  EXPECT_TRUE(registry_.OpenStream(neighbour, nullptr)->refusal.ok());
}

TEST_F(RegistryTest, OutsideOfContainersTheCapIsOfTheCgroup) {
  for (const char* cgroup : {"/a", "/a", "/b"}) {
    const int fd = Socket();
    ASSERT_TRUE(registry_.AddConnection(fd, TicketFor(fd, "", cgroup), kStart));
    EXPECT_TRUE(registry_.OpenStream(fd, nullptr)->refusal.ok());
  }
}

TEST_F(RegistryTest, ConnectionsWithoutAStreamCountForAWhileOnly) {
  const int first = Socket(), second = Socket(), third = Socket(), fourth = Socket();
  ASSERT_TRUE(Add(first, "redis"));
  ASSERT_TRUE(Add(second, "redis"));
  ASSERT_TRUE(registry_.OpenStream(first, nullptr).ok());
  ASSERT_TRUE(Add(third, "redis", kStart + seconds(11)));
  EXPECT_TRUE(registry_.OpenStream(third, nullptr)->refusal.ok()) << "the second is gone by now";
  ASSERT_TRUE(Add(fourth, "redis", kStart + seconds(22)));
  EXPECT_FALSE(registry_.OpenStream(fourth, nullptr)->refusal.ok()) << "the first and third have streams";
}

TEST_F(RegistryTest, ADescriptorThatIsUsedAgainCountsOnce) {
  const int fd = Socket();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Add(fd, "redis"));
  EXPECT_TRUE(registry_.OpenStream(fd, nullptr)->refusal.ok());
}

TEST_F(RegistryTest, CapsTheStreamsOfAllContainers) {
  for (const char* container : {"a", "b", "c"}) {
    const int fd = Socket();
    ASSERT_TRUE(Add(fd, container));
    ASSERT_TRUE(registry_.OpenStream(fd, nullptr).ok());
  }
  const int fd = Socket();
  ASSERT_TRUE(Add(fd, "d"));
  EXPECT_EQ(registry_.OpenStream(fd, nullptr).status().code(), absl::StatusCode::kResourceExhausted);
  registry_.CloseStream(fds_[0], kStart);
  EXPECT_TRUE(registry_.OpenStream(fd, nullptr).ok());
}

TEST_F(RegistryTest, ClientIdsAreNeverReused) {
  const core::ClientId first = registry_.AddClient(nullptr);
  registry_.RemoveClient(first);
  EXPECT_NE(registry_.AddClient(nullptr), first);
  EXPECT_EQ(registry_.FindClient(first), nullptr);
}

}  // namespace
}  // namespace memgov::session
