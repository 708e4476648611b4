#include "governor/session/registry.h"

#include <sys/socket.h>

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "governor/session/session.h"

namespace memgov::session {

std::optional<int> DescriptorOfPeer(absl::string_view peer) {
  int fd = -1;
  if (!absl::ConsumePrefix(&peer, "fd:") || !absl::SimpleAtoi(peer, &fd) || fd < 0) return std::nullopt;
  return fd;
}

bool HasCookie(int fd, std::uint64_t cookie) {
  std::uint64_t actual = 0;
  socklen_t size = sizeof actual;
  return ::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &actual, &size) == 0 && actual == cookie;
}

// Connections of a container that are alive or may be. A connection is not heard of when it closes, but one
// without a stream is cut after a while, so old ones do not count.
std::size_t Registry::CountConnections(const std::string& key, core::Instant now) {
  const auto found = by_container_.find(key);
  if (found == by_container_.end()) return 0;
  absl::flat_hash_set<int>& fds = found->second;
  if (fds.size() >= caps_.per_container) {
    absl::erase_if(fds, [&](int fd) {
      const Connection& connection = by_fd_.at(fd);
      return !connection.open && now - connection.idle_since > caps_.idle;
    });
  }
  return fds.size();
}

bool Registry::AddConnection(int fd, Ticket ticket, core::Instant now) {
  const std::lock_guard lock(mutex_);
  if (const auto old = by_fd_.find(fd); old != by_fd_.end()) {
    const auto container = by_container_.find(CapKey(old->second.ticket));
    if (container != by_container_.end()) {
      container->second.erase(fd);
      if (container->second.empty()) by_container_.erase(container);
    }
    by_fd_.erase(old);
  }
  const std::string key = CapKey(ticket);
  const std::size_t others = CountConnections(key, now);
  // Between one and two times the cap there is a word of explanation.
  if (others >= 2 * caps_.per_container) return false;
  if (ticket.refusal.ok() && others >= caps_.per_container) {
    ticket.refusal = absl::ResourceExhaustedError(absl::StrCat(
        key, " has ", others, " connections to memgovd, at most ", caps_.per_container, " are served"));
  }
  by_container_[key].insert(fd);
  by_fd_[fd] = {.ticket = std::move(ticket), .open = false, .idle_since = now, .session = {}};
  return true;
}

absl::StatusOr<Ticket> Registry::OpenStream(int fd, const std::shared_ptr<Session>& session) {
  const std::lock_guard lock(mutex_);
  const auto found = by_fd_.find(fd);
  if (found == by_fd_.end() || !HasCookie(fd, found->second.ticket.cookie)) {
    return absl::UnauthenticatedError("memgovd cannot tell which process this connection belongs to");
  }
  Connection& connection = found->second;
  if (connection.open) return absl::ResourceExhaustedError("this connection has an Attach stream already");
  if (open_streams_ >= caps_.streams) {
    return absl::ResourceExhaustedError(
        absl::StrCat("memgovd serves ", open_streams_, " clients, its maximum"));
  }
  ++open_streams_;
  connection.open = true;
  connection.session = session;
  by_container_[CapKey(connection.ticket)].insert(fd);  // it may have counted as gone
  return connection.ticket;
}

void Registry::CloseStream(int fd, core::Instant now) {
  const std::lock_guard lock(mutex_);
  Connection& connection = by_fd_.at(fd);  // an open stream keeps the descriptor, and so the entry
  connection.open = false;
  connection.idle_since = now;
  connection.session.reset();
  --open_streams_;
}

core::ClientId Registry::AddClient(const std::shared_ptr<Session>& session) {
  const std::lock_guard lock(mutex_);
  const core::ClientId client{++last_client_};
  by_client_[client] = session;
  return client;
}

void Registry::RemoveClient(core::ClientId client) {
  std::shared_ptr<Session> last;  // released after the lock: its destructor counts itself down
  const std::lock_guard lock(mutex_);
  if (const auto found = by_client_.find(client); found != by_client_.end()) {
    last = std::move(found->second);
    by_client_.erase(found);
  }
}

std::shared_ptr<Session> Registry::FindClient(core::ClientId client) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_client_.find(client);
  return found == by_client_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<Session>> Registry::OpenSessions() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Session>> sessions;
  for (const auto& [fd, connection] : by_fd_) {
    if (std::shared_ptr<Session> session = connection.session.lock()) sessions.push_back(std::move(session));
  }
  return sessions;
}

void Registry::SessionCreated() {
  const std::lock_guard lock(mutex_);
  ++sessions_;
}

void Registry::SessionDestroyed() {
  const std::lock_guard lock(mutex_);
  if (--sessions_ == 0) no_sessions_.notify_all();
}

void Registry::WaitForNoSessions() const {
  std::unique_lock lock(mutex_);
  no_sessions_.wait(lock, [this] { return sessions_ == 0; });
}

}  // namespace memgov::session
