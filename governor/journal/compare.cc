#include "governor/journal/compare.h"

#include <chrono>
#include <memory>

#include "governor/core/engine.h"
#include "governor/journal/answers.h"
#include "governor/journal/known_world.h"
#include "governor/journal/reader.h"

namespace memgov::journal {
namespace {

class Comparer {
 public:
  Comparer(const core::Policy& policy, Comparison* comparison) : policy_(policy), comparison_(comparison) {}

  void Take(const Entry& entry) {
    if (const auto* keyframe = std::get_if<Keyframe>(&entry.record.what)) {
      if (*entry.link != Link::kContinues) Begin(entry.record.now, *keyframe);
    } else if (const auto* tick = std::get_if<Tick>(&entry.record.what)) {
      Step(entry.record.now, *tick);
    } else if (const auto* levers = std::get_if<core::KernelLevers>(&entry.record.what)) {
      engine_->SetKernelLevers(*levers);
    }
  }

 private:
  void Begin(core::Instant now, const Keyframe& keyframe) {
    if (comparison_->stretches++ == 0) comparison_->begins = now;
    last_ = now;
    names_ = {};
    answers_ = {};
    comparison_->recorded.Forget();
    comparison_->replayed.Forget();
    engine_ = std::make_unique<core::Engine>(policy_);
    engine_->SetKernelLevers(keyframe.kernel_levers);
    const core::Snapshot snapshot = SnapshotOf(keyframe);
    const std::vector<core::ClientEvent> events = EventsOf(keyframe);
    if (snapshot.samples.empty()) return;
    names_.Learn(snapshot, events);
    const core::Decisions decisions = engine_->Tick(now, snapshot, events);
    answers_.Replayed(decisions);
    comparison_->replayed.Add(decisions, names_);
  }

  void Step(core::Instant now, const Tick& tick) {
    ++comparison_->ticks;
    comparison_->lasts += now - last_;
    last_ = now;
    names_.Learn(tick.snapshot, tick.events);
    // Answers come in a later tick than the decisions they answer.
    const core::Decisions replayed =
        engine_->Tick(now, answers_.For(tick.snapshot), answers_.For(tick.events));
    answers_.Replayed(replayed);
    comparison_->replayed.Add(replayed, names_);
    if (const auto recorded = DecodeDecisions(now, tick.decisions); recorded.ok()) {
      answers_.Recorded(*recorded);
      comparison_->recorded.Add(*recorded, names_);
    }
  }

  const core::Policy& policy_;
  Comparison* comparison_;
  std::unique_ptr<core::Engine> engine_;
  Names names_;
  Answers answers_;
  core::Instant last_;
};

}  // namespace

absl::StatusOr<Comparison> Compare(const std::string& path, const core::Policy& policy) {
  auto reader = Reader::Open(path);
  if (!reader.ok()) return reader.status();
  Comparison comparison;
  Comparer comparer(policy, &comparison);
  const auto started = std::chrono::steady_clock::now();
  while (const auto entry = reader->Next()) comparer.Take(*entry);
  comparison.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  comparison.troubles = reader->troubles();
  return comparison;
}

}  // namespace memgov::journal
