// What a well-behaved client and the daemon see of each other.

#include "governor/session/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "governor/session/server_test_support.h"

namespace memgov::session {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

TEST_F(ServerTest, HelloWelcomeReportDirectiveOutcome) {
  StartServer();
  Pair pair = Connect();
  pair.ticket.container = "redis.service";
  const Ticket ticket = pair.ticket;
  Client client(*server_, std::move(pair));
  client.Attach().Hello("web\x1b");

  const AttachRequest request = recorder_.WaitForAttached();
  EXPECT_EQ(request.name, "web");
  EXPECT_EQ(request.ticket.pid, ::getpid());
  EXPECT_EQ(request.ticket.cgroup, "/test/a");
  EXPECT_EQ(request.ticket.container, "redis.service");
  EXPECT_EQ(request.ticket.cookie, ticket.cookie);

  server_->Welcome(request.client, {.cgroup = "/test/a", .container = "redis.service", .enforcing = true});
  const auto welcome = client.Read();
  ASSERT_TRUE(welcome && welcome->has_welcome());
  EXPECT_EQ(welcome->welcome().cgroup(), "/test/a");
  EXPECT_EQ(welcome->welcome().report_every_ms(), 1000u);
  EXPECT_EQ(welcome->welcome().governor(), "memgovd test");

  const core::Instant before = Now();
  client.Report(1 << 20);
  const auto report = recorder_.WaitUntil([](const Record& r) { return !r.reports.empty(); }).reports[0];
  EXPECT_EQ(report.client, request.client);
  EXPECT_EQ(report.live, 1 << 20);
  EXPECT_GE(report.received_at, before);

  EXPECT_TRUE(server_->Send(Directive(request.client, 7), "because"));
  const auto directive = client.Read();
  ASSERT_TRUE(directive && directive->has_directive());
  EXPECT_EQ(directive->directive().id(), 7u);
  EXPECT_EQ(directive->directive().release().bytes(), 4096u);
  EXPECT_EQ(directive->directive().reason().text(), "because");

  client.Outcome(7);
  const auto outcome = recorder_.WaitUntil([](const Record& r) { return !r.outcomes.empty(); }).outcomes[0];
  EXPECT_EQ(outcome.client, request.client);
  EXPECT_EQ(outcome.directive, core::DirectiveId{7});
  EXPECT_EQ(outcome.status, core::OutcomeStatus::kDone);

  client.WritesDone();
  EXPECT_EQ(recorder_.WaitForDetached(request.client), "the client left");
  EXPECT_TRUE(client.Status().ok());
}

TEST_F(ServerTest, ALaterWelcomeTellsThatTheModeHasChanged) {
  StartServer({});
  Client client(*server_);
  const core::ClientId id = AttachAndWelcome(client);
  server_->Welcome(id, {.cgroup = "/test/a", .container = "a", .enforcing = false});
  const auto welcome = client.Read();
  ASSERT_TRUE(welcome && welcome->has_welcome());
  EXPECT_FALSE(welcome->welcome().enforcing());
}

TEST_F(ServerTest, DirectivesArriveInOrder) {
  StartServer({.max_queued = 1000});
  Client client(*server_);
  const core::ClientId id = AttachAndWelcome(client);
  for (std::uint64_t i = 1; i <= 200; ++i) ASSERT_TRUE(server_->Send(Directive(id, i), ""));
  for (std::uint64_t i = 1; i <= 200; ++i) ASSERT_EQ(client.Read()->directive().id(), i);
}

TEST_F(ServerTest, NothingIsSentBeforeWelcomeOrAfterTheEnd) {
  StartServer();
  Client client(*server_);
  client.Attach().Hello();
  const core::ClientId id = recorder_.WaitForAttached().client;
  EXPECT_FALSE(server_->Send(Directive(id, 1), ""));
  server_->Welcome(id, {});
  EXPECT_TRUE(client.Read()->has_welcome());
  EXPECT_TRUE(server_->Send(Directive(id, 2), ""));
  EXPECT_EQ(client.Read()->directive().id(), 2u) << "the first was not kept for later";
  client.WritesDone();
  recorder_.WaitForDetached(id);
  EXPECT_FALSE(server_->Send(Directive(id, 3), ""));
  EXPECT_FALSE(server_->Send(Directive(core::ClientId{4711}, 4), "")) << "never attached";
  server_->Welcome(id, {});
  server_->Refuse(id, absl::PermissionDeniedError("too late"));
}

TEST_F(ServerTest, RefuseTellsWhyAndDetaches) {
  StartServer();
  Client client(*server_);
  client.Attach().Hello();
  const core::ClientId id = recorder_.WaitForAttached().client;
  server_->Refuse(id, absl::PermissionDeniedError("cgroup /test/a is not governed"));
  const grpc::Status status = client.Status();
  EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(status.error_message(), "cgroup /test/a is not governed");
  EXPECT_EQ(recorder_.WaitForDetached(id), "cgroup /test/a is not governed");
}

TEST_F(ServerTest, RefuseAlsoEndsAWelcomedClient) {
  StartServer();
  Client client(*server_);
  const core::ClientId id = AttachAndWelcome(client);
  server_->Refuse(id, absl::AbortedError("its process has exited"));
  EXPECT_EQ(client.Status().error_code(), StatusCode::ABORTED);
  EXPECT_EQ(recorder_.WaitForDetached(id), "its process has exited");
}

TEST_F(ServerTest, DropEndsAConnectionWhateverItDoes) {
  StartServer();
  Pair silent = Connect(), attached = Connect();
  const std::uint64_t cookie = silent.ticket.cookie, other = attached.ticket.cookie;
  server_->Adopt(silent.server, silent.ticket);
  Client client(*server_, std::move(attached));
  const core::ClientId id = AttachAndWelcome(client);
  server_->Drop(cookie, absl::ResourceExhaustedError("others need its place"));
  server_->Drop(other, absl::ResourceExhaustedError("others need its place"));
  server_->Drop(other, absl::ResourceExhaustedError("twice"));
  EXPECT_EQ(recorder_.WaitForDetached(id), "others need its place");
  const Record record = recorder_.WaitUntil([](const Record& r) { return r.closed.size() >= 2; });
  EXPECT_EQ(record.closed[0].ticket.cookie, cookie);
  EXPECT_EQ(record.closed[1].why.message(), "others need its place");
  for (const ConnectionEnd& end : record.closed) EXPECT_FALSE(end.is_fault) << "it gave way to others";
  EXPECT_EQ(client.Status().error_code(), StatusCode::UNAVAILABLE);
  ::close(silent.client);
}

TEST_F(ServerTest, APeerThatWasNotIdentifiedIsToldWhy) {
  StartServer();
  Pair pair = Connect();
  pair.ticket.refusal = absl::UnauthenticatedError("run memgovd with hostPID: true");
  Client client(*server_, std::move(pair));
  const grpc::Status status = client.Attach().Hello().Status();
  EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(status.error_message(), "run memgovd with hostPID: true");
  EXPECT_TRUE(recorder_.WaitUntil([](const Record&) { return true; }).attached.empty());
}

TEST_F(ServerTest, AConnectionEndsWithItsCallAndAChannelComesBackOnlyByAnother) {
  StartServer();
  Client client(*server_);
  const core::ClientId id = AttachAndWelcome(client);
  client.WritesDone();
  EXPECT_TRUE(client.Status().ok());
  recorder_.WaitForDetached(id);
  EXPECT_EQ(client.Attach().Hello().Status().error_code(), StatusCode::UNAVAILABLE);
  const Record record = recorder_.WaitUntil([](const Record& r) { return !r.closed.empty(); });
  EXPECT_EQ(record.attached.size(), 1u);
  EXPECT_TRUE(record.closed[0].why.ok()) << record.closed[0].why;
}

TEST_F(ServerTest, TheSecondStreamOfAConnectionIsRefused) {
  StartServer();
  Client client(*server_);
  const core::ClientId id = AttachAndWelcome(client);
  grpc::ClientContext context;
  const auto second = client.stub().Attach(&context);
  v1::GovernorMessage message;
  EXPECT_FALSE(second->Read(&message));
  const grpc::Status status = second->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("has an Attach stream already"));
  EXPECT_TRUE(server_->Send(Directive(id, 1), "")) << "the first is not disturbed";
  EXPECT_EQ(client.Read()->directive().id(), 1u);
}

