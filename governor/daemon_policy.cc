// How the daemon follows its policy: read at the start, when its files change, and on SIGHUP.

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "governor/daemon.h"
#include "governor/kernel/watch_fd.h"

namespace memgov {
namespace {

// A policy may lie beside files that change all the time; those must not own our loop.
constexpr auto kQuiet = std::chrono::milliseconds(5);
// Where inotify does not tell of changes.
constexpr auto kLookEvery = std::chrono::seconds(30);

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

// Its files lie on a disk that may stand still: they are read on a worker, one look at a time.
void Daemon::AskPolicy(PolicyAsk ask) {
  if (policy_asked_) {
    policy_ask_again_ = std::max(policy_ask_again_.value_or(ask), ask);
    return;
  }
  policy_asked_ = true;
  boost::asio::post(policy_worker_, [this, ask, now = clock_.Now()] {
    PolicyLook look;
    if (ask == PolicyAsk::kReload) {
      look.news = policy_watch_->Reload();
    } else {
      look.news = policy_watch_->Poll(now, ask == PolicyAsk::kAnyway);
    }
    look.heard = policy_watch_->heard();
    look.due = policy_watch_->due();
    boost::asio::post(io_, [this, look = std::move(look)]() mutable { OnPolicyLook(std::move(look)); });
  });
}

void Daemon::OnPolicyLook(PolicyLook look) {
  if (stopping_) return;
  policy_asked_ = false;
  if (look.news) TakePolicy(*std::move(look.news));
  // May have failed for want of descriptors or room in epoll, and either passes.
  if (!policy_changed_) {
    auto watched = kernel::WatchCopyOf(io_, policy_watch_->fd(), "the policy");
    if (watched.ok()) policy_changed_ = *std::move(watched);
    if (look.heard.ok()) look.heard = watched.status();
  }
  HearOfPolicy(look.heard);
  std::optional<core::Instant> due = look.due;
  if (!look.heard.ok() && !due) due = clock_.Now() + kLookEvery;
  const PolicyAsk ask = look.due ? PolicyAsk::kPoll : PolicyAsk::kAnyway;
  policy_due_.cancel();
  if (due) {
    policy_due_.expires_at(std::chrono::steady_clock::time_point(due->time_since_epoch()));
    policy_due_.async_wait([this, ask](const boost::system::error_code& error) {
      if (!error) AskPolicy(ask);
    });
  }
  if (const auto again = std::exchange(policy_ask_again_, std::nullopt)) AskPolicy(*again);
  policy_quiet_.expires_after(kQuiet);
  policy_quiet_.async_wait([this](const boost::system::error_code& stopped) {
    if (!stopped) WaitForPolicy();
  });
}

void Daemon::HearOfPolicy(const absl::Status& heard) {
  const std::string deaf =
      heard.ok() ? ""
                 : "changes of the policy may be noticed late, it is read every 30 s and at SIGHUP: " +
                       TextOf(heard);
  if (deaf == policy_deaf_) return;
  if (!policy_deaf_.empty()) SetDegraded(policy_deaf_, false);
  if (!deaf.empty()) SetDegraded(deaf, true);
  policy_deaf_ = deaf;
}

void Daemon::StartFollowingPolicy() {
  if (!policy_watch_) return;
  OnPolicyLook({.news = std::nullopt, .heard = policy_watch_->heard(), .due = std::nullopt});
}

void Daemon::WaitForPolicy() {
  // Readable until the worker has taken what there is to read.
  if (!policy_changed_ || policy_waiting_ || policy_asked_) return;
  policy_waiting_ = true;
  policy_changed_->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                              [this](const boost::system::error_code& error) {
                                policy_waiting_ = false;
                                if (!error) AskPolicy(PolicyAsk::kPoll);
                              });
}

void Daemon::Reload() {
  if (!policy_watch_) {
    log_->Write(EventLine(clock_.Now(), "policy_loaded"), "policy loaded from the built-in defaults");
    return;
  }
  AskPolicy(PolicyAsk::kReload);
}

}  // namespace memgov
