#include "governor/session/server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_posix.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/session/session.h"

namespace memgov::session {
namespace {

// A report is about 60 bytes; the strings of Hello are capped at 256 each.
constexpr int kMaxMessage = 64 * 1024;
// One is used. A second one gets an answer instead of waiting for the first to end.
constexpr int kMaxStreams = 4;
constexpr std::chrono::seconds kSelfTestWithin(10);

// Both libraries write to stderr about what peers do wrong. The status that the peer gets says it all, and a
// hostile one shall not fill the log. GRPC_VERBOSITY brings gRPC's back.
void QuietLibraries() {
  google::protobuf::SetLogHandler(nullptr);
  if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function([](gpr_log_func_args*) {});
}

int Milliseconds(core::Duration duration) {
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(duration).count());
}

}  // namespace

class SessionServer::Impl {
 public:
  Impl(Options options, Callbacks callbacks) : shared_(std::move(options), std::move(callbacks)) {}
  ~Impl() { Shutdown(core::Duration::zero()); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  absl::Status Start();
  void Adopt(int fd, Ticket ticket);
  void Shutdown(core::Duration within);

  SessionShared& shared() { return shared_; }

 private:
  // Waits for the next stream, and hands it on as a session.
  class Door final : public Completion {
   public:
    explicit Door(SessionShared& shared) : shared_(shared) {}
    void Open() {
      next_ = std::make_shared<Session>(shared_);
      next_->Request(this);
    }
    void Complete(bool ok) override {
      const std::shared_ptr<Session> session = std::exchange(next_, nullptr);
      if (!ok) return;  // the server shuts down
      Open();
      session->Begin();
    }

   private:
    SessionShared& shared_;
    std::shared_ptr<Session> next_;
  };

  using Clock = std::chrono::system_clock;  // of gRPC's deadlines

  absl::Status SelfTest();
  absl::StatusOr<grpc::Status> AttachToSelf(const absl::Status& refusal, Clock::time_point until);

  SessionShared shared_;
  Door door_{shared_};
  std::unique_ptr<grpc::Server> server_;
  std::thread thread_;

  std::mutex adopting_;
  bool stopping_ = false;  // guarded by adopting_
};

absl::Status SessionServer::Impl::Start() {
  QuietLibraries();
  grpc::ResourceQuota quota("memgovd sessions");
  quota.Resize(shared_.options.memory_quota_bytes);
  grpc::ServerBuilder builder;
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMaxMessage);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreams);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Milliseconds(shared_.options.hello_within));
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  // Each probe is a ping: a thousand reports a second would wake a thousand processes once more for nothing.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  // No client compresses, and a few compressed bytes would become many.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.RegisterService(&shared_.service);
  shared_.queue = builder.AddCompletionQueue();
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return absl::InternalError("gRPC could not start its server");

  door_.Open();
  thread_ = std::thread([this] {
    void* tag = nullptr;
    bool ok = false;
    while (shared_.queue->Next(&tag, &ok)) static_cast<Completion*>(tag)->Complete(ok);
  });
  return SelfTest();
}

// Attaches to ourselves with a ticket that carries a refusal. Only if the stream is traced back to its
// descriptor and cookie does the refusal come back.
absl::StatusOr<grpc::Status> SessionServer::Impl::AttachToSelf(const absl::Status& refusal,
                                                               Clock::time_point until) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    return absl::ErrnoToStatus(errno, "socketpair");
  }
  Ticket ticket;
  ticket.refusal = refusal;
  socklen_t size = sizeof ticket.cookie;
  if (::getsockopt(ends[0], SOL_SOCKET, SO_COOKIE, &ticket.cookie, &size) != 0) {
    absl::Status error = absl::ErrnoToStatus(errno, "getsockopt(SO_COOKIE)");
    ::close(ends[0]);
    ::close(ends[1]);
    return error;
  }
  Adopt(ends[0], std::move(ticket));

  const auto stub = v1::Session::NewStub(grpc::CreateInsecureChannelFromFd("self-test", ends[1]));
  grpc::ClientContext context;
  context.set_deadline(until);
  const auto stream = stub->Attach(&context);
  v1::GovernorMessage message;
  while (stream->Read(&message)) {
  }
  return stream->Finish();
}