TEST_F(ServerTest, TwoHundredComeAndGoAndLeaveNothing) {
  StartServer();
  for (int i = 0; i < 200; ++i) {
    Client client(*server_);
    const core::ClientId id = AttachAndWelcome(client);
    if (i % 3 == 0) client.WritesDone();
    if (i % 3 == 1) client.Die();
    if (i % 3 == 2) client.Attach();  // cancels the stream, and tries another one
    recorder_.WaitForDetached(id);
  }
  const Record record = recorder_.WaitUntil([](const Record& r) { return r.detached.size() >= 200; });
  EXPECT_EQ(record.attached.size(), 200u);
  EXPECT_EQ(record.detached.size(), 200u);
  Client client(*server_);
  AttachAndWelcome(client);
}

TEST_F(ServerTest, ShutdownTellsEverybody) {
  StartServer();
  Client welcomed(*server_), waiting(*server_);
  const core::ClientId id = AttachAndWelcome(welcomed);
  waiting.Attach().Hello();
  recorder_.WaitForAttached(2);
  server_->Shutdown(std::chrono::seconds(30));
  EXPECT_EQ(recorder_.WaitForDetached(id), "memgovd stops");
  EXPECT_EQ(welcomed.Status().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(waiting.Status().error_code(), StatusCode::UNAVAILABLE);
  EXPECT_FALSE(server_->Send(Directive(id, 1), ""));
  Client late(*server_);
  EXPECT_EQ(late.Attach().Hello().Status().error_code(), StatusCode::UNAVAILABLE);
  server_->Shutdown(std::chrono::seconds(30));
}

TEST_F(ServerTest, ServersFollowOneAnother) {
  for (int i = 0; i < 5; ++i) {
    StartServer();
    Client client(*server_);
    AttachAndWelcome(client);
    server_.reset();
    EXPECT_EQ(client.Status().error_code(), StatusCode::UNAVAILABLE);
  }
}

}  // namespace
}  // namespace memgov::session
