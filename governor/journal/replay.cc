#include "governor/journal/replay.h"

#include <chrono>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "governor/core/engine.h"
#include "governor/journal/answers.h"
#include "governor/journal/known_world.h"
#include "governor/journal/reader.h"
#include "governor/journal/show.h"

namespace memgov::journal {
namespace {

constexpr std::size_t kMostLines = 20;

double SecondsOf(core::Instant now) { return std::chrono::duration<double>(now.time_since_epoch()).count(); }

class Replayer {
 public:
  explicit Replayer(ReplayResult* result) : result_(result) {}

  void Take(const Entry& entry) {
    if (const auto* keyframe = std::get_if<Keyframe>(&entry.record.what)) {
      Begin(*entry.link, entry.record.now, *keyframe);
    } else if (const auto* tick = std::get_if<Tick>(&entry.record.what)) {
      Compare(entry.record.now, *tick);
    } else if (const auto* policy = std::get_if<core::Policy>(&entry.record.what)) {
      engine_->SetPolicy(*policy);
    } else {
      engine_->SetKernelLevers(std::get<core::KernelLevers>(entry.record.what));
    }
  }

 private:
  void Begin(Link link, core::Instant now, const Keyframe& keyframe) {
    if (link == Link::kContinues) return;
    exact_ = link == Link::kStart;
    answers_ = {};
    engine_ = std::make_unique<core::Engine>(keyframe.policy);
    engine_->SetKernelLevers(keyframe.kernel_levers);
    if (exact_) {
      ++result_->runs;
    } else {
      answers_.Replayed(engine_->Tick(now, SnapshotOf(keyframe), EventsOf(keyframe)));
    }
  }

  void Compare(core::Instant now, const Tick& tick) {
    auto recorded = DecodeDecisions(now, tick.decisions);
    const std::size_t count = recorded.ok() ? CountOf(*recorded) : 0;
    if (!exact_) {
      ++result_->unjudged_ticks;
      result_->unjudged_decisions += count;
      if (!recorded.ok() || !Resembles(now, tick, *std::move(recorded))) ++result_->unjudged_different;
      return;
    }
    const core::Decisions replayed = engine_->Tick(now, tick.snapshot, tick.events);
    ++result_->ticks;
    result_->decisions += count;
    if (EncodeDecisions(now, replayed) == tick.decisions) return;
    if (result_->different++ == 0) Explain(now, recorded, replayed);
  }

  // Whether this engine, which numbers its requests from 1, decides the same but for the numbers.
  bool Resembles(core::Instant now, const Tick& tick, core::Decisions recorded) {
    core::Decisions replayed = engine_->Tick(now, answers_.For(tick.snapshot), answers_.For(tick.events));
    answers_.Recorded(recorded);
    answers_.Replayed(replayed);
    for (core::Decisions* decisions : {&recorded, &replayed}) {
      for (core::Directive& directive : decisions->directives) directive.id = {};
      for (core::Reclaim& reclaim : decisions->reclaims) reclaim.id = {};
      for (core::Note& note : decisions->notes) note.directive.reset();
    }
    return EncodeDecisions(now, replayed) == EncodeDecisions(now, recorded);
  }

  void Explain(core::Instant now, const absl::StatusOr<core::Decisions>& recorded,
               const core::Decisions& replayed) {
    result_->difference.push_back(absl::StrFormat("tick %d, at %.6f s:", result_->ticks, SecondsOf(now)));
    if (!recorded.ok()) {
      result_->difference.emplace_back(recorded.status().message());
      return;
    }
    for (std::string& line : DifferenceOf(*recorded, replayed, kMostLines)) {
      result_->difference.push_back("  " + std::move(line));
    }
  }

  ReplayResult* result_;
  std::unique_ptr<core::Engine> engine_;
  Answers answers_;
  bool exact_ = false;
};

}  // namespace

absl::StatusOr<ReplayResult> Replay(const std::string& path) {
  auto reader = Reader::Open(path);
  if (!reader.ok()) return reader.status();
  ReplayResult result;
  Replayer replayer(&result);
  const auto started = std::chrono::steady_clock::now();
  while (const auto entry = reader->Next()) {
    replayer.Take(*entry);
    result.versions.insert(reader->header().memgov_version);
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  result.troubles = reader->troubles();
  return result;
}

}  // namespace memgov::journal
