// What befalls the brakes from outside: somebody else's memory.high, and the death of the guard.

#include <fmt/format.h>

#include <algorithm>

#include "governor/daemon.h"
#include "governor/kernel/watch_fd.h"

namespace memgov {
namespace {

// A guard that was killed is replaced at once; one that keeps dying after 1 s, 2 s, ... 64 s.
constexpr auto kGuardIsSound = std::chrono::seconds(1);
constexpr auto kFirstGuardWait = std::chrono::seconds(1);
constexpr auto kLongestGuardWait = std::chrono::seconds(64);

// A brake whose owner does not run for so long is let go of by the guard. Above what a loaded node keeps us
// from a processor; below brake.longest by default.
constexpr auto kBrakesWithoutUs = std::chrono::seconds(5);
constexpr auto kPutOffEvery = std::chrono::seconds(1);

}  // namespace

void Daemon::OnBrakeLost(core::BrakeLost lost) {
  if (stopping_) return;
  early_.brakes_lost.push_back(lost);
  // The decision wants to see whose value is there now.
  tree_.Sample(lost.cgroup, clock_.Now(), /*with_stat=*/true, &early_);
  Wake();
}

// A brake or a freeze that should have been let go of and is not, or (OK) none any more.
void Daemon::TellNotLetGo(const absl::Status& why, const std::string& lost, std::string* said) {
  if (!said->empty()) SetDegraded(std::exchange(*said, {}), false);
  if (why.ok()) return;
  *said = fmt::format("{}; it is tried again every second at least: {}", lost, TextOf(why));
  SetDegraded(*said, true);
}

// Puts off the time at which the guard lets go of everything in our stead. It comes only if we do not run:
// the engine ends a freeze earlier, and this is called with every tick.
void Daemon::TellGuard(core::Instant now) {
  if (!guard_) return;
  std::optional<core::Instant> when;
  if (brake_ && brake_->holds()) when = now + kBrakesWithoutUs;
  for (const auto& [id, frozen] : frozen_) when = std::min(when.value_or(frozen.thaw_by), frozen.thaw_by);
  // Brakes alone may be let go of a little earlier than they could be; a thaw has its exact time.
  const core::Duration slack = frozen_.empty() ? core::Duration(kPutOffEvery) : core::Duration(1);
  const bool as_told = when.has_value() == guard_lets_go_.has_value() &&
                       (!when || (*when >= *guard_lets_go_ && *when < *guard_lets_go_ + slack));
  if (as_told) return;
  guard_lets_go_ = when;
  guard_->LetGoBy(when);
}

void Daemon::WaitForGuard() {
  guard_ended_.reset();
  if (!guard_) return;
  auto watched = kernel::WatchCopyOf(io_, guard_->pidfd(), "the guard");
  if (!watched.ok()) return;  // LookAtGuard tries it again
  guard_ended_ = *std::move(watched);
  guard_ended_->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                           [this](const boost::system::error_code& error) {
                             if (!error && !stopping_ && !guard_->Running()) OnGuardDied();
                           });
}

// With every tick: where its end cannot be waited for, nothing else tells of it.
void Daemon::LookAtGuard() {
  if (!guard_ || guard_ended_ || guard_is_due_) return;
  if (!guard_->Running()) return OnGuardDied();
  WaitForGuard();
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
  guard_is_due_ = true;
  guard_pause_.expires_after(guard_wait_);
  guard_pause_.async_wait([this](const boost::system::error_code& error) {
    if (!error && !stopping_) StartGuardAgain();
  });
}

void Daemon::StartGuardAgain() {
  guard_is_due_ = false;
  const absl::Status status = guard_->Restart(options_.guard_command);
  if (status.ok()) {
    guard_started_ = clock_.Now();
    WaitForGuard();
    guard_lets_go_.reset();  // the new one has been told nothing
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
