#include "governor/session/session.h"

#include <sys/socket.h>

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"

namespace memgov::session {
namespace {

// Directives whose outcome may still come. A client that owes more is not going to answer the oldest.
constexpr std::size_t kMaxUnanswered = 256;

template <typename Message>
grpc::ByteBuffer Serialize(const Message& message) {
  grpc::ByteBuffer bytes;
  bool own = false;
  // Fails only for messages of 2 GiB and more.
  (void)grpc::SerializationTraits<Message>::Serialize(message, &bytes, &own);
  return bytes;
}

// The codes of the two are the same by definition.
grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

gpr_timespec After(core::Duration duration) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(duration.count(), GPR_TIMESPAN));
}

}  // namespace

absl::Status Session::Stopping() { return absl::UnavailableError("memgovd stops"); }

void Session::Operation::Complete(bool ok) {
  std::shared_ptr<Session> self;
  {
    const std::lock_guard lock(session_->mutex_);
    self = std::move(keep_);
  }
  (self.get()->*handler_)(ok);
}

Session::Session(SessionShared& shared) : shared_(shared) { shared_.registry.SessionCreated(); }

Session::~Session() { shared_.registry.SessionDestroyed(); }

void Session::Request(Completion* matched) {
  shared_.service.RequestAttach(&context_, &stream_, shared_.queue.get(), shared_.queue.get(), matched);
}

void Session::Begin() {
  const std::optional<int> fd = DescriptorOfPeer(context_.peer());
  absl::StatusOr<Ticket> ticket = shared_.registry.OpenStream(fd.value_or(-1), shared_from_this());
  absl::Status refusal = ticket.status();
  if (ticket.ok()) {
    counted_fd_ = fd;
    ticket_ = *std::move(ticket);
    refusal = ticket_.refusal;
  }
  const std::lock_guard lock(mutex_);
  fd_ = fd;
  if (shared_.stopping) return CloseLocked(Stopping());
  if (!refusal.ok()) return CloseLocked(std::move(refusal));
  SetAlarmLocked(hello_alarm_, shared_.options.hello_within, hello_due_);
  stream_.Read(&incoming_, read_.Start());
}

// --- from the client
// -----------------------------------------------------------------------------------------

void Session::OnRead(bool ok) {
  if (!ok) return Close(absl::OkStatus());  // the client ended the stream or is gone
  if (Closing()) return;
  Deliver(intake_.Roll(shared_.options.now()));
  intake_.Count();
  HandleIncoming();
  ReadOn();
}

// Starts the next read, or sees to it that it starts when the window ends.
void Session::ReadOn() {
  const std::lock_guard lock(mutex_);
  if (phase_ == Phase::kClosing) return;
  reading_paused_ = intake_.full();
  if (!reading_paused_) stream_.Read(&incoming_, read_.Start());
  if ((reading_paused_ || intake_.holds()) && !pacing_) {
    pacing_ = true;
    SetAlarmLocked(pace_alarm_, intake_.UntilRoll(shared_.options.now()), pace_);
  }
}

void Session::OnPace(bool /*ok*/) {
  pacing_ = false;
  if (Closing()) return;
  Deliver(intake_.Roll(shared_.options.now()));
  if (reading_paused_) return ReadOn();
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::kClosing && intake_.holds()) {
    pacing_ = true;
    SetAlarmLocked(pace_alarm_, intake_.UntilRoll(shared_.options.now()), pace_);
  }
}

void Session::HandleIncoming() {
  v1::ClientMessage message;
  if (!grpc::SerializationTraits<v1::ClientMessage>::Deserialize(&incoming_, &message).ok()) {
    return Close(absl::InvalidArgumentError("not a memgov.v1.ClientMessage"));
  }
  absl::StatusOr<ClientSaid> said = FromWire(message);
  if (!said.ok()) return Close(said.status());
  if (!client_ && !std::holds_alternative<AttachRequest>(*said)) {
    return Close(absl::InvalidArgumentError("the first message must be hello"));
  }
  std::visit([this](auto&& body) { Accept(std::forward<decltype(body)>(body)); }, *std::move(said));
}

void Session::Accept(AttachRequest request) {
  if (client_) return Close(absl::InvalidArgumentError("hello: a second one; a stream has exactly one"));
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kClosing) return;
    phase_ = Phase::kAttaching;
    hello_alarm_->Cancel();
  }
  client_ = shared_.registry.AddClient(shared_from_this());
  request.client = *client_;
  request.ticket = ticket_;
  shared_.callbacks.on_attach(std::move(request));
}

void Session::Accept(core::ClientReport report) {
  report.client = *client_;
  report.received_at = shared_.options.now();
  Deliver(intake_.Offer(report));
}

