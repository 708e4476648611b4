#include "governor/identity/acceptor.h"

#include <utility>

// Boost 1.74 uses std::exchange without including <utility>; hence it comes first.
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include "governor/identity/unix_listener.h"

namespace memgov::identity {

class Acceptor::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(boost::asio::io_context& io, PodNameFinder::Look look_up_pod, OnConnection on_connection)
      : io_(io),
        on_connection_(std::move(on_connection)),
        pod_names_(io, look_up_pod ? std::move(look_up_pod) : LookInFiles(), {}) {}
  ~Impl() { Close(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  absl::Status Open(UnixListener listener, AcceptThread::Options options) {
    auto thread = AcceptThread::Start(std::move(listener), std::move(options),
                                      [this](AcceptedConnection connection) { Post(std::move(connection)); });
    if (!thread.ok()) return thread.status();
    thread_ = *std::move(thread);
    return absl::OkStatus();
  }

  // Once closed there is nothing to tell, and nobody to be charged.
  std::vector<base::Tally::Line> TakeRefused(core::Instant now) {
    return thread_ == nullptr ? std::vector<base::Tally::Line>() : thread_->TakeRefused(now);
  }
  void Charge(const std::string& tenant, core::Instant now) {
    if (thread_ != nullptr) thread_->Charge(tenant, now);
  }

  void Close() {
    thread_.reset();
    keeps_loop_.reset();
  }

 private:
  // The accepting thread, which ends before we do.
  void Post(AcceptedConnection connection) {
    boost::asio::post(io_, [impl = weak_from_this(), connection = std::move(connection)]() mutable {
      const auto self = impl.lock();
      if (self == nullptr || self->thread_ == nullptr) return;
      self->thread_->Taken();
      self->HandOn(std::move(connection));
    });
  }

  void HandOn(AcceptedConnection connection) {
    if (!connection.peer.ok()) return on_connection_(std::move(connection));
    const ContainerName workload = connection.peer->peer.workload;
    if (workload.kind != ContainerKind::kPodContainer) return on_connection_(std::move(connection));
    // Weakly: whoever is still being looked up must not keep us alive.
    auto waiting = std::make_shared<AcceptedConnection>(std::move(connection));
    pod_names_.Find(workload, [impl = weak_from_this(), waiting](PodName name) {
      const auto self = impl.lock();
      if (self == nullptr || self->thread_ == nullptr) return;
      Peer& named = waiting->peer->peer;
      named.pod = std::move(name);
      named.container = DisplayName(named.workload, named.pod);
      self->on_connection_(std::move(*waiting));
    });
  }

  boost::asio::io_context& io_;
  // As long as somebody may connect the loop has something to wait for.
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> keeps_loop_{io_.get_executor()};
  const OnConnection on_connection_;
  PodNameFinder pod_names_;
  std::unique_ptr<AcceptThread> thread_;  // absent: closed
};

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Listen(boost::asio::io_context& io,
                                                           AcceptorOptions options,
                                                           OnConnection on_connection) {
  absl::StatusOr<UnixListener> listener =
      UnixListener::Open(options.socket_path, options.mode, options.backlog);
  if (!listener.ok()) return listener.status();
  auto impl = std::make_shared<Impl>(io, std::move(options.look_up_pod), std::move(on_connection));
  const absl::Status opened = impl->Open(*std::move(listener), {.retry_after = options.retry_after,
                                                                .most_waiting = options.most_waiting,
                                                                .attestor = std::move(options.attestor),
                                                                .rate = options.rate});
  if (!opened.ok()) return opened;
  return std::unique_ptr<Acceptor>(new Acceptor(std::move(impl)));
}

Acceptor::~Acceptor() { Stop(); }

std::vector<base::Tally::Line> Acceptor::TakeRefused(core::Instant now) { return impl_->TakeRefused(now); }

void Acceptor::Charge(const std::string& tenant, core::Instant now) { impl_->Charge(tenant, now); }

void Acceptor::Stop() { impl_->Close(); }

}  // namespace memgov::identity
