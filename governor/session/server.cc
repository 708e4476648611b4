#include "governor/session/server.h"

#include <google/protobuf/stubs/logging.h>
#include <pthread.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <mutex>
#include <thread>
#include <utility>

#include "governor/base/peer_socket.h"
#include "governor/base/short_slices.h"
#include "governor/session/connection.h"
#include "governor/session/wire.h"

namespace memgov::session {

class SessionServer::Impl {
 public:
  Impl(Options options, Callbacks callbacks);
  ~Impl() { Shutdown(core::Duration::zero()); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void Adopt(int fd, Ticket ticket);
  void Drop(std::uint64_t cookie, absl::Status why);
  void Shutdown(core::Duration within);

  std::shared_ptr<Connection> Find(core::ClientId client) { return shared_.registry.FindClient(client); }
  const Options& options() const { return shared_.options; }

 private:
  void ForEach(void (*what)(Connection&));

  ConnectionShared shared_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{shared_.io.get_executor()};
  std::thread thread_;

  std::once_flag shut_down_;
  std::mutex adopting_;
  bool stopping_ = false;  // guarded by adopting_
};

SessionServer::Impl::Impl(Options options, Callbacks callbacks)
    : shared_(std::move(options), std::move(callbacks)) {
  // What a peer does wrong is in the status that it gets; a hostile one shall not fill the log.
  google::protobuf::SetLogHandler(nullptr);
  thread_ = std::thread([this] {
    base::AskForShortSlices();
    shared_.io.run();
  });
  ::pthread_setname_np(thread_.native_handle(), "memgovd-session");
}

void SessionServer::Impl::Adopt(int fd, Ticket ticket) {
  const std::lock_guard lock(adopting_);
  bool hopeless = false;
  absl::Status admitted = stopping_ ? absl::UnavailableError("memgovd stops")
                                    : shared_.registry.Admit(ticket, shared_.options.now(), &hopeless);
  if (stopping_ || hopeless) {
    base::CloseOf(fd);
    if (stopping_ || !shared_.callbacks.on_closed) return;
    boost::asio::post(shared_.io, [this, end = ConnectionEnd{std::move(ticket), std::move(admitted)}] {
      shared_.callbacks.on_closed(end);
    });
    return;
  }
  auto connection = std::make_shared<Connection>(shared_, fd, std::move(ticket), admitted);
  // Two connections with one cookie are none that the kernel made: the second is not served.
  const bool known = shared_.registry.AddConnection(connection);
  boost::asio::post(shared_.io, [connection, known] {
    if (known) return connection->Start();
    connection->End(absl::InternalError("its cookie is another connection's"));
  });
}

void SessionServer::Impl::Drop(std::uint64_t cookie, absl::Status why) {
  const std::shared_ptr<Connection> connection = shared_.registry.FindConnection(cookie);
  if (connection == nullptr) return;
  boost::asio::post(shared_.io, [connection, why = std::move(why)] { connection->End(why); });
}

void SessionServer::Impl::ForEach(void (*what)(Connection&)) {
  boost::asio::post(shared_.io, [this, what] {
    for (const auto& connection : shared_.registry.Connections()) what(*connection);
  });
}

void SessionServer::Impl::Shutdown(core::Duration within) {
  std::call_once(shut_down_, [&] {
    {
      const std::lock_guard lock(adopting_);
      stopping_ = true;
    }
    ForEach([](Connection& connection) { connection.Stop(); });
    if (!shared_.registry.WaitForNoConnections(within)) {
      ForEach([](Connection& connection) { connection.End(absl::OkStatus()); });
      shared_.registry.WaitForNoConnections(core::Duration::max());
    }
    work_.reset();
    boost::asio::post(shared_.io, [this] { shared_.io.stop(); });  // after the callbacks that wait
    thread_.join();
  });
}

absl::StatusOr<std::unique_ptr<SessionServer>> SessionServer::Start(Options options, Callbacks callbacks) {
  if (!options.now || !callbacks.on_attach || !callbacks.on_report || !callbacks.on_outcome ||
      !callbacks.on_detached) {
    return absl::InvalidArgumentError("SessionServer: Options.now and all callbacks are needed");
  }
  return std::unique_ptr<SessionServer>(
      new SessionServer(std::make_unique<Impl>(std::move(options), std::move(callbacks))));
}

SessionServer::SessionServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

SessionServer::~SessionServer() = default;

void SessionServer::Adopt(int fd, Ticket ticket) { impl_->Adopt(fd, std::move(ticket)); }

void SessionServer::Welcome(core::ClientId client, const WelcomeInfo& info) {
  const std::shared_ptr<Connection> connection = impl_->Find(client);
  if (connection == nullptr) return;
  connection->Welcome(WelcomeToWire(info, impl_->options().version).SerializeAsString());
}

void SessionServer::Refuse(core::ClientId client, absl::Status why) {
  const std::shared_ptr<Connection> connection = impl_->Find(client);
  if (connection != nullptr) connection->Refuse(std::move(why));
}

void SessionServer::Drop(std::uint64_t cookie, absl::Status why) { impl_->Drop(cookie, std::move(why)); }

bool SessionServer::Send(const core::Directive& directive, const std::string& reason_text) {
  const std::shared_ptr<Connection> connection = impl_->Find(directive.client);
  return connection != nullptr &&
         connection->Send(directive.id, DirectiveToWire(directive, reason_text).SerializeAsString());
}

void SessionServer::Shutdown(core::Duration within) { impl_->Shutdown(within); }

}  // namespace memgov::session