void Session::Accept(core::ClientOutcome outcome) {
  {
    const std::lock_guard lock(mutex_);
    if (unanswered_.erase(outcome.directive) == 0) {
      return CloseLocked(absl::InvalidArgumentError(
          absl::StrCat("outcome.id: ", static_cast<std::uint64_t>(outcome.directive),
                       " is no directive that was sent to this client and is still open")));
    }
  }
  Deliver(intake_.TakeHeld());
  outcome.client = *client_;
  outcome.received_at = shared_.options.now();
  shared_.callbacks.on_outcome(std::move(outcome));
}

void Session::Deliver(const std::optional<core::ClientReport>& report) {
  if (report) shared_.callbacks.on_report(*report);
}

void Session::OnHelloDue(bool ok) {
  if (!ok) return;  // cancelled: it came
  const std::lock_guard lock(mutex_);
  if (phase_ == Phase::kGreeting) CloseLocked(absl::InvalidArgumentError("no hello in time"));
}

// --- to the client
// -------------------------------------------------------------------------------------------

void Session::Welcome(const v1::GovernorMessage& message) {
  const std::lock_guard lock(mutex_);
  // A later one tells a client that its mode has changed.
  if (phase_ != Phase::kAttaching && phase_ != Phase::kAttached) return;
  phase_ = Phase::kAttached;
  EnqueueLocked(message);
}

bool Session::Send(core::DirectiveId id, const v1::GovernorMessage& message) {
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::kAttached) return false;
  unanswered_.insert(id);
  if (unanswered_.size() > kMaxUnanswered) unanswered_.erase(unanswered_.begin());
  return EnqueueLocked(message);
}

bool Session::EnqueueLocked(const v1::GovernorMessage& message) {
  if (!writing_) {
    WriteLocked(Serialize(message));
    return true;
  }
  if (waiting_.size() >= shared_.options.max_queued) {
    CloseLocked(absl::ResourceExhaustedError(
        absl::StrCat("the client does not read: ", waiting_.size(), " directives are waiting for it")));
    Cut();  // it would not read the status either
    return false;
  }
  waiting_.push_back(Serialize(message));
  return true;
}

void Session::WriteLocked(const grpc::ByteBuffer& bytes) {
  writing_ = true;
  stream_.Write(bytes, write_.Start());
}

void Session::OnWritten(bool ok) {
  const std::lock_guard lock(mutex_);
  writing_ = false;
  if (phase_ == Phase::kClosing) return FinishLocked();
  if (!ok) return CloseLocked(absl::OkStatus());  // gone; the read will fail as well
  if (waiting_.empty()) return;
  WriteLocked(waiting_.front());
  waiting_.pop_front();
}

// --- the end
// -------------------------------------------------------------------------------------------------

bool Session::Closing() const {
  const std::lock_guard lock(mutex_);
  return phase_ == Phase::kClosing;
}

void Session::Close(absl::Status why) {
  const std::lock_guard lock(mutex_);
  CloseLocked(std::move(why));
}

void Session::CloseLocked(absl::Status why) {
  if (phase_ == Phase::kClosing) return;
  phase_ = Phase::kClosing;
  why_ = std::move(why);
  waiting_.clear();
  if (hello_alarm_) hello_alarm_->Cancel();
  if (pace_alarm_) pace_alarm_->Cancel();
  SetAlarmLocked(linger_alarm_, shared_.options.linger, lingered_);
  if (!writing_) FinishLocked();  // otherwise OnWritten does: gRPC takes one after the other
}

void Session::FinishLocked() { stream_.Finish(ToGrpc(why_), finish_.Start()); }

void Session::OnFinished(bool /*ok*/) {
  absl::Status why;
  {
    const std::lock_guard lock(mutex_);
    linger_alarm_->Cancel();
    why = why_;
    fd_.reset();
  }
  if (counted_fd_) shared_.registry.CloseStream(*counted_fd_, shared_.options.now());
  if (!client_) return;
  shared_.registry.RemoveClient(*client_);
  shared_.callbacks.on_detached(*client_, why.ok() ? "the client left" : std::string(why.message()));
}

void Session::OnLingered(bool ok) {
  if (!ok) return;  // cancelled: finished in time
  const std::lock_guard lock(mutex_);
  Cut();
}

// Shuts the connection down under gRPC's feet: every operation of the stream then fails at once.
void Session::Cut() {
  if (fd_) ::shutdown(*fd_, SHUT_RDWR);
}

void Session::SetAlarmLocked(std::optional<grpc::Alarm>& alarm, core::Duration after, Operation& operation) {
  if (!alarm) alarm.emplace();
  alarm->Set(shared_.queue.get(), After(after), operation.Start());
}

}  // namespace memgov::session
