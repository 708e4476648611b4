#include "governor/session/connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "governor/base/peer_socket.h"
#include "governor/session/wire.h"
#include "memgov/v1/session.pb.h"

namespace memgov::session {
namespace {

// Directives whose outcome may still come. A client that owes more is not going to answer the oldest.
constexpr std::size_t kMaxUnanswered = 256;
constexpr absl::string_view kAttachPath = "/memgov.v1.Session/Attach";
constexpr double kWorkPerByte = 1.0 / 1024;              // see Tenant
constexpr int kFirstPieces = 4;                          // that are read when it begins
constexpr auto kReportsLater = std::chrono::seconds(1);  // where the tenant has none left

absl::Status Stopping() { return absl::UnavailableError("memgovd stops"); }

}  // namespace

ConnectionShared::ConnectionShared(SessionServer::Options options_in, SessionServer::Callbacks callbacks_in)
    : options(std::move(options_in)),
      callbacks(std::move(callbacks_in)),
      registry({.connections = options.max_connections, .per_tenant = options.max_per_tenant}),
      due(io, options.now, [](Connection* connection) { connection->OnDue(); }) {}

Connection::Connection(ConnectionShared& shared, int fd, Ticket ticket, const absl::Status& admitted)
    : shared_(shared),
      ticket_(std::move(ticket)),
      socket_(shared.io),
      fd_(fd),
      peer_(fd, static_cast<base::CallHandler*>(this)),
      blame_(admitted) {}

void Connection::Start() {
  boost::system::error_code error;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kEnded) return;
    socket_.assign(fd_, error);
    deadline_ = shared_.options.now() + shared_.options.hello_within;
  }
  if (error) return End(absl::ResourceExhaustedError("epoll: " + error.message()));
  // What it has said already is read at once: whoever has hung up is gone before the next one begins, so that
  // of a thousand who come and go one at a time is held.
  for (int pieces = 0; pieces < kFirstPieces && ReadPiece(); ++pieces) {
  }
  Attend();
}

// --- reading
// ---------------------------------------------------------------------------------------------------

void Connection::WaitToRead() {
  if (waits_to_read_) return;
  waits_to_read_ = true;
  socket_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       self->waits_to_read_ = false;
                       if (!error) self->Read();
                     });
}

// One piece, so that everybody has a turn.
void Connection::Read() {
  ReadPiece();
  Attend();
}

// False: nothing more is to be read now.
bool Connection::ReadPiece() {
  const base::Received received =
      base::ReceiveFrom(socket_.native_handle(), shared_.buffer.data(), shared_.buffer.size());
  const ssize_t size = received.size;
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (size <= 0) {  // the peer is gone
    End(absl::OkStatus());
    return false;
  }
  if (received.descriptors) {
    EndFor(absl::InvalidArgumentError("descriptors that nobody asked for"));
    return false;
  }
  const core::Instant now = shared_.options.now();
  DeliverReport(intake_.Roll(now));
  const std::uint64_t frames = peer_.frames();
  const absl::Status taken = Take({shared_.buffer.data(), static_cast<std::size_t>(size)});
  const std::uint64_t new_frames = peer_.frames() - frames;
  intake_.Count(new_frames);
  const core::Duration wait = shared_.registry.Work(
      ticket_, now, 1 + static_cast<double>(new_frames) + static_cast<double>(size) * kWorkPerByte);
  read_again_ = now + (intake_.full() ? std::max(wait, intake_.UntilRoll(now)) : wait);
  Deliver();
  if (!taken.ok()) EndFor(taken);
  return taken.ok() && read_again_ <= now;
}

// Not OK: the peer did what no client does.
absl::Status Connection::Take(absl::string_view bytes) {
  const std::lock_guard lock(mutex_);
  if (phase_ == Phase::kDraining || phase_ == Phase::kEnded) return absl::OkStatus();
  return peer_.Take(bytes, shared_.options.now());
}