absl::Status SessionServer::Impl::SelfTest() {
  const absl::Status expected = absl::FailedPreconditionError("memgovd's self-test");
  const Clock::time_point until = Clock::now() + kSelfTestWithin;
  absl::StatusOr<grpc::Status> got;
  do {  // on a machine that is short of time the connection may count as idle before the stream is there
    got = AttachToSelf(expected, until);
    if (!got.ok()) return got.status();
  } while (got->error_code() == grpc::StatusCode::UNAVAILABLE && Clock::now() < until);
  if (got->error_code() == grpc::StatusCode::FAILED_PRECONDITION &&
      got->error_message() == expected.message()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("gRPC ", grpc::Version(),
                   " does not tell which connection a stream came in on, so clients cannot be told apart (",
                   got->error_message(), ")"));
}

void SessionServer::Impl::Adopt(int fd, Ticket ticket) {
  const std::lock_guard lock(adopting_);
  if (stopping_ || !shared_.registry.AddConnection(fd, std::move(ticket), shared_.options.now())) {
    ::close(fd);
    return;
  }
  grpc::AddInsecureChannelFromFd(server_.get(), fd);
}

void SessionServer::Impl::Shutdown(core::Duration within) {
  {
    const std::lock_guard lock(adopting_);
    if (std::exchange(stopping_, true)) return;
  }
  if (server_ == nullptr) return;
  shared_.stopping = true;
  const auto deadline =
      std::chrono::system_clock::now() + std::chrono::ceil<std::chrono::microseconds>(within);
  for (const auto& session : shared_.registry.OpenSessions()) {
    session->Close(Session::Stopping());
  }
  server_->Shutdown(deadline);  // no new streams; waits for the open ones, then cancels them
  shared_.registry.WaitForNoSessions();
  shared_.queue->Shutdown();
  thread_.join();
}

absl::StatusOr<std::unique_ptr<SessionServer>> SessionServer::Start(Options options, Callbacks callbacks) {
  if (!options.now || !callbacks.on_attach || !callbacks.on_report || !callbacks.on_outcome ||
      !callbacks.on_detached) {
    return absl::InvalidArgumentError("SessionServer: Options.now and all callbacks are needed");
  }
  auto impl = std::make_unique<Impl>(std::move(options), std::move(callbacks));
  if (absl::Status started = impl->Start(); !started.ok()) return started;
  return std::unique_ptr<SessionServer>(new SessionServer(std::move(impl)));
}

SessionServer::SessionServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

SessionServer::~SessionServer() = default;

void SessionServer::Adopt(int fd, Ticket ticket) { impl_->Adopt(fd, std::move(ticket)); }

void SessionServer::Welcome(core::ClientId client, const WelcomeInfo& info) {
  const std::shared_ptr<Session> session = impl_->shared().registry.FindClient(client);
  if (session != nullptr) session->Welcome(WelcomeToWire(info, impl_->shared().options.version));
}

void SessionServer::Refuse(core::ClientId client, absl::Status why) {
  const std::shared_ptr<Session> session = impl_->shared().registry.FindClient(client);
  if (session != nullptr) session->Close(std::move(why));
}

bool SessionServer::Send(const core::Directive& directive, const std::string& reason_text) {
  const std::shared_ptr<Session> session = impl_->shared().registry.FindClient(directive.client);
  return session != nullptr && session->Send(directive.id, DirectiveToWire(directive, reason_text));
}

void SessionServer::Shutdown(core::Duration within) { impl_->Shutdown(within); }

}  // namespace memgov::session
