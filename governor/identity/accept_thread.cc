#include "governor/identity/accept_thread.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/base/peer_socket.h"
#include "governor/identity/tenant.h"

namespace memgov::identity {
namespace {

using base::UniqueFd;

// Of those that are closed unheard, between two looks at the clock.
constexpr int kBatch = 64;
// After some were refused others soon will be: they are waited for, because each waking costs as much as to
// refuse one. The queue holds some ten times what comes meanwhile.
constexpr auto kGather = std::chrono::milliseconds(1);
// How much CPU goes into refusing, in microseconds. Beyond it the flood waits in the queue, which is
// everybody's; so the share is large, and the pauses are short.
constexpr double kRefusingPerSecond = 240'000;
constexpr double kRefusingBurst = 4'000;
constexpr auto kUntilTaken = std::chrono::milliseconds(5);
// Where everybody wants the processors, a flood would otherwise fill the queue while we wait for one. Bounded
// as above, it takes little from others.
constexpr int kNice = -10;

double CpuMicroseconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) * 1e-3;
}

core::Instant Now() { return core::Instant(std::chrono::steady_clock::now().time_since_epoch()); }

}  // namespace

absl::StatusOr<std::unique_ptr<AcceptThread>> AcceptThread::Start(UnixListener listener, Options options,
                                                                  OnAccepted on_accepted) {
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop) {
    return absl::ResourceExhaustedError(absl::StrCat("eventfd: ", std::generic_category().message(errno)));
  }
  std::unique_ptr<AcceptThread> accepts(
      new AcceptThread(std::move(listener), std::move(options), std::move(on_accepted), std::move(stop)));
  try {
    accepts->thread_ = std::thread([self = accepts.get()] { self->Run(); });
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(absl::StrCat("a thread that accepts: ", error.what()));
  }
  ::pthread_setname_np(accepts->thread_.native_handle(), "memgovd-accept");
  return accepts;
}

AcceptThread::AcceptThread(UnixListener listener, Options options, OnAccepted on_accepted, UniqueFd stop)
    : listener_(std::move(listener)),
      options_(std::move(options)),
      on_accepted_(std::move(on_accepted)),
      stop_(std::move(stop)),
      takes_descriptors_(!base::RefuseDescriptors(listener_.fd())),
      refusing_(kRefusingPerSecond, kRefusingBurst),
      rate_(options_.rate) {}

AcceptThread::~AcceptThread() {
  if (!thread_.joinable()) return;
  const std::uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one);  // the first one always fits
  thread_.join();
}

std::vector<base::Tally::Line> AcceptThread::TakeRefused(core::Instant now) {
  const std::lock_guard lock(mutex_);
  return rate_.TakeRefused(now);
}

void AcceptThread::Charge(const std::string& tenant, core::Instant now) {
  const std::lock_guard lock(mutex_);
  rate_.Charge(tenant, now);
}

void AcceptThread::Run() {
  // Of this thread alone (who = 0). Without the right to it the flood fills the queue sooner.
  (void)::setpriority(PRIO_PROCESS, 0, kNice);
  core::Duration pause{};
  while (Wait(pause)) pause = AcceptSome();
}

// For so long; zero: until somebody connects. False: the thread is to end.
bool AcceptThread::Wait(core::Duration pause) const {
  pollfd entries[] = {{.fd = stop_.get(), .events = POLLIN, .revents = 0},
                      {.fd = listener_.fd(), .events = POLLIN, .revents = 0}};
  const bool pauses = pause > core::Duration::zero();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(pause);
  const timespec until{
      .tv_sec = seconds.count(),
      .tv_nsec = std::chrono::duration_cast<std::chrono::nanoseconds>(pause - seconds).count()};
  (void)::ppoll(entries, pauses ? 1 : 2, pauses ? &until : nullptr, nullptr);
  return entries[0].revents == 0;
}

// How long to wait before the next.
core::Duration AcceptThread::AcceptSome() {
  const double began = CpuMicroseconds();
  double handing_on = 0;
  int refused = 0;
  core::Duration pause{};
  for (int taken = 0; taken < kBatch; ++taken) {
    if (waiting_ >= options_.most_waiting) {
      pause = kUntilTaken;
      break;
    }
    UniqueFd fd(::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      // Out of descriptors or memory: the connection stays in the queue and the socket readable, so that
      // waiting for that would spin.
      if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) pause = options_.retry_after;
      break;
    }
    std::optional<std::string> tenant = Admit(fd);
    if (!tenant) {
      if (takes_descriptors_) base::CloseOf(fd.release());
      ++refused;
      continue;
    }
    const double before = CpuMicroseconds();
    HandOn(std::move(fd), *std::move(tenant));
    handing_on += CpuMicroseconds() - before;
  }
  if (refused == 0) return pause;
  refusing_.Spend(Now(), CpuMicroseconds() - began - handing_on);
  return std::max({pause, core::Duration(kGather), refusing_.UntilPositive(Now())});
}

// The tenant of a new connection; absent: it connects too often.
std::optional<std::string> AcceptThread::Admit(const UniqueFd& fd) {
  const absl::StatusOr<ucred> who = CredentialsOf(fd.get());
  if (!who.ok()) return "";
  const core::Instant now = Now();
  {
    const std::lock_guard lock(mutex_);
    if (rate_.RefusesUnseen(who->pid, now)) return std::nullopt;
  }
  std::string tenant = kUnidentified;
  if (who->pid > 0) {
    absl::StatusOr<std::string> cgroup = CgroupOf(who->pid, options_.attestor);
    // On v1 a process that has exited is shown in the root, which others are in.
    if (cgroup.ok() && *cgroup == "/") cgroup = CgroupOfLiving(who->pid, options_.attestor);
    if (cgroup.ok()) tenant = TenantOfCgroup(*cgroup);
  }
  const std::lock_guard lock(mutex_);
  if (!rate_.Admit(who->pid, tenant, now)) return std::nullopt;
  return tenant;
}

void AcceptThread::HandOn(UniqueFd fd, std::string tenant) {
  AcceptedConnection connection{
      .fd = std::move(fd), .cookie = 0, .tenant = std::move(tenant), .peer = absl::UnknownError("")};
  if (absl::StatusOr<std::uint64_t> cookie = SocketCookie(connection.fd.get()); cookie.ok()) {
    connection.cookie = *cookie;
  }
  connection.peer = Attest(connection.fd.get(), options_.attestor);
  // Who it was that cannot be told cannot be charged with it.
  connection.tenant = connection.peer.ok() ? TenantOf(connection.peer->peer) : kUnidentified;
  ++waiting_;
  on_accepted_(std::move(connection));
}

}  // namespace memgov::identity
