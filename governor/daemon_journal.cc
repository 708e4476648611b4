// The daemon's side of the journal: whatever the engine is told goes through here, and so into the record.

#include <fmt/format.h>

#include <utility>

#include "governor/daemon.h"

namespace memgov {
namespace {

// So that at least this many segments share the size, and removing the oldest loses no more than that part.
constexpr std::uint64_t kFewestSegments = 8;

}  // namespace

void Daemon::StartJournal() {
  if (options_.journal.empty()) return;
  journal::RecorderOptions options{.directory = options_.journal, .total_bytes = options_.journal_size};
  options.segment_bytes = std::min(options.segment_bytes, options.total_bytes / kFewestSegments);
  options.memgov_version = MEMGOV_VERSION;
  journal_ = std::make_unique<journal::Recorder>(std::move(options));
}

void Daemon::SetEnginePolicy(core::Policy policy) {
  if (journal_) journal_->SetPolicy(policy);
  engine_.SetPolicy(std::move(policy));
}

void Daemon::SetKernelLevers(core::KernelLevers levers) {
  if (journal_) journal_->SetKernelLevers(levers);
  engine_.SetKernelLevers(levers);
}

core::Decisions Daemon::Decide(core::Instant now, const core::Snapshot& snapshot,
                               const std::vector<core::ClientEvent>& events) {
  core::Decisions decisions = engine_.Tick(now, snapshot, events);
  if (journal_) {
    journal_->Tick(now, snapshot, events, decisions);
    HearJournal(now);
  }
  return decisions;
}

void Daemon::HearJournal(core::Instant now) {
  const auto news = journal_->TakeNews();
  if (!news) return;
  degraded_.erase(std::exchange(journal_degraded_, {}));
  if (news->ok()) {
    WriteStatusFile();
    return log_->Write(
        EventLine(now, "journal_back").Add("lost_ticks", std::int64_t(journal_->lost_ticks())),
        fmt::format("the journal is written again; {} ticks are missing in it", journal_->lost_ticks()));
  }
  journal_degraded_ = fmt::format("journal: {}; what happens meanwhile is not recorded", TextOf(*news));
  SayDegraded(journal_degraded_);
}

}  // namespace memgov
