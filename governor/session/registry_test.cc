#include "governor/session/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "governor/session/connection.h"

namespace memgov::session {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr core::Instant kStart{seconds(100)};

class RegistryTest : public testing::Test {
 protected:
  static Ticket TicketOf(const std::string& tenant) {
    Ticket ticket;
    ticket.tenant = tenant;
    return ticket;
  }

  std::shared_ptr<Connection> Add(const std::string& tenant) {
    Ticket ticket = TicketOf(tenant);
    ticket.cookie = ++last_cookie_;
    auto connection = std::make_shared<Connection>(shared_, -1, std::move(ticket), absl::OkStatus());
    registry_.AddConnection(connection);
    return connection;
  }

  absl::Status Admit(const std::string& tenant, core::Instant now = kStart) {
    return registry_.Admit(TicketOf(tenant), now, &hopeless_);
  }

  ConnectionShared shared_{{.now = [] { return kStart; }}, {}};
  Registry registry_{{.connections = 5, .per_tenant = 3}};
  bool hopeless_ = false;
  std::uint64_t last_cookie_ = 0;
};

TEST_F(RegistryTest, ATenantIsNamedByAcceptOrByItsContainerOrCgroup) {
  Ticket ticket;
  ticket.cgroup = "/a/b";
  EXPECT_EQ(Registry::TenantOf(ticket), "/a/b");
  ticket.container = "redis";
  EXPECT_EQ(Registry::TenantOf(ticket), "redis");
  ticket.tenant = "/a";
  EXPECT_EQ(Registry::TenantOf(ticket), "/a");
}

TEST_F(RegistryTest, OneTenantOverItsCapDoesNotShutOutAnother) {
  std::vector<std::shared_ptr<Connection>> greedy;
  for (int i = 0; i < 3; ++i) greedy.push_back(Add("greedy"));
  EXPECT_THAT(Admit("greedy").message(), HasSubstr("greedy has 3 connections"));
  EXPECT_FALSE(hopeless_) << "it may be told";
  EXPECT_TRUE(Admit("modest").ok());
  greedy.push_back(Add("greedy"));
  EXPECT_FALSE(Admit("greedy").ok());
  EXPECT_TRUE(hopeless_);
  registry_.RemoveConnection(greedy[0]);
  registry_.RemoveConnection(greedy[1]);
  EXPECT_TRUE(Admit("greedy").ok());
}

TEST_F(RegistryTest, AllTenantsTogetherHaveACap) {
  std::vector<std::shared_ptr<Connection>> all;
  for (const char* tenant : {"a", "b", "c", "d", "e"}) all.push_back(Add(tenant));
  EXPECT_THAT(Admit("f").message(), HasSubstr("5 connections, its maximum"));
  registry_.RemoveConnection(all[0]);
  EXPECT_TRUE(Admit("f").ok());
}

TEST_F(RegistryTest, TheConnectionsOfATenantShareItsBudgetOfWork) {
  const Ticket a = TicketOf("a"), b = TicketOf("b");
  EXPECT_EQ(registry_.Work(a, kStart, Tenant::kWorkPerSecond - 1), core::Duration::zero());
  EXPECT_GT(registry_.Work(a, kStart, Tenant::kWorkPerSecond), milliseconds(900));
  EXPECT_EQ(registry_.Work(b, kStart, 100), core::Duration::zero()) << "another one has its own";
  EXPECT_EQ(registry_.Work(a, kStart + seconds(2), 1), core::Duration::zero());
}

TEST_F(RegistryTest, WhoComesBackFindsItsBudgetAsItLeftIt) {
  const auto connection = Add("a");
  registry_.Work(TicketOf("a"), kStart, 10 * Tenant::kWorkPerSecond);
  registry_.RemoveConnection(connection);
  for (int i = 0; i < 500; ++i) {
    const auto other = Add("other " + std::to_string(i));
    registry_.RemoveConnection(other);
    EXPECT_TRUE(Admit("x", kStart + seconds(1)).ok());
  }
  EXPECT_GT(registry_.Work(TicketOf("a"), kStart + seconds(1), 1), seconds(7));
}

TEST_F(RegistryTest, ReportsOfATenantAreBounded) {
  int passed = 0;
  for (int i = 0; i < 10'000; ++i) passed += registry_.MayReport(TicketOf("a"), kStart) ? 1 : 0;
  EXPECT_EQ(passed, 2 * Tenant::kReportsPerSecond);
  EXPECT_TRUE(registry_.MayReport(TicketOf("b"), kStart));
  EXPECT_TRUE(registry_.MayReport(TicketOf("a"), kStart + milliseconds(2)));
}

TEST_F(RegistryTest, TwoConnectionsWithOneCookieAreNotCountedTwice) {
  const auto first = Add("a");
  --last_cookie_;
  Ticket ticket = TicketOf("b");
  ticket.cookie = last_cookie_ + 1;
  const auto second = std::make_shared<Connection>(shared_, -1, ticket, absl::OkStatus());
  EXPECT_FALSE(registry_.AddConnection(second));
  registry_.RemoveConnection(second);
  EXPECT_EQ(registry_.FindConnection(ticket.cookie), first);
}

TEST_F(RegistryTest, FindsAConnectionByItsCookie) {
  const auto connection = Add("a");
  EXPECT_EQ(registry_.FindConnection(last_cookie_), connection);
  registry_.RemoveConnection(connection);
  EXPECT_EQ(registry_.FindConnection(last_cookie_), nullptr);
}

TEST_F(RegistryTest, ClientIdsAreNeverUsedAgain) {
  const auto connection = Add("a");
  const core::ClientId first = registry_.AddClient(connection);
  EXPECT_EQ(registry_.FindClient(first), connection);
  registry_.RemoveClient(first);
  EXPECT_EQ(registry_.FindClient(first), nullptr);
  EXPECT_NE(registry_.AddClient(connection), first);
}

TEST_F(RegistryTest, WaitsForTheLastConnection) {
  EXPECT_TRUE(registry_.WaitForNoConnections(core::Duration::zero()));
  const auto connection = Add("a");
  EXPECT_FALSE(registry_.WaitForNoConnections(milliseconds(1)));
  registry_.RemoveConnection(connection);
  EXPECT_TRUE(registry_.WaitForNoConnections(core::Duration::zero()));
}

}  // namespace
}  // namespace memgov::session