absl::Status Connection::OnCall(base::CallId call, absl::string_view path) {
  if (path != kAttachPath) {
    return absl::UnimplementedError(
        absl::StrCat("memgovd has no method ", path, "; clients call ", kAttachPath));
  }
  if (call_ != 0) return absl::ResourceExhaustedError("this connection has an Attach stream already");
  call_ = call;
  if (phase_ != Phase::kSilent) return absl::OkStatus();
  phase_ = Phase::kGreeting;
  deadline_ = shared_.options.now() + shared_.options.hello_within;
  if (!ticket_.refusal.ok()) {
    CloseLocked(ticket_.refusal);
  } else if (!blame_.ok()) {
    CloseLocked(blame_);
  }
  return absl::OkStatus();
}

void Connection::OnMessage(base::CallId, absl::string_view bytes) {
  if (phase_ == Phase::kClosing) return;
  v1::ClientMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Blame(absl::InvalidArgumentError("not a memgov.v1.ClientMessage"));
  }
  absl::StatusOr<ClientSaid> said = FromWire(message);
  if (!said.ok()) return Blame(said.status());
  if (!client_ && !std::holds_alternative<AttachRequest>(*said)) {
    return Blame(absl::InvalidArgumentError("the first message must be hello"));
  }
  std::visit([this](auto&& body) { Accept(std::forward<decltype(body)>(body)); }, *std::move(said));
}

void Connection::OnBadMessage(base::CallId, absl::Status why) { Blame(std::move(why)); }

void Connection::OnHalfClosed(base::CallId, bool in_message) {
  if (in_message) return Blame(absl::InvalidArgumentError("the call ends within a message"));
  CloseLocked(absl::OkStatus());
}

void Connection::Blame(absl::Status why) {
  if (blame_.ok()) blame_ = why;
  is_fault_ = true;
  CloseLocked(std::move(why));
}

void Connection::OnCallOver(base::CallId) {
  call_ = 0;
  if (client_) {
    const bool left = phase_ != Phase::kClosing || why_.ok();
    shared_.registry.RemoveClient(*client_);
    events_.emplace_back(Detached{*client_, left ? "the client left" : std::string(why_.message())});
    client_.reset();
  }
  DrainLocked();
}

void Connection::Accept(AttachRequest request) {
  if (client_)
    return CloseLocked(absl::InvalidArgumentError("hello: a second one; a stream has exactly one"));
  phase_ = Phase::kAttaching;
  client_ = shared_.registry.AddClient(shared_from_this());
  request.client = *client_;
  request.ticket = ticket_;
  events_.emplace_back(std::move(request));
}

void Connection::Accept(core::ClientReport report) {
  report.client = *client_;
  report.received_at = shared_.options.now();
  if (const auto offered = intake_.Offer(report)) events_.emplace_back(*offered);
}

void Connection::Accept(core::ClientOutcome outcome) {
  if (unanswered_.erase(outcome.directive) == 0) {
    if (outcome.directive <= forgotten_) return;
    return Blame(absl::InvalidArgumentError(
        absl::StrCat("outcome.id: ", static_cast<std::uint64_t>(outcome.directive),
                     " is no directive that was sent to this client and is still open")));
  }
  if (const auto held = intake_.TakeHeld()) events_.emplace_back(*held);
  outcome.client = *client_;
  outcome.received_at = shared_.options.now();
  events_.emplace_back(std::move(outcome));
}

// --- for the callbacks
// -------------------------------------------------------------------------------------------

