// One connection, from its adoption to its end: the socket, the guard, the HTTP/2 library and the state of
// its Attach call.
//
// The session thread reads and runs the callbacks. Other threads send: they take the connection's lock, which
// nobody holds for longer than it takes to read 4 KiB, and write at once, so that a directive does not wait
// behind what other peers send.

#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "governor/base/grpc_socket.h"
#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/session/due.h"
#include "governor/session/intake.h"
#include "governor/session/registry.h"
#include "governor/session/server.h"

namespace memgov::session {

// What all connections share. Outlives them.
struct ConnectionShared {
  ConnectionShared(SessionServer::Options options_in, SessionServer::Callbacks callbacks_in);

  const SessionServer::Options options;
  const SessionServer::Callbacks callbacks;
  Registry registry;
  boost::asio::io_context io{1};  // the session thread's
  DueList due;
  std::array<char, 4096> buffer;  // of the session thread; small, so that everybody has a turn
};

class Connection final : public std::enable_shared_from_this<Connection>, private base::CallHandler {
 public:
  // `ticket.refusal` or `admitted` not OK: that is all the peer will hear. Start is due.
  Connection(ConnectionShared& shared, int fd, Ticket ticket, const absl::Status& admitted);
  ~Connection() override = default;

  const Ticket& ticket() const { return ticket_; }

  // The session thread:
  void Start();
  void OnDue();
  void Stop();                 // memgovd stops: says so and ends
  void End(absl::Status why);  // `why` is no fault of the peer's

  // See SessionServer. Any thread.
  void Welcome(const std::string& message);
  void Refuse(absl::Status why);
  bool Send(core::DirectiveId id, const std::string& message);

 private:
  // One call for each connection. kSilent: it has not begun. kGreeting: a call, no Hello. kAttaching:
  // on_attach was called. kAttached: welcomed. kClosing: the call ends. kDraining: all is said; the peer may
  // still read it. kEnded: the socket is closed.
  enum class Phase { kSilent, kGreeting, kAttaching, kAttached, kClosing, kDraining, kEnded };
  struct Detached {
    core::ClientId client;
    std::string why;
  };
  using Event = std::variant<AttachRequest, core::ClientReport, core::ClientOutcome, Detached>;

  // base::CallHandler, with the lock held.
  absl::Status OnCall(base::CallId call, absl::string_view path) override;
  void OnMessage(base::CallId call, absl::string_view bytes) override;
  void OnBadMessage(base::CallId call, absl::Status why) override;
  void OnHalfClosed(base::CallId call, bool in_message) override;
  void OnCallOver(base::CallId call) override;

  void Accept(AttachRequest request);
  void Accept(core::ClientReport report);
  void Accept(core::ClientOutcome outcome);

  void WaitToRead();
  void Read();
  bool ReadPiece();
  absl::Status Take(absl::string_view bytes);
  void Attend();
  void Deliver();
  void DeliverReport(const std::optional<core::ClientReport>& report);
  void Blame(absl::Status why);
  void EndFor(const absl::Status& fault);  // of the peer's, unless OK
  void CloseLocked(absl::Status why);
  bool WriteLocked(const std::string& message);
  void DrainLocked();
  void AttendSoon();
  core::Instant NextDue() const;

  // Constant after construction.
  ConnectionShared& shared_;
  const Ticket ticket_;

  // The session thread alone.
  boost::asio::posix::stream_descriptor socket_;
  Intake intake_;
  bool waits_to_read_ = false;
  bool waits_to_write_ = false;
  core::Instant read_again_;                  // not before
  core::Instant report_again_;                // not before
  core::Instant due_ = core::Instant::max();  // its entry in shared_.due

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  int fd_;  // socket_'s, -1 once it is closed
  base::GrpcSocket peer_;
  base::CallId call_ = 0;  // the Attach call; 0: none
  Phase phase_ = Phase::kSilent;
  core::Instant deadline_;                         // of the phase: Hello, or the end of lingering
  std::optional<core::ClientId> client_;           // on_attach was or will be called, and on_detached is due
  absl::btree_set<core::DirectiveId> unanswered_;  // sent, no outcome yet
  core::DirectiveId forgotten_{};  // the newest that is in unanswered_ no longer without an outcome
  absl::Status why_;               // once kClosing: what the peer is told
  absl::Status blame_;             // what is told of its end
  bool is_fault_ = false;          // ... and it is the peer's fault
  std::vector<Event> events_;      // for the callbacks
};

}  // namespace memgov::session
