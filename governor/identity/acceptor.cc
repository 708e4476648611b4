#include "governor/identity/acceptor.h"

#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>

// Boost 1.74 uses std::exchange without including <utility>; hence it comes first.
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/error_code.hpp>

#include "governor/base/peer_socket.h"
#include "governor/base/token_bucket.h"
#include "governor/identity/tenant.h"
#include "governor/identity/unix_listener.h"

namespace memgov::identity {
namespace {

// Connections taken before the loop gets to run other handlers: a flood of connects must not hold up alarms.
constexpr int kBatch = 8;
constexpr int kRefusedBatch = 64;  // of those that are closed unheard
// How much of our time goes into refusing, in microseconds of CPU. Beyond it the flood waits in the backlog,
// which is everybody's; so the share is large, and the pauses are short.
constexpr double kRefusingPerSecond = 200'000;
constexpr double kRefusingBurst = 4'000;

double CpuMicroseconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) * 1e-3;
}

core::Instant Now() { return core::Instant(std::chrono::steady_clock::now().time_since_epoch()); }

}  // namespace

// Waits with Asio and accepts with accept4: Asio's own accept sets neither FD_CLOEXEC nor O_NONBLOCK.
class Acceptor::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(boost::asio::io_context& io, AcceptorOptions options, UnixListener listener,
       OnConnection on_connection)
      : options_(std::move(options)),
        on_connection_(std::move(on_connection)),
        rate_(options_.rate),
        pod_names_(io, options_.look_up_pod ? options_.look_up_pod : LookInFiles(), {}),
        listener_(std::move(listener)),
        readable_(io),
        retry_(io) {}
  ~Impl() { Close(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  boost::system::error_code Open() {
    takes_descriptors_ = !base::RefuseDescriptors(listener_->fd());
    boost::system::error_code error;
    readable_.assign(listener_->fd(), error);
    if (!error) Wait();
    return error;
  }

  std::vector<base::Tally::Line> TakeRefused(core::Instant now) { return rate_.TakeRefused(now); }
  void Charge(const std::string& tenant, core::Instant now) { rate_.Charge(tenant, now); }

  void Close() {
    if (!listener_) return;
    boost::system::error_code ignored;  // nothing to do about it here, and nothing that could go wrong
    retry_.cancel(ignored);
    readable_.cancel(ignored);
    readable_.release();  // the listener owns the descriptor
    listener_.reset();
  }

 private:
  void Wait() {
    readable_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                         [self = shared_from_this()](const boost::system::error_code& error) {
                           if (!error) self->AcceptBatch();
                         });
  }

  void WaitAfter(core::Duration pause) {
    retry_.expires_after(std::chrono::duration_cast<std::chrono::steady_clock::duration>(pause));
    retry_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error) self->AcceptBatch();
    });
  }

  void AcceptBatch() {
    const double began = CpuMicroseconds();
    const core::Duration pause = AcceptSome();
    if (!listener_) return;
    if (refused_now_ > 0) {
      refusing_.Spend(Now(), (CpuMicroseconds() - began) * refused_now_ / (refused_now_ + heard_now_));
    }
    const core::Duration wait = std::max(pause, refusing_.UntilPositive(Now()));
    if (wait > core::Duration::zero()) return WaitAfter(wait);
    Wait();
  }

  // How long to wait before the next.
  core::Duration AcceptSome() {
    heard_now_ = refused_now_ = 0;
    while (heard_now_ < kBatch && refused_now_ < kRefusedBatch) {
      if (!listener_) break;  // closed by the callback
      UniqueFd fd(::accept4(listener_->fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (fd.valid()) {
        if (std::optional<std::string> tenant = Admit(fd)) {
          ++heard_now_;
          HandOn(std::move(fd), *std::move(tenant));
        } else {
          if (takes_descriptors_) base::CloseOf(fd.Release());
          ++refused_now_;
        }
      } else if (errno == EAGAIN) {
        break;
      } else if (errno != EINTR && errno != ECONNABORTED) {
        // Out of descriptors or memory. The connection stays in the backlog and the socket readable, so that
        // waiting for readability would spin.
        return options_.retry_after;
      }
    }
    return core::Duration::zero();
  }

  // The tenant of a new connection; absent: it connects too often.
  std::optional<std::string> Admit(const UniqueFd& fd) {
    const absl::StatusOr<ucred> who = CredentialsOf(fd.get());
    if (!who.ok()) return "";
    const core::Instant now = Now();
    if (rate_.RefusesUnseen(who->pid, now)) return std::nullopt;
    std::string tenant = kUnidentified;
    if (who->pid > 0) {
      absl::StatusOr<std::string> cgroup = CgroupOf(who->pid, options_.attestor);
      // On v1 a process that has exited is shown in the root, which others are in.
      if (cgroup.ok() && *cgroup == "/") cgroup = CgroupOfLiving(who->pid, options_.attestor);
      if (cgroup.ok()) tenant = TenantOfCgroup(*cgroup);
    }
    if (!rate_.Admit(who->pid, tenant, now)) return std::nullopt;
    return tenant;
  }

  void HandOn(UniqueFd fd, std::string tenant) {
    AcceptedConnection connection{
        .fd = std::move(fd), .cookie = 0, .tenant = std::move(tenant), .peer = absl::UnknownError("")};
    if (absl::StatusOr<std::uint64_t> cookie = SocketCookie(connection.fd.get()); cookie.ok()) {
      connection.cookie = *cookie;
    }
    connection.peer = Attest(connection.fd.get(), options_.attestor);
    if (!connection.peer.ok()) {
      connection.tenant = kUnidentified;  // who that was cannot be charged with it
      return on_connection_(std::move(connection));
    }
    connection.tenant = TenantOf(connection.peer->peer);
    const ContainerName workload = connection.peer->peer.workload;
    if (workload.kind != ContainerKind::kPodContainer) return on_connection_(std::move(connection));
    // Weakly: whoever is still being looked up must not keep us alive.
    auto waiting = std::make_shared<AcceptedConnection>(std::move(connection));
    pod_names_.Find(workload, [impl = weak_from_this(), waiting](PodName name) {
      const auto self = impl.lock();
      if (self == nullptr || !self->listener_) return;
      Peer& named = waiting->peer->peer;
      named.pod = std::move(name);
      named.container = DisplayName(named.workload, named.pod);
      self->on_connection_(std::move(*waiting));
    });
  }

  const AcceptorOptions options_;
  const OnConnection on_connection_;
  ConnectRate rate_;
  base::TokenBucket refusing_{kRefusingPerSecond, kRefusingBurst};  // of CPU
  bool takes_descriptors_ = false;  // this kernel passes on what peers send along
  int heard_now_ = 0;               // of this batch
  int refused_now_ = 0;
  PodNameFinder pod_names_;
  std::optional<UnixListener> listener_;  // absent: closed
  boost::asio::posix::stream_descriptor readable_;
  boost::asio::steady_timer retry_;
};

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Listen(boost::asio::io_context& io,
                                                           AcceptorOptions options,
                                                           OnConnection on_connection) {
  absl::StatusOr<UnixListener> listener =
      UnixListener::Open(options.socket_path, options.mode, options.backlog);
  if (!listener.ok()) return listener.status();
  auto impl = std::make_shared<Impl>(io, std::move(options), *std::move(listener), std::move(on_connection));
  if (const boost::system::error_code error = impl->Open(); error) {
    return absl::InternalError(error.message());
  }
  return std::unique_ptr<Acceptor>(new Acceptor(std::move(impl)));
}

Acceptor::~Acceptor() { Stop(); }

std::vector<base::Tally::Line> Acceptor::TakeRefused(core::Instant now) { return impl_->TakeRefused(now); }

void Acceptor::Charge(const std::string& tenant, core::Instant now) { impl_->Charge(tenant, now); }

void Acceptor::Stop() { impl_->Close(); }

}  // namespace memgov::identity
