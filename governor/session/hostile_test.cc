// Clients that lie, hang, flood and die: each gets its reason if it listens, and hurts nobody else.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "governor/session/attach_test_support.h"
#include "governor/session/intake.h"
#include "governor/session/server.h"
#include "governor/session/server_test_support.h"
#include "tests/cpp/send_descriptor.h"

namespace memgov::session {
namespace {

using grpc::StatusCode;
using std::chrono::milliseconds;
using testing::HasSubstr;

// What the server says before it closes.
std::string ReadToEnd(int fd) {
  std::string said;
  char buffer[4096];
  pollfd readable{.fd = fd, .events = POLLIN, .revents = 0};
  while (::poll(&readable, 1, 60'000) == 1) {
    const ssize_t size = ::read(fd, buffer, sizeof buffer);
    if (size <= 0) break;
    said.append(buffer, static_cast<std::size_t>(size));
  }
  return said;
}

class HostileTest : public ServerTest {
 protected:
  void ExpectInvalid(Client& client, const std::string& message) {
    const grpc::Status status = client.Status();
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(message));
  }

  // Whether a client can still be served.
  void ExpectServing() {
    Pair pair = Connect();
    pair.ticket.tenant = "somebody else";
    Client client(*server_, std::move(pair));
    const core::ClientId id = AttachAndWelcome(client);
    EXPECT_TRUE(server_->Send(Directive(id, 1'000'000), ""));
    EXPECT_EQ(client.Read()->directive().id(), 1'000'000u);
  }

  // Blocks until the server has closed the connection.
  static bool ClosedByServer(int fd) {
    pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
    char buffer[4096];
    while (::poll(&entry, 1, 60'000) == 1) {
      const ssize_t n = ::read(fd, buffer, sizeof buffer);
      if (n == 0 || (n < 0 && errno == ECONNRESET)) return true;
    }
    return false;
  }
};

// Whoever attaches and hangs up at full speed is not to make us hold all of it at once.
TEST_F(HostileTest, OfManyWhoAttachedAndLeftOneIsHeldAtATime) {
  const std::string said = BytesOfAnAttach();
  std::promise<void> all_adopted;
  std::promise<void> all_over;
  constexpr int kPeers = 100;
  int attached = 0;
  int closed = 0;
  int most = 0;
  SessionServer::Callbacks callbacks = recorder_.Callbacks();
  callbacks.on_attach = [&, adopted = all_adopted.get_future().share()](AttachRequest) {
    adopted.wait();
    most = std::max(most, ++attached - closed);
  };
  callbacks.on_closed = [&](const ConnectionEnd& end) {
    EXPECT_EQ(end.why, absl::OkStatus());
    if (++closed == kPeers) all_over.set_value();
  };
  auto server = SessionServer::Start({.now = Now}, std::move(callbacks));
  ASSERT_TRUE(server.ok()) << server.status();
  for (int i = 0; i < kPeers; ++i) {
    Pair pair = Connect();
    ASSERT_EQ(::send(pair.client, said.data(), said.size(), MSG_NOSIGNAL), static_cast<ssize_t>(said.size()));
    ::close(pair.client);
    (*server)->Adopt(pair.server, std::move(pair.ticket));
  }
  all_adopted.set_value();
  all_over.get_future().wait();
  EXPECT_EQ(attached, kPeers);
  EXPECT_EQ(most, 1);
}

TEST_F(HostileTest, NoHelloInTime) {
  StartServer({.hello_within = std::chrono::seconds(1)});
  Client client(*server_);
  client.Attach();
  ExpectInvalid(client, "no hello in time");
}

TEST_F(HostileTest, SomethingElseBeforeHello) {
  StartServer();
  Client client(*server_);
  client.Attach().Report(1);
  ExpectInvalid(client, "the first message must be hello");
}

TEST_F(HostileTest, TwoHellos) {
  StartServer();
  Client client(*server_);
  const core::ClientId id = AttachAndWelcome(client);
  client.Hello();
  ExpectInvalid(client, "hello: a second one");
  EXPECT_THAT(recorder_.WaitForDetached(id), HasSubstr("hello: a second one"));
}

TEST_F(HostileTest, AbsurdValuesNameTheirField) {
  StartServer();
  Client client(*server_);
  AttachAndWelcome(client);
  client.Report(~std::uint64_t{0});
  ExpectInvalid(client, "report.live_bytes: 18446744073709551615 bytes are more than 1 PiB");
}

TEST_F(HostileTest, AnEmptyMessage) {
  StartServer();
  Client client(*server_);
  AttachAndWelcome(client);
  client.Say({});
  ExpectInvalid(client, "body: neither hello, report nor outcome");
}

TEST_F(HostileTest, AMessageThatIsNotOfTheProtocol) {
  StartServer();
  Client client(*server_);
  client.Attach().Hello("\xff\xfe");  // not UTF-8, which proto3 forbids
  ExpectInvalid(client, "not a memgov.v1.ClientMessage");
}

TEST_F(HostileTest, AnOutcomeForADirectiveThatWasNeverSent) {
  StartServer();
  Client client(*server_);
  AttachAndWelcome(client);
  client.Outcome(99);
  ExpectInvalid(client, "outcome.id: 99");
}

TEST_F(HostileTest, AnOutcomeForSomebodyElsesDirective) {
  StartServer();
  Client liar(*server_), victim(*server_);
  AttachAndWelcome(liar);
  const core::ClientId id = AttachAndWelcome(victim);
  ASSERT_TRUE(server_->Send(Directive(id, 5), ""));
  liar.Outcome(5);
  ExpectInvalid(liar, "outcome.id: 5");
  victim.Outcome(5);
  const Record record = recorder_.WaitUntil([](const Record& r) { return !r.outcomes.empty(); });
  ASSERT_EQ(record.outcomes.size(), 1u);
  EXPECT_EQ(record.outcomes[0].client, id);
}

TEST_F(HostileTest, TwoOutcomesForOneDirective) {
  StartServer();
  Client client(*server_);
  const core::ClientId id = AttachAndWelcome(client);
  ASSERT_TRUE(server_->Send(Directive(id, 5), ""));
  client.Outcome(5).Outcome(5);
  ExpectInvalid(client, "outcome.id: 5");
  EXPECT_EQ(recorder_.WaitUntil([](const Record& r) { return !r.detached.empty(); }).outcomes.size(), 1u);
}

TEST_F(HostileTest, AHugeMessage) {
  StartServer();
  Client client(*server_);
  const core::ClientId id = AttachAndWelcome(client);
  client.Hello(std::string(1 << 20, 'x'));
  EXPECT_EQ(client.Status().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  recorder_.WaitForDetached(id);
  ExpectServing();
}

TEST_F(HostileTest, ACompressedMessage) {
  StartServer();
  Client client(*server_);
  client.Attach(/*compressed=*/true).Hello(std::string(60'000, 'x'));
  EXPECT_EQ(client.Status().error_code(), StatusCode::UNIMPLEMENTED);
  ExpectServing();
}

TEST_F(HostileTest, AClientThatDoesNotReadIsDropped) {
  StartServer();
  Client client(*server_);
  const core::ClientId id = AttachAndWelcome(client);
  const std::string text(32 << 10, 'x');  // fills windows and socket buffers soon
  std::uint64_t sent = 0;
  while (sent < 100'000 && server_->Send(Directive(id, ++sent), text)) {
  }
  EXPECT_LT(sent, 100'000u);
  EXPECT_THAT(recorder_.WaitForDetached(id), HasSubstr("does not read"));
  ExpectServing();
}

TEST_F(HostileTest, AClientThatDoesNotReadDoesNotHoldUpItsEnd) {
  StartServer({.linger = milliseconds(10), .max_queued = 100'000});
  Client client(*server_);
  const core::ClientId id = AttachAndWelcome(client);
  for (std::uint64_t i = 1; i < 100; ++i)
    ASSERT_TRUE(server_->Send(Directive(id, i), std::string(32 << 10, 'x')));
  server_->Refuse(id, absl::AbortedError("its process has exited"));
  EXPECT_EQ(recorder_.WaitForDetached(id), "its process has exited");
}

TEST_F(HostileTest, AClientThatDoesNotReadDoesNotHoldUpShutdown) {
  StartServer({.max_queued = 100'000});
  Client client(*server_);
  const core::ClientId id = AttachAndWelcome(client);
  for (std::uint64_t i = 1; i < 100; ++i)
    ASSERT_TRUE(server_->Send(Directive(id, i), std::string(32 << 10, 'x')));
  server_->Shutdown(milliseconds(10));
  EXPECT_EQ(recorder_.WaitForDetached(id), "memgovd stops");
}

TEST_F(HostileTest, AClientThatIsKilledWhileItActs) {
  StartServer();
  Client victim(*server_), neighbour(*server_);
  const core::ClientId id = AttachAndWelcome(victim);
  const core::ClientId other = AttachAndWelcome(neighbour);
  ASSERT_TRUE(server_->Send(Directive(id, 1), ""));
  ASSERT_TRUE(victim.Read());
  victim.Die();
  EXPECT_EQ(recorder_.WaitForDetached(id), "the client left");
  EXPECT_FALSE(server_->Send(Directive(id, 2), ""));
  EXPECT_TRUE(server_->Send(Directive(other, 3), ""));
  EXPECT_EQ(neighbour.Read()->directive().id(), 3u);
}

TEST_F(HostileTest, AFloodOfReportsIsThinnedAndTheLastOneArrives) {
  StartServer();
  Client client(*server_);
  const core::ClientId id = AttachAndWelcome(client);
  constexpr int kFlood = 2000;
  const core::Instant before = Now();
  for (int i = 1; i <= kFlood; ++i) client.Report(static_cast<std::uint64_t>(i));
  const Record record = recorder_.WaitUntil(
      [](const Record& r) { return !r.reports.empty() && r.reports.back().live == kFlood; });
  const auto windows = (Now() - before) / Intake::kWindow;
  EXPECT_LE(record.reports.size(), static_cast<std::size_t>(windows) + 2);
  EXPECT_TRUE(server_->Send(Directive(id, 1), ""));
  EXPECT_EQ(client.Read()->directive().id(), 1u);
}

TEST_F(HostileTest, ReportsAndOutcomesKeepTheirOrder) {
  StartServer();
  Client client(*server_);
  const core::ClientId id = AttachAndWelcome(client);
  ASSERT_TRUE(server_->Send(Directive(id, 1), ""));
  client.Report(1).Report(2).Outcome(1);
  const Record record = recorder_.WaitUntil([](const Record& r) { return !r.outcomes.empty(); });
  EXPECT_EQ(record.reports.back().live, 2);
}

TEST_F(HostileTest, TooManyOfOneTenant) {
  StartServer({.max_per_tenant = 2});
  const auto connect = [this](const char* tenant) {
    Pair pair = Connect();
    pair.ticket.tenant = tenant;
    return std::make_unique<Client>(*server_, std::move(pair));
  };
  const auto a = connect("greedy"), b = connect("greedy"), c = connect("greedy");
  AttachAndWelcome(*a);
  AttachAndWelcome(*b);
  const grpc::Status status = c->Attach().Hello().Status();
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("greedy has 2 connections"));
  // Far over the cap there is no word of explanation.
  std::vector<Pair> more;
  for (int i = 0; i < 3; ++i) {
    more.push_back(Connect());
    more.back().ticket.tenant = "greedy";
    server_->Adopt(more.back().server, more.back().ticket);
  }
  EXPECT_TRUE(ClosedByServer(more.back().client));
  for (const Pair& pair : more) ::close(pair.client);
  const auto other = connect("modest");
  AttachAndWelcome(*other);
}

TEST_F(HostileTest, AConnectionThatNeverSpeaksIsClosed) {
  StartServer({.hello_within = milliseconds(50)});
  const Pair pair = Connect();
  server_->Adopt(pair.server, pair.ticket);
  EXPECT_TRUE(ClosedByServer(pair.client));
  ::close(pair.client);
}

TEST_F(HostileTest, AConnectionThatDoesNotSpeakHttp2IsClosedAtOnce) {
  StartServer({.hello_within = std::chrono::hours(1)});
  std::size_t closed = 0;
  for (const std::string& garbage :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(5000, '\xff'),
        std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + std::string(500, '\x7f')}) {
    const Pair pair = Connect();
    server_->Adopt(pair.server, pair.ticket);
    EXPECT_GT(::write(pair.client, garbage.data(), garbage.size()), 0);
    EXPECT_TRUE(ClosedByServer(pair.client));
    ::close(pair.client);
    ++closed;
    const Record record = recorder_.WaitUntil([&](const Record& r) { return r.closed.size() >= closed; });
    EXPECT_EQ(record.closed.back().why.code(), absl::StatusCode::kInvalidArgument);
  }
  ExpectServing();
}

// Each could hold up whoever closes it (base/peer_socket.h).
TEST_F(HostileTest, DescriptorsThatComeAlongEndTheConnection) {
  StartServer();
  Pair pair = Connect();
  const int raw = ::dup(pair.client);
  Client client(*server_, std::move(pair));
  const core::ClientId id = AttachAndWelcome(client);
  ASSERT_TRUE(SendAlong(raw, raw));
  EXPECT_THAT(recorder_.WaitForDetached(id), HasSubstr("descriptors"));
  const Record record = recorder_.WaitUntil([](const Record& r) { return !r.closed.empty(); });
  EXPECT_TRUE(record.closed[0].is_fault);
  ::close(raw);
}

// A client that attached and then breaks the protocol is over, also if it says nothing more.
TEST_F(HostileTest, AProtocolErrorOfAnAttachedClientEndsIt) {
  StartServer();
  Pair pair = Connect();
  const int raw = ::dup(pair.client);
  Client client(*server_, std::move(pair));
  const core::ClientId id = AttachAndWelcome(client);
  const std::string data_on_stream_0("\0\0\1\0\0\0\0\0\0x", 10);
  EXPECT_EQ(::write(raw, data_on_stream_0.data(), data_on_stream_0.size()), 10);
  EXPECT_THAT(recorder_.WaitForDetached(id), HasSubstr("not valid HTTP/2"));
  ::close(raw);
}

TEST_F(HostileTest, AClientThatWillNeverReadIsOver) {
  StartServer();
  Pair pair = Connect();
  const int raw = ::dup(pair.client);
  Client client(*server_, std::move(pair));
  const core::ClientId id = AttachAndWelcome(client);
  ::shutdown(raw, SHUT_RD);
  server_->Send(Directive(id, 1), "");
  recorder_.WaitForDetached(id);
  ::close(raw);
}

TEST_F(HostileTest, AFloodEndsItsConnectionAndIsToldWhy) {
  StartServer();
  const Pair pair = Connect();
  server_->Adopt(pair.server, pair.ticket);
  const std::string ping("\0\0\x08\x06\0\0\0\0\0xxxxxxxx", 17);
  std::string flood = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string("\0\0\0\x04\0\0\0\0\0", 9);
  for (int i = 0; i < 200; ++i) flood += ping;
  // All at once, so that nothing was served before.
  EXPECT_EQ(::write(pair.client, flood.data(), flood.size()), static_cast<ssize_t>(flood.size()));
  EXPECT_THAT(ReadToEnd(pair.client), HasSubstr("too many PING"));
  const Record record = recorder_.WaitUntil([](const Record& r) { return !r.closed.empty(); });
  EXPECT_EQ(record.closed[0].why.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(record.closed[0].why.message()), HasSubstr("too many PING"));
  EXPECT_TRUE(record.closed[0].is_fault);
  ::close(pair.client);
  ExpectServing();
}

TEST_F(HostileTest, EachConnectionIsClosedExactlyOnce) {
  StartServer({.max_per_tenant = 3});
  std::vector<Pair> pairs;
  for (int i = 0; i < 20; ++i) {
    pairs.push_back(Connect());
    server_->Adopt(pairs.back().server, pairs.back().ticket);
  }
  for (const Pair& pair : pairs) ::close(pair.client);
  const Record record = recorder_.WaitUntil([](const Record& r) { return r.closed.size() >= 20; });
  std::set<std::uint64_t> cookies;
  for (const ConnectionEnd& end : record.closed) cookies.insert(end.ticket.cookie);
  EXPECT_EQ(cookies.size(), 20u);
  server_.reset();
  EXPECT_EQ(recorder_.WaitUntil([](const Record&) { return true; }).closed.size(), 20u);
}

}  // namespace
}  // namespace memgov::session
