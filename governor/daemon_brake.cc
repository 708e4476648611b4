// What befalls the brakes from outside: somebody else's memory.high, and the death of the guard.

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "governor/daemon.h"

namespace memgov {
namespace {

// A guard that was killed is replaced at once; one that keeps dying after 1 s, 2 s, ... 64 s.
constexpr auto kGuardIsSound = std::chrono::seconds(1);
constexpr auto kFirstGuardWait = std::chrono::seconds(1);
constexpr auto kLongestGuardWait = std::chrono::seconds(64);

}  // namespace

void Daemon::OnBrakeLost(core::BrakeLost lost) {
  if (stopping_) return;
  early_.brakes_lost.push_back(lost);
  // The decision wants to see whose value is there now.
  tree_.Sample(lost.cgroup, clock_.Now(), /*with_stat=*/true, &early_);
  Wake();
}

void Daemon::WaitForGuard() {
  guard_ended_.reset();
  guard_started_ = clock_.Now();
  if (!guard_ || guard_->pidfd() < 0) return;  // then its absence is seen when a brake is to be set
  const int fd = ::fcntl(guard_->pidfd(), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return;
  guard_ended_.emplace(io_, fd);
  guard_ended_->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                           [this](const boost::system::error_code& error) {
                             if (!error && !stopping_ && !guard_->Running()) OnGuardDied();
                           });
}

// Nobody would let go of our brakes now if we were killed too.
void Daemon::OnGuardDied() {
  if (brake_) brake_->LetGoOfAll();
  while (!frozen_.empty()) ApplyFreeze({.cgroup = frozen_.begin()->first, .on = false});
  const core::Instant now = clock_.Now();
  guard_wait_ = now - guard_started_ >= kGuardIsSound
                    ? core::Duration{}
                    : std::clamp<core::Duration>(2 * guard_wait_, kFirstGuardWait, kLongestGuardWait);
  log_->Warn(
      EventLine(now, "degraded"),
      fmt::format(
          "the guard has died: all brakes are let go and whoever is frozen is thawed, and nothing is braked "
          "or frozen until another guard runs; starting one {}",
          guard_wait_ == core::Duration{}
              ? "now"
              : fmt::format("in {} s",
                            std::chrono::duration_cast<std::chrono::seconds>(guard_wait_).count())));
  if (guard_wait_ == core::Duration{}) return StartGuardAgain();
  StartGuardLater();
}

void Daemon::StartGuardLater() {
  guard_pause_.expires_after(guard_wait_);
  guard_pause_.async_wait([this](const boost::system::error_code& error) {
    if (!error && !stopping_) StartGuardAgain();
  });
}

void Daemon::StartGuardAgain() {
  const absl::Status status = guard_->Restart(options_.guard_command);
  if (status.ok()) {
    WaitForGuard();
    log_->Write(
        EventLine(clock_.Now(), "guard_started").Add("pid", std::int64_t{guard_->pid()}),
        fmt::format("another guard runs (pid {}); brakes and freezes may be set again", guard_->pid()));
    return;
  }
  guard_wait_ = std::clamp<core::Duration>(2 * guard_wait_, kFirstGuardWait, kLongestGuardWait);
  log_->Warn(
      EventLine(clock_.Now(), "degraded"),
      fmt::format("no guard can be started, so nothing is braked or frozen; it is tried again in {} s: {}",
                  std::chrono::duration_cast<std::chrono::seconds>(guard_wait_).count(), TextOf(status)));
  StartGuardLater();
}

}  // namespace memgov
