// One Attach stream, from its first byte to its last. A state machine over gRPC's asynchronous operations: at
// most one read, one write, one finish and one of each alarm are under way, and each keeps the session alive
// until it completes on the gRPC thread.

#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/session/intake.h"
#include "governor/session/registry.h"
#include "governor/session/server.h"
#include "governor/session/wire.h"
#include "memgov/v1/session.grpc.pb.h"

namespace memgov::session {

// Raw: messages arrive as bytes, so that a malformed one can be told from the end of the stream.
using AttachService = v1::Session::WithRawMethod_Attach<v1::Session::Service>;
using AttachStream = grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>;

// What comes out of the completion queue.
class Completion {
 public:
  virtual ~Completion() = default;
  virtual void Complete(bool ok) = 0;  // on the gRPC thread, once for each operation
};

// What all sessions share. Outlives them.
struct SessionShared {
  SessionShared(SessionServer::Options options_in, SessionServer::Callbacks callbacks_in)
      : options(std::move(options_in)),
        callbacks(std::move(callbacks_in)),
        registry({.streams = options.max_connections,
                  .per_container = options.max_per_container,
                  .idle = 2 * options.hello_within}) {}

  const SessionServer::Options options;
  const SessionServer::Callbacks callbacks;
  Registry registry;
  AttachService service;
  std::unique_ptr<grpc::ServerCompletionQueue> queue;
  std::atomic<bool> stopping =
      false;  // set before the open sessions are closed; one that begins later ends itself
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  explicit Session(SessionShared& shared);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Asks gRPC for the next stream; `matched` completes when it is there, and then Begin is due.
  void Request(Completion* matched);

  // Finds out who it is and starts to listen. The gRPC thread.
  void Begin();

  // See SessionServer. Any thread.
  void Welcome(const v1::GovernorMessage& message);
  bool Send(core::DirectiveId id, const v1::GovernorMessage& message);

  // What peers are told when the server stops.
  static absl::Status Stopping();

  // Ends the stream with `why`; the first caller's reason counts. Any thread.
  void Close(absl::Status why);

 private:
  // One kind of operation. Start under mutex_, and hand the result to gRPC as the tag.
  class Operation final : public Completion {
   public:
    Operation(Session* session, void (Session::*handler)(bool)) : session_(session), handler_(handler) {}
    void* Start() {
      keep_ = session_->shared_from_this();
      return static_cast<Completion*>(this);
    }
    void Complete(bool ok) override;

   private:
    Session* const session_;
    void (Session::*const handler_)(bool);
    std::shared_ptr<Session> keep_;
  };

  enum class Phase { kGreeting, kAttaching, kAttached, kClosing };

  void OnRead(bool ok);
  void OnWritten(bool ok);
  void OnFinished(bool ok);
  void OnHelloDue(bool ok);
  void OnPace(bool ok);
  void OnLingered(bool ok);

  void HandleIncoming();
  void Accept(AttachRequest request);
  void Accept(core::ClientReport report);
  void Accept(core::ClientOutcome outcome);
  void Deliver(const std::optional<core::ClientReport>& report);
  void ReadOn();

  bool Closing() const;
  bool EnqueueLocked(const v1::GovernorMessage& message);
  void WriteLocked(const grpc::ByteBuffer& bytes);
  void CloseLocked(absl::Status why);
  void FinishLocked();
  void SetAlarmLocked(std::optional<grpc::Alarm>& alarm, core::Duration after, Operation& operation);
  void Cut();

  // Constant after construction.
  SessionShared& shared_;

  // gRPC's own; operations of different kinds may be started by different threads.
  grpc::ServerContext context_;
  AttachStream stream_{&context_};
  Operation read_{this, &Session::OnRead};
  Operation write_{this, &Session::OnWritten};
  Operation finish_{this, &Session::OnFinished};
  Operation hello_due_{this, &Session::OnHelloDue};
  Operation pace_{this, &Session::OnPace};
  Operation lingered_{this, &Session::OnLingered};

  // The gRPC thread alone, after Begin.
  Ticket ticket_;
  std::optional<int> counted_fd_;  // present: to be given back by CloseStream
  grpc::ByteBuffer incoming_;
  Intake intake_;
  bool reading_paused_ = false;
  bool pacing_ = false;                   // the pace alarm is set
  std::optional<core::ClientId> client_;  // present: on_attach was called, and on_detached is due

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  Phase phase_ = Phase::kGreeting;
  bool writing_ = false;
  std::deque<grpc::ByteBuffer> waiting_;           // for the write under way
  absl::btree_set<core::DirectiveId> unanswered_;  // sent, no outcome yet
  absl::Status why_;                               // once kClosing
  std::optional<int> fd_;  // to cut a peer that does not read; open while context_ lives
  std::optional<grpc::Alarm> hello_alarm_;
  std::optional<grpc::Alarm> pace_alarm_;
  std::optional<grpc::Alarm> linger_alarm_;
};

}  // namespace memgov::session
