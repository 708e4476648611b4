// Who is who: which ticket belongs to the connection with descriptor N, and which session to a client id.
//
// gRPC names the connection of a stream only by "fd:N". That is as good as an identity because a stream keeps
// its connection's descriptor open, so that N cannot mean another connection meanwhile; the cookie of the
// socket is compared on top, and what does not match is refused.

#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "governor/core/client_event.h"
#include "governor/core/units.h"
#include "governor/session/server.h"

namespace memgov::session {

class Session;

// N of gRPC's peer name "fd:N"; nothing if it is not of that form.
std::optional<int> DescriptorOfPeer(absl::string_view peer);

// True if `fd` is a socket with this SO_COOKIE.
bool HasCookie(int fd, std::uint64_t cookie);

// All methods: any thread.
class Registry {
 public:
  struct Caps {
    std::size_t streams = 0;        // of all containers together
    std::size_t per_container = 0;  // connections
    core::Duration idle{};          // a connection without a stream is gone after this long
  };
  explicit Registry(Caps caps) : caps_(caps) {}

  // `fd` is from now on the connection of `ticket`; what it was before is forgotten. False: its container is
  // so far over its cap that the connection should be closed without a word.
  bool AddConnection(int fd, Ticket ticket, core::Instant now);

  // A stream began on `fd`. Its ticket, if it is the only stream there; UNAUTHENTICATED if the connection is
  // not known or not the same one any more, RESOURCE_EXHAUSTED over the caps. The refusal that a ticket may
  // carry is left to the caller. OK is to be followed by one CloseStream.
  absl::StatusOr<Ticket> OpenStream(int fd, const std::shared_ptr<Session>& session);
  void CloseStream(int fd, core::Instant now);

  core::ClientId AddClient(const std::shared_ptr<Session>& session);
  void RemoveClient(core::ClientId client);
  std::shared_ptr<Session> FindClient(core::ClientId client) const;  // nullptr: has left

  // All sessions with an open stream, welcomed or not.
  std::vector<std::shared_ptr<Session>> OpenSessions() const;

  // Counts session objects; they are gone when all their operations have completed.
  void SessionCreated();
  void SessionDestroyed();
  void WaitForNoSessions() const;

 private:
  struct Connection {
    Ticket ticket;
    bool open = false;  // has a stream
    core::Instant idle_since;
    std::weak_ptr<Session> session;
  };

  // The cap counts by container, because whoever is in one can create any number of cgroups below it.
  static const std::string& CapKey(const Ticket& ticket) {
    return ticket.container.empty() ? ticket.cgroup : ticket.container;
  }
  std::size_t CountConnections(const std::string& key, core::Instant now);

  const Caps caps_;

  mutable std::mutex mutex_;
  mutable std::condition_variable no_sessions_;
  // Guarded by mutex_:
  absl::flat_hash_map<int, Connection> by_fd_;  // also of closed connections, until the number is used again
  absl::flat_hash_map<std::string, absl::flat_hash_set<int>> by_container_;
  absl::flat_hash_map<core::ClientId, std::shared_ptr<Session>> by_client_;
  std::uint64_t last_client_ = 0;
  std::size_t open_streams_ = 0;
  std::size_t sessions_ = 0;
};

}  // namespace memgov::session
