// The daemon's side of the kernel's own levers: which there are, and what became of a request to them.

#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <utility>

#include "governor/daemon.h"

namespace memgov {

// Trying the levers writes to one of the kernel's knobs, though it changes nothing: not while all rules
// observe. What a trial has found stays so; it forks and waits, so the loop leaves it to a worker.
void Daemon::ExamineLevers() {
  if (Enforces() && !tried_levers_ && !in_loop_) tried_levers_ = kernel::ProbeReclaim(layout_);
  UseLevers(Enforces() && tried_levers_ ? *tried_levers_ : kernel::LookAtReclaim(layout_));
  if (Enforces() && !tried_levers_) TryLevers();
}

void Daemon::TryLevers() {
  if (std::exchange(trying_levers_, true)) return;
  boost::asio::post(trial_worker_, [this] {
    kernel::ReclaimAbilities found = kernel::ProbeReclaim(layout_);
    boost::asio::post(io_, [this, found = std::move(found)]() mutable {
      trying_levers_ = false;
      tried_levers_ = std::move(found);
      ExamineLevers();
      Wake();
    });
  });
}

void Daemon::UseLevers(const kernel::ReclaimAbilities& abilities) {
  SetKernelLevers({.page_out = abilities.page_out.ok(), .reclaim = abilities.reclaim.ok()});
  if (!abilities.page_out.ok() && !abilities.reclaim.ok()) {
    SayUnlessChecked("process_madvise",
                     "lazily freed memory of programs without a client is left to the kernel: " +
                         TextOf(abilities.page_out));
  }
  if (!options_.observe && reclaimer_ == nullptr)
    reclaimer_ = std::make_unique<kernel::Reclaimer>(layout_, io_);
}

void Daemon::StartReclaim(const core::Reclaim& request) {
  const std::string path = tree_.PathOf(request.cgroup);
  if (path.empty() || reclaimer_ == nullptr) {
    early_.reclaims.push_back({.id = request.id, .finished_at = clock_.Now(), .why = "the cgroup is gone"});
    return;
  }
  const bool page_out = request.lever == core::ReclaimLever::kPageOut;
  reclaimer_->Start({.path = path,
                     .bytes = request.bytes,
                     .lever = page_out ? kernel::ReclaimLever::kPageOut : kernel::ReclaimLever::kReclaim,
                     .longest = request.longest},
                    [this, id = request.id, cgroup = request.cgroup](const kernel::ReclaimResult& result) {
                      core::ReclaimOutcome outcome{.id = id,
                                                   .finished_at = clock_.Now(),
                                                   .before = result.usage_before,
                                                   .after = result.usage_after};
                      if (!result.status.ok()) outcome.why = TextOf(result.status);
                      if (result.refaults_before && result.refaults_after &&
                          *result.refaults_after > *result.refaults_before) {
                        outcome.refaults = *result.refaults_after - *result.refaults_before;
                      }
                      early_.reclaims.push_back(std::move(outcome));
                      read_now_.insert(cgroup);
                      Wake();
                    });
}

}  // namespace memgov
