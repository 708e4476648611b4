// The gRPC side of clients: streams in, values out. The daemon hands in attested connections and gets back
// core values; no protobuf or HTTP/2 type leaves this room.
//
// The threat: every container may reach the socket, and a peer may send whatever it likes as fast as it can.
// What a connection can make this room do or hold is bounded by base/frame_guard.h, what a tenant can by
// registry.h; a peer that goes beyond loses its connection, one that is only fast is read more slowly.
//
// Threads: one session thread reads all connections and runs all callbacks. The methods may be called from
// any thread; they never wait for a peer. A callback must not block, and must not destroy the server or call
// Shutdown.
//
// The life of a client, as the daemon sees it:
//   Adopt(fd, ticket) -> on_attach(request) -> Welcome(id) or Refuse(id)
//                     -> on_report, on_outcome ...           (Send(directive) after Welcome)
//                     -> on_detached(id)                     exactly once for each on_attach, nothing after
//                     it
// Most connections that go wrong never reach on_attach: this room ends them and tells the peer why.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/units.h"

namespace memgov::session {

// Who is behind a connection, from whoever accepted it. The peer has no part in it.
struct Ticket {
  int pid = 0;
  std::string cgroup;     // below the root of the memory hierarchy
  std::string container;  // short name; empty outside of any
  std::string tenant;     // whose budgets this counts in; empty: the container, or the cgroup outside of any
  std::uint64_t cookie = 0;  // SO_COOKIE of the connection
  absl::Status refusal;      // not OK: the peer's stream ends with this status, whatever it says
};

// A client said Hello. Answer with Welcome or Refuse.
struct AttachRequest {
  core::ClientId client{};
  Ticket ticket;
  std::string name;     // what the process calls itself; without control characters, at most 256 bytes
  std::string runtime;  // "go1.22.4"
  std::string library;  // "memgov-c 0.1.0"
  core::Capabilities capabilities;
  core::ReleaseMode startup_release_mode = core::ReleaseMode::kUnknown;
};

struct WelcomeInfo {
  std::string cgroup;
  std::string container;
  bool enforcing = false;
  core::Duration report_every = std::chrono::seconds(1);
};

// A connection that has ended.
struct ConnectionEnd {
  Ticket ticket;
  absl::Status why;       // not OK: what the peer did wrong, or why it was not served or dropped
  bool is_fault = false;  // the peer did what no client does
};

class SessionServer {
 public:
  // All on the session thread. Post what takes time to another thread.
  struct Callbacks {
    std::function<void(AttachRequest)> on_attach;
    // At most 20 a second for a client and 1,000 for a tenant, the newest.
    std::function<void(core::ClientReport)> on_report;
    std::function<void(core::ClientOutcome)> on_outcome;  // at most one for each directive sent to the client
    std::function<void(core::ClientId, std::string why)> on_detached;
    // Exactly once for each adopted connection, after its on_detached, unless Adopt came after Shutdown
    // began. May be absent.
    std::function<void(ConnectionEnd)> on_closed;
  };

  struct Options {
    std::string version = "memgovd";               // Welcome.governor
    std::function<core::Instant()> now = nullptr;  // stamps received_at; any thread
    std::size_t max_connections = 20000;           // of all tenants together
    std::size_t max_per_tenant = 1024;
    core::Duration hello_within = std::chrono::seconds(5);  // from the start of the stream to Hello, and
                                                            // from the connection to the start of the stream
    core::Duration linger =
        std::chrono::seconds(1);  // for a peer to read why its stream ended; then it is cut
    std::size_t max_queued = 8;   // directives that wait for a client to read; one more and it is dropped
  };

  // Callbacks and Options.now are needed. Silences what protobuf writes to stderr about bad peers, for the
  // whole process.
  static absl::StatusOr<std::unique_ptr<SessionServer>> Start(Options options, Callbacks callbacks);

  // Shutdown(0) if that has not been called.
  ~SessionServer();

  SessionServer(const SessionServer&) = delete;
  SessionServer& operator=(const SessionServer&) = delete;

  // Serves the connected socket `fd` and owns it from now on. Descriptors that its peer sends along end it;
  // who accepts should refuse them (base/peer_socket.h). Over the caps the peer gets RESOURCE_EXHAUSTED; far
  // over them the connection is closed without a word.
  void Adopt(int fd, Ticket ticket);

  // Answers on_attach. A client that has left meanwhile is no error.
  void Welcome(core::ClientId client, const WelcomeInfo& info);

  // Ends the client's stream with `why` (PERMISSION_DENIED: not governed), before or after Welcome;
  // on_detached follows. Also for a client whose owner died. A client that has left meanwhile is no error.
  void Refuse(core::ClientId client, absl::Status why);

  // Cuts the connection with this cookie, whatever it is doing; on_detached and on_closed follow. One that
  // has ended meanwhile is no error.
  void Drop(std::uint64_t cookie, absl::Status why);

  // Sends a directive; `reason_text` is its reason as one sentence. Written at once from the calling thread
  // unless the client has not read what came before. False if it is certain that it will not arrive: the
  // client has left, was not welcomed, or does not read (then it is dropped, and on_detached follows).
  bool Send(const core::Directive& directive, const std::string& reason_text);

  // Ends all streams with UNAVAILABLE, waits at most about `within` for peers to notice, then cuts them off.
  // When it returns no callback runs any more. Not from a callback.
  void Shutdown(core::Duration within);

 private:
  class Impl;
  explicit SessionServer(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace memgov::session
