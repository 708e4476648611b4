// How the daemon follows its policy: read at the start, when its files change, and on SIGHUP.

#include <fcntl.h>

#include <utility>

#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "governor/daemon.h"

namespace memgov {
namespace {

// A policy may lie beside files that change all the time; those must not own our loop.
constexpr auto kQuiet = std::chrono::milliseconds(5);

}  // namespace

absl::Status Daemon::LoadFirstPolicy() {
  core::Policy policy;
  if (!options_.policy_file.empty()) {
    policy_watch_.emplace(options_.policy_file);
    auto loaded = policy_watch_->Reload();
    if (!loaded.ok()) return loaded.status();
    policy = *std::move(loaded);
    status_.policy.source = options_.policy_file;
  }
  UsePolicy(std::move(policy));
  return absl::OkStatus();
}

void Daemon::UsePolicy(core::Policy policy) {
  if (options_.observe) {
    for (core::Rule& rule : policy.rules) rule.mode = core::Mode::kObserve;
  }
  policy_ = policy;
  SetEnginePolicy(std::move(policy));
  TellModes();
}

void Daemon::TakePolicy(policy::Watcher::News news) {
  PolicyStatus& status = status_.policy;
  status.degraded = TextOf(news.status());
  if (news.ok()) {
    status.degraded.clear();
    status.degraded_since.clear();
  } else if (status.degraded_since.empty()) {
    status.degraded_since = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
  }
  WriteStatusFile();

  const core::Instant now = clock_.Now();
  if (!news.ok()) {
    log_->Warn(EventLine(now, "policy_refused"),
               "the policy stays as it was: " + absl::StrReplaceAll(status.degraded, {{"\n", "; "}}));
    return;
  }
  log_->Write(EventLine(now, "policy_loaded").Add("rules", static_cast<std::int64_t>(news->rules.size())),
              "policy loaded from " + options_.policy_file);
  UsePolicy(*std::move(news));
  ExamineLevers();
  Wake();
}

void Daemon::WaitForPolicy() {
  if (!policy_watch_) return;
  if (!policy_watch_->heard().ok()) {
    SayDegraded("changes of the policy may not be noticed; send SIGHUP then: " +
                TextOf(policy_watch_->heard()));
  }
  if (!policy_changed_) {
    const int fd = policy_watch_->fd() < 0 ? -1 : ::fcntl(policy_watch_->fd(), F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return;  // then there is only SIGHUP
    policy_changed_.emplace(io_, fd);
  }
  policy_changed_->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                              [this](const boost::system::error_code& error) {
                                if (error) return;
                                PollPolicy();
                                policy_quiet_.expires_after(kQuiet);
                                policy_quiet_.async_wait([this](const boost::system::error_code& stopped) {
                                  if (!stopped) WaitForPolicy();
                                });
                              });
}

void Daemon::PollPolicy() {
  if (auto news = policy_watch_->Poll(clock_.Now())) TakePolicy(*std::move(news));
  SchedulePolicy();
}

void Daemon::SchedulePolicy() {
  policy_due_.cancel();
  if (!policy_watch_->due()) return;
  policy_due_.expires_at(std::chrono::steady_clock::time_point(policy_watch_->due()->time_since_epoch()));
  policy_due_.async_wait([this](const boost::system::error_code& error) {
    if (!error) PollPolicy();
  });
}

void Daemon::Reload() {
  if (!policy_watch_) {
    log_->Write(EventLine(clock_.Now(), "policy_loaded"), "policy loaded from the built-in defaults");
    return;
  }
  TakePolicy(policy_watch_->Reload());
  SchedulePolicy();
}

}  // namespace memgov