void Connection::Deliver() {
  std::vector<Event> events;
  {
    const std::lock_guard lock(mutex_);
    events.swap(events_);
  }
  const auto is_outcome = [](const Event& event) {
    return std::holds_alternative<core::ClientOutcome>(event);
  };
  auto outcomes = std::count_if(events.begin(), events.end(), is_outcome);
  for (Event& event : events) {
    if (auto* request = std::get_if<AttachRequest>(&event)) {
      shared_.callbacks.on_attach(std::move(*request));
    } else if (auto* report = std::get_if<core::ClientReport>(&event)) {
      if (outcomes == 0) {
        DeliverReport(*report);
      } else {
        // Later it would tell of what the outcome has taken away. There are no more of these than directives.
        shared_.registry.MayReport(ticket_, shared_.options.now());
        shared_.callbacks.on_report(*report);
      }
    } else if (auto* outcome = std::get_if<core::ClientOutcome>(&event)) {
      --outcomes;
      shared_.callbacks.on_outcome(std::move(*outcome));
    } else if (auto* detached = std::get_if<Detached>(&event)) {
      intake_.TakeHeld();
      shared_.callbacks.on_detached(detached->client, std::move(detached->why));
    }
  }
}

void Connection::DeliverReport(const std::optional<core::ClientReport>& report) {
  if (!report) return;
  const core::Instant now = shared_.options.now();
  if (now >= report_again_) {
    if (shared_.registry.MayReport(ticket_, now)) return shared_.callbacks.on_report(*report);
    report_again_ = now + kReportsLater;
  }
  intake_.Hold(*report);
}

// --- to the client
// -----------------------------------------------------------------------------------------------

void Connection::Welcome(const std::string& message) {
  const std::lock_guard lock(mutex_);
  // A later one tells a client that its mode has changed.
  if (phase_ != Phase::kAttaching && phase_ != Phase::kAttached) return;
  phase_ = Phase::kAttached;
  WriteLocked(message);
  AttendSoon();  // it has a deadline no longer
}

void Connection::Refuse(absl::Status why) {
  const std::lock_guard lock(mutex_);
  CloseLocked(std::move(why));
  peer_.Flush();
  AttendSoon();
}

bool Connection::Send(core::DirectiveId id, const std::string& message) {
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::kAttached) return false;
  unanswered_.insert(id);
  if (unanswered_.size() > kMaxUnanswered) {
    forgotten_ = *unanswered_.begin();
    unanswered_.erase(unanswered_.begin());
  }
  return WriteLocked(message);
}

// False: the client does not read what was sent before, and is dropped.
bool Connection::WriteLocked(const std::string& message) {
  if (peer_.grpc()->waiting_messages(call_) >= shared_.options.max_queued) {
    Blame(absl::ResourceExhaustedError(
        absl::StrCat("the client does not read: ", peer_.grpc()->waiting_messages(call_),
                     " directives are waiting for it")));
    ::shutdown(fd_, SHUT_RDWR);  // it would not read the status either; Read ends the connection
    AttendSoon();
    return false;
  }
  peer_.grpc()->Write(call_, message);
  peer_.Flush();
  if (peer_.blocked()) AttendSoon();
  return true;
}

// --- the end
// -----------------------------------------------------------------------------------------------------

void Connection::CloseLocked(absl::Status why) {
  if (phase_ == Phase::kSilent || phase_ >= Phase::kClosing) return;
  phase_ = Phase::kClosing;
  deadline_ = shared_.options.now() + shared_.options.linger;
  why_ = std::move(why);
  peer_.grpc()->Finish(call_, why_);
}

// Nothing more will be said: the peer sees the end when it has read what came before.
void Connection::DrainLocked() {
  phase_ = Phase::kDraining;
  deadline_ = shared_.options.now() + shared_.options.linger;
  peer_.grpc()->GoAway(NGHTTP2_NO_ERROR, why_.message());
}

void Connection::Stop() {
  bool never_spoke = false;
  {
    const std::lock_guard lock(mutex_);
    never_spoke = peer_.grpc() == nullptr;
    CloseLocked(Stopping());
    if (phase_ == Phase::kSilent && !never_spoke) DrainLocked();
    peer_.Flush();
  }
  Deliver();
  if (never_spoke) return End(absl::OkStatus());
  Attend();
}

void Connection::EndFor(const absl::Status& fault) {
  {
    const std::lock_guard lock(mutex_);
    is_fault_ = is_fault_ || !fault.ok();
  }
  End(fault);
}

