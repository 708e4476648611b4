// The daemon's side of connections: who is admitted, who has to leave, and whether they are still whom accept
// named.
//
// A connection belongs to the process that made it, wherever its descriptor is passed on to: that process's
// cgroup is credited, and whoever speaks for it speaks at its risk. When it exits the connection ends, also
// where a child keeps it open. When it is moved to another cgroup the connection ends too, and the next one
// is named anew.

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "governor/daemon.h"
#include "governor/identity/tenant.h"
#include "governor/kernel/watch_fd.h"

namespace memgov {
namespace {

constexpr auto kHouseEvery = std::chrono::milliseconds(250);

double SecondsOf(core::Duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string WhoOf(const std::string& tenant) { return tenant.empty() ? "other tenants" : "tenant " + tenant; }

}  // namespace

void Daemon::OnConnection(identity::AcceptedConnection connection) {
  session::Ticket ticket{.cookie = connection.cookie};
  ticket.tenant = connection.tenant;
  if (connection.peer.ok()) {
    const identity::Peer& peer = connection.peer->peer;
    ticket.pid = peer.pid;
    ticket.cgroup = peer.cgroup;
    ticket.container = peer.container;
    bool unheard = false;
    ticket.refusal = AdmitOwner(&connection, &unheard);
    if (unheard) return;
  } else {
    ticket.refusal = connection.peer.status();
    log_->Warn(EventLine(clock_.Now(), "refused").BoundBy(LogBudget::Cause::kConnection, connection.tenant),
               "refused a connection: " + TextOf(connection.peer.status()));
  }
  sessions_->Adopt(connection.fd.release(), std::move(ticket));
}

absl::Status Daemon::AdmitOwner(identity::AcceptedConnection* connection, bool* unheard) {
  const core::Instant now = clock_.Now();
  identity::AttestedPeer& attested = *connection->peer;
  const int pid = attested.peer.pid;
  const OwnerBudget::Answer answer =
      owner_budget_.Add(connection->cookie, connection->tenant, identity::ResidentOf(pid), now);
  for (const std::uint64_t cookie : answer.yields) {
    // Whose it is, is no business of a tenant.
    EndOwner(cookie, absl::ResourceExhaustedError(
                         "this connection gave way to one of a process that holds more, or whose tenant has "
                         "fewer"));
  }
  if (!answer.refusal.empty()) {
    *unheard = answer.unheard;
    log_->Write(EventLine(now, "refused")
                    .Add("pid", std::int64_t{pid})
                    .Add("cgroup", attested.peer.cgroup)
                    .Add("tenant", connection->tenant)
                    .BoundBy(LogBudget::Cause::kConnection, connection->tenant),
                fmt::format("refused pid {} ({}) of tenant {}: {}", pid, identity::CommandOf(pid),
                            connection->tenant, answer.refusal));
    return absl::ResourceExhaustedError(answer.refusal);
  }
  auto pidfd = kernel::WatchFd(io_, std::move(attested.pidfd), "a client's process");
  if (!pidfd.ok()) {  // no more can be served now; the peer tries again later
    owner_budget_.Remove(connection->cookie);
    log_->Warn(
        EventLine(now, "refused")
            .Add("pid", std::int64_t{pid})
            .Add("cgroup", attested.peer.cgroup)
            .Add("tenant", connection->tenant)
            .BoundBy(LogBudget::Cause::kConnection, connection->tenant),
        fmt::format("refused pid {} of tenant {}: {}", pid, connection->tenant, TextOf(pidfd.status())));
    return absl::UnavailableError(pidfd.status().message());
  }
  owners_.insert_or_assign(connection->cookie, Owner{.pidfd = *std::move(pidfd),
                                                     .peer = std::move(attested.peer),
                                                     .tenant = connection->tenant,
                                                     .client = std::nullopt});
  return absl::OkStatus();
}

// The owner goes with its connection, whether it ever had a client or not. What the peer did wrong is said.
void Daemon::OnConnectionEnded(const session::ConnectionEnd& end) {
  owners_.erase(end.ticket.cookie);
  owner_budget_.Remove(end.ticket.cookie);
  if (end.why.ok() || stopping_ || !end.ticket.refusal.ok()) return;  // why it was not admitted has been said
  if (end.is_fault) acceptor_->Charge(end.ticket.tenant, clock_.Now());
  log_->Write(EventLine(clock_.Now(), "dropped")
                  .Add("pid", std::int64_t{end.ticket.pid})
                  .Add("cgroup", end.ticket.cgroup)
                  .Add("tenant", end.ticket.tenant)
                  .BoundBy(LogBudget::Cause::kConnection, end.ticket.tenant),
              fmt::format("dropped the connection of pid {} in {}: {}", end.ticket.pid, end.ticket.cgroup,
                          TextOf(end.why)));
}

// One without a client has no stream that could be told.
void Daemon::EndOwner(std::uint64_t cookie, const absl::Status& why) {
  const auto owner = owners_.find(cookie);
  owner_budget_.Remove(cookie);
  if (owner == owners_.end()) return;
  if (owner->second.client) {
    sessions_->Refuse(*owner->second.client, why);
  } else {
    owners_.erase(owner);
    sessions_->Drop(cookie, why);
  }
}

// A forked child can keep the connection of a dead process open; the pidfd tells.
void Daemon::WatchOwner(std::uint64_t cookie) {
  owners_.at(cookie).pidfd.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                      [this, cookie](const boost::system::error_code& error) {
                                        if (error) return;
                                        EndOwner(cookie,
                                                 absl::AbortedError("the process that attached has exited"));
                                      });
}

void Daemon::KeepHouse(core::Instant now) {
  LookAtOwners(looks_.Due(now, owners_.size()));
  if (now < next_house_) return;
  next_house_ = now + kHouseEvery;
  for (const std::uint64_t cookie : owner_budget_.TakeOverdue(now)) {
    EndOwner(cookie, absl::DeadlineExceededError("it did not say Hello"));
  }

  for (const base::Tally::Line& refused : acceptor_->TakeRefused(now)) {
    EventLine line(now, "refused");
    line.Add("tenant", refused.who).Add("connections", static_cast<std::int64_t>(refused.count));
    const auto& limits = identity::ConnectRate::Options{}.limits;
    log_->Warn(
        std::move(line),
        fmt::format("{}: {} connections refused in the last {:.0f} s: more than {:g} a second, {:g} at "
                    "once, or than its share of {} a second",
                    WhoOf(refused.who), refused.count, SecondsOf(refused.over), limits.per_second,
                    limits.burst, limits.most));
  }
  log_->TellLeftOut(now);
}

void Daemon::LookAtOwners(std::size_t most) {
  for (std::size_t looks = std::min(most, owners_.size()); looks > 0; --looks) {
    auto owner = owners_.upper_bound(looked_at_);
    if (owner == owners_.end()) owner = owners_.begin();
    if (owner == owners_.end()) return;
    looked_at_ = owner->first;
    LookAtOwner(owner->first, owner->second);
  }
}

void Daemon::LookAtOwner(std::uint64_t cookie, const Owner& owner) {
  const int pid = owner.peer.pid;
  owner_budget_.SetSize(cookie, identity::ResidentOf(pid));
  const absl::StatusOr<std::string> cgroup = identity::CgroupOf(pid, attestor_);
  if (!cgroup.ok() || *cgroup == owner.peer.cgroup) return;  // an exit is told by its pidfd
  const std::string why =
      fmt::format("the process was moved from cgroup {} to {}; connect again", owner.peer.cgroup, *cgroup);
  EndOwner(cookie, absl::AbortedError(why));
}

}  // namespace memgov
