// Who is there: the connections of each tenant and what they may still do, and which connection a client id
// belongs to.
//
// A tenant is whoever accept named (Ticket.tenant). Its connections share what it may make this room do: a
// budget of work for reading, and of reports that go on. A tenant that attacks uses up its own.

#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "governor/base/token_bucket.h"
#include "governor/core/client_event.h"
#include "governor/core/units.h"
#include "governor/session/server.h"

namespace memgov::session {

class Connection;

// What the connections of one tenant share. Guarded by the registry's lock.
struct Tenant {
  // Work is a read, a frame, or a KiB. A thousand clients that report each second need two thousand; reading
  // as much as is allowed costs some 3 % of a core.
  static constexpr double kWorkPerSecond = 4000;
  static constexpr double kReportsPerSecond = 1000;

  std::size_t connections = 0;
  base::TokenBucket work{kWorkPerSecond, kWorkPerSecond};
  base::TokenBucket reports{kReportsPerSecond, 2 * kReportsPerSecond};
};

// All methods: any thread.
class Registry {
 public:
  struct Caps {
    std::size_t connections = 0;  // of all tenants together
    std::size_t per_tenant = 0;
  };
  explicit Registry(Caps caps) : caps_(caps) {}

  // The name under which a connection counts.
  static const std::string& TenantOf(const Ticket& ticket);

  // OK: count it by AddConnection. RESOURCE_EXHAUSTED: over a cap; *hopeless: so far over it that the
  // connection should be closed without a word.
  absl::Status Admit(const Ticket& ticket, core::Instant now, bool* hopeless);

  // False: there is one with its cookie already.
  bool AddConnection(const std::shared_ptr<Connection>& connection);
  void RemoveConnection(const std::shared_ptr<Connection>& connection);
  std::vector<std::shared_ptr<Connection>> Connections() const;
  std::shared_ptr<Connection> FindConnection(std::uint64_t cookie) const;  // nullptr: has ended

  // False: there are still some after `within`; Duration::max() waits for ever.
  bool WaitForNoConnections(core::Duration within) const;

  // Takes from the tenant's budget for reading. How long its connections should not be read from `now` on.
  core::Duration Work(const Ticket& ticket, core::Instant now, double work);

  // Whether another report of the tenant may go on now.
  bool MayReport(const Ticket& ticket, core::Instant now);

  core::ClientId AddClient(const std::shared_ptr<Connection>& connection);
  void RemoveClient(core::ClientId client);
  std::shared_ptr<Connection> FindClient(core::ClientId client) const;  // nullptr: has left

 private:
  void ForgetIdleTenants(core::Instant now);

  const Caps caps_;

  mutable std::mutex mutex_;
  mutable std::condition_variable no_connections_;
  // Guarded by mutex_:
  absl::flat_hash_map<std::uint64_t, std::shared_ptr<Connection>> connections_;  // by cookie
  absl::flat_hash_map<std::string, Tenant> tenants_;  // with a connection, or a budget that is not full again
  std::size_t forget_above_ = 64;                     // tenants; then the idle ones are looked for
  absl::flat_hash_map<core::ClientId, std::shared_ptr<Connection>> by_client_;
  std::uint64_t last_client_ = 0;
};

}  // namespace memgov::session
