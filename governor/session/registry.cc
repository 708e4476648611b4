#include "governor/session/registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/session/connection.h"

namespace memgov::session {

const std::string& Registry::TenantOf(const Ticket& ticket) {
  if (!ticket.tenant.empty()) return ticket.tenant;
  return ticket.container.empty() ? ticket.cgroup : ticket.container;
}

absl::Status Registry::Admit(const Ticket& ticket, core::Instant now, bool* hopeless) {
  const std::lock_guard lock(mutex_);
  *hopeless = false;
  ForgetIdleTenants(now);
  const std::string& name = TenantOf(ticket);
  const auto found = tenants_.find(name);
  const std::size_t others = found == tenants_.end() ? 0 : found->second.connections;
  if (others >= caps_.per_tenant) {
    *hopeless = others >= caps_.per_tenant + caps_.per_tenant / 8 + 1;
    return absl::ResourceExhaustedError(absl::StrCat(
        name, " has ", others, " connections to memgovd, at most ", caps_.per_tenant, " are served"));
  }
  if (connections_.size() >= caps_.connections) {
    *hopeless = connections_.size() >= caps_.connections + caps_.connections / 8 + 1;
    return absl::ResourceExhaustedError(
        absl::StrCat("memgovd has ", connections_.size(), " connections, its maximum"));
  }
  return absl::OkStatus();
}

// An attacker that comes back finds its budget as it left it.
void Registry::ForgetIdleTenants(core::Instant now) {
  if (tenants_.size() <= forget_above_) return;
  absl::erase_if(tenants_, [now](auto& entry) {
    Tenant& tenant = entry.second;
    return tenant.connections == 0 && tenant.work.Full(now) && tenant.reports.Full(now);
  });
  forget_above_ = std::max<std::size_t>(64, 2 * tenants_.size());
}

bool Registry::AddConnection(const std::shared_ptr<Connection>& connection) {
  const std::lock_guard lock(mutex_);
  const Ticket& ticket = connection->ticket();
  if (!connections_.try_emplace(ticket.cookie, connection).second) return false;
  ++tenants_[TenantOf(ticket)].connections;
  return true;
}

void Registry::RemoveConnection(const std::shared_ptr<Connection>& connection) {
  const std::lock_guard lock(mutex_);
  const Ticket& ticket = connection->ticket();
  const auto found = connections_.find(ticket.cookie);
  if (found == connections_.end() || found->second != connection) return;
  connections_.erase(found);
  --tenants_[TenantOf(ticket)].connections;
  if (connections_.empty()) no_connections_.notify_all();
}

std::vector<std::shared_ptr<Connection>> Registry::Connections() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Connection>> all;
  all.reserve(connections_.size());
  for (const auto& [cookie, connection] : connections_) all.push_back(connection);
  return all;
}

std::shared_ptr<Connection> Registry::FindConnection(std::uint64_t cookie) const {
  const std::lock_guard lock(mutex_);
  const auto found = connections_.find(cookie);
  return found == connections_.end() ? nullptr : found->second;
}

bool Registry::WaitForNoConnections(core::Duration within) const {
  std::unique_lock lock(mutex_);
  const auto none = [this] { return connections_.empty(); };
  if (within != core::Duration::max()) return no_connections_.wait_for(lock, within, none);
  no_connections_.wait(lock, none);
  return true;
}

core::Duration Registry::Work(const Ticket& ticket, core::Instant now, double work) {
  const std::lock_guard lock(mutex_);
  base::TokenBucket& budget = tenants_[TenantOf(ticket)].work;
  budget.Spend(now, work);
  return budget.UntilPositive(now);
}

bool Registry::MayReport(const Ticket& ticket, core::Instant now) {
  const std::lock_guard lock(mutex_);
  return tenants_[TenantOf(ticket)].reports.Take(now);
}

core::ClientId Registry::AddClient(const std::shared_ptr<Connection>& connection) {
  const std::lock_guard lock(mutex_);
  const core::ClientId client{++last_client_};
  by_client_[client] = connection;
  return client;
}

void Registry::RemoveClient(core::ClientId client) {
  const std::lock_guard lock(mutex_);
  by_client_.erase(client);
}

std::shared_ptr<Connection> Registry::FindClient(core::ClientId client) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_client_.find(client);
  return found == by_client_.end() ? nullptr : found->second;
}

}  // namespace memgov::session