void Connection::End(absl::Status why) {
  const std::shared_ptr<Connection> self = shared_from_this();
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kEnded) return;
    if (client_) {
      shared_.registry.RemoveClient(*client_);
      const absl::Status& reason = !why.ok() ? why : phase_ == Phase::kClosing ? why_ : absl::OkStatus();
      events_.emplace_back(
          Detached{*client_, reason.ok() ? "the client left" : std::string(reason.message())});
      client_.reset();
    }
    if (blame_.ok()) blame_ = std::move(why);
    phase_ = Phase::kEnded;
    if (socket_.is_open()) socket_.release();  // cancels what waits
    base::CloseOf(fd_);
    fd_ = -1;
    peer_.Forget();
  }
  shared_.due.Move(this, due_, core::Instant::max());
  due_ = core::Instant::max();
  Deliver();
  shared_.registry.RemoveConnection(self);
  if (shared_.callbacks.on_closed)
    shared_.callbacks.on_closed({.ticket = ticket_, .why = blame_, .is_fault = is_fault_});
}

// --- when something is due
// -----------------------------------------------------------------------------------------

void Connection::AttendSoon() {
  boost::asio::post(shared_.io, [self = shared_from_this()] {
    self->Deliver();
    self->Attend();
  });
}

void Connection::OnDue() {
  const std::shared_ptr<Connection> self = shared_from_this();
  due_ = core::Instant::max();
  const core::Instant now = shared_.options.now();
  bool ends = false;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kEnded) return;
    if (now >= deadline_ && phase_ == Phase::kGreeting) {
      Blame(absl::InvalidArgumentError("no hello in time"));
    } else if (now >= deadline_ && phase_ == Phase::kSilent) {
      blame_ = absl::DeadlineExceededError("no call in time");
      is_fault_ = true;
      if (peer_.grpc() != nullptr) peer_.grpc()->GoAway(NGHTTP2_NO_ERROR, blame_.message());
      ends = true;
    } else if (now >= deadline_ && phase_ >= Phase::kClosing) {
      ends = true;
    }
    peer_.Flush();
  }
  Deliver();
  if (ends) return End(absl::OkStatus());
  if (intake_.holds()) DeliverReport(intake_.Roll(now));
  Attend();
}

// Waits for what has to be waited for.
void Connection::Attend() {
  bool blocked = false;
  std::optional<absl::Status> over;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kEnded) return;
    blocked = peer_.blocked();
    if (phase_ == Phase::kDraining) {
      if (!blocked) ::shutdown(fd_, SHUT_WR);  // the peer reads to the end, and then closes
    } else if (peer_.grpc() != nullptr && !blocked && peer_.grpc()->over()) {
      over = peer_.grpc()->fault();
    }
  }
  if (over) return EndFor(*over);
  const core::Instant now = shared_.options.now();
  if (read_again_ <= now) WaitToRead();
  if (blocked && !waits_to_write_) {
    waits_to_write_ = true;
    socket_.async_wait(boost::asio::posix::stream_descriptor::wait_write,
                       [self = shared_from_this()](const boost::system::error_code& error) {
                         self->waits_to_write_ = false;
                         if (error) return;
                         {
                           const std::lock_guard lock(self->mutex_);
                           self->peer_.Unblock();
                           self->peer_.Flush();
                         }
                         self->Deliver();
                         self->Attend();
                       });
  }
  const core::Instant next = NextDue();
  shared_.due.Move(this, due_, next);
  due_ = next;
}

core::Instant Connection::NextDue() const {
  core::Instant next = core::Instant::max();
  const core::Instant now = shared_.options.now();
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kAttaching && phase_ != Phase::kAttached) next = deadline_;
  }
  if (!waits_to_read_) next = std::min(next, read_again_);
  if (intake_.holds()) next = std::min(next, std::max(now + intake_.UntilRoll(now), report_again_));
  return next;
}

}  // namespace memgov::session
