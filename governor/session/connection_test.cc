// One connection on the thread of the test, whose peer speaks in bytes.

#include "governor/session/connection.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "governor/session/attach_test_support.h"
#include "governor/session/wire.h"

namespace memgov::session {
namespace {

constexpr core::Instant kNow{std::chrono::seconds(100)};

TEST(Connection, AReportThatWaitsForItsTenantsTurnGoesBeforeTheOutcome) {
  std::vector<std::string> said;
  core::ClientId client{};
  ConnectionShared shared({.now = [] { return kNow; }},
                          {.on_attach = [&](AttachRequest request) { client = request.client; },
                           .on_report = [&](const core::ClientReport&) { said.emplace_back("report"); },
                           .on_outcome = [&](const core::ClientOutcome&) { said.emplace_back("outcome"); },
                           .on_detached = [](core::ClientId, const std::string&) {},
                           .on_closed = {}});
  const Ticket ticket{.cgroup = "/a", .cookie = 1};
  while (shared.registry.MayReport(ticket, kNow)) {  // its turns go to its other processes
  }
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  const auto connection = std::make_shared<Connection>(shared, ends[0], ticket, absl::OkStatus());
  ASSERT_TRUE(shared.registry.AddConnection(connection));
  const auto send = [&](const std::string& bytes) {
    ASSERT_EQ(::send(ends[1], bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  };
  send(BytesOfAnAttach());
  connection->Start();
  ASSERT_NE(client, core::ClientId{});
  connection->Welcome(WelcomeToWire({.cgroup = "/a"}, "test").SerializeAsString());
  core::Directive directive;
  directive.id = core::DirectiveId{1};
  directive.client = client;
  directive.deadline = std::chrono::seconds(2);
  directive.action = core::Release{.bytes = 4096, .longest_stall = {}};
  ASSERT_TRUE(connection->Send(directive.id, DirectiveToWire(directive, "").SerializeAsString()));

  v1::ClientMessage report;
  report.mutable_report()->set_live_bytes(1);
  send(BytesOf(report));
  shared.io.poll();
  EXPECT_TRUE(said.empty()) << "its tenant has no turn";
  v1::ClientMessage outcome;
  outcome.mutable_outcome()->set_id(1);
  outcome.mutable_outcome()->set_status(v1::Outcome::STATUS_DONE);
  send(BytesOf(outcome));
  shared.io.restart();
  shared.io.poll();
  EXPECT_EQ(said, (std::vector<std::string>{"report", "outcome"}));
  connection->End(absl::OkStatus());
  ::close(ends[1]);
}

}  // namespace
}  // namespace memgov::session
