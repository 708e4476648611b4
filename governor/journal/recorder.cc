#include "governor/journal/recorder.h"

#include <chrono>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace memgov::journal {
namespace {

Writer::Options WriterOptionsOf(const RecorderOptions& options) {
  Writer::Options writer{.directory = options.directory,
                         .segment_bytes = options.segment_bytes,
                         .total_bytes = options.total_bytes,
                         .buffer_bytes = options.buffer_bytes};
  writer.header.run_started_ns =
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
  writer.header.memgov_version = options.memgov_version;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> writer.header.boot_id;
  return writer;
}

}  // namespace

Recorder::Recorder(RecorderOptions options)
    : options_(std::move(options)), writer_(WriterOptionsOf(options_)) {}

void Recorder::SetPolicy(const core::Policy& policy) {
  policy_ = policy;
  if (!started_) return;
  ++records_;
  if (lost_) return;
  payload_.clear();
  EncodePolicy(policy, &payload_);
  Append(0);
}

void Recorder::SetKernelLevers(core::KernelLevers levers) {
  levers_ = levers;
  if (!started_) return;
  ++records_;
  if (lost_) return;
  payload_.clear();
  EncodeKernelLevers(levers, &payload_);
  Append(0);
}

void Recorder::Tick(core::Instant now, const core::Snapshot& snapshot,
                    std::span<const core::ClientEvent> events, const core::Decisions& decisions) {
  if (Ready(now)) {
    payload_.clear();
    EncodeTick(last_now_, now, snapshot, events, decisions, &payload_);
    last_now_ = now;
    Append(1);
  } else {
    ++lost_ticks_;
  }
  ++records_;
  world_.Apply(snapshot, events);
}

std::optional<absl::Status> Recorder::TakeNews() { return std::exchange(news_, std::nullopt); }

bool Recorder::Ready(core::Instant now) {
  if (!std::exchange(started_, true)) Begin(now, Beginning::kStart);
  const Writer::State state = writer_.Look();
  lost_ticks_ += state.dropped_ticks;
  if (!lost_ && !state.error.ok()) Lose(now, state.error);
  if (!lost_ && state.full) {
    Lose(now, absl::ResourceExhaustedError(
                  absl::StrCat("the disk under ", options_.directory, " is too slow for what happens")));
  }
  if (returning_ && !lost_ && state.begun) {
    returning_ = false;
    lost_before_ += std::exchange(lost_ticks_, 0);
    why_ = absl::OkStatus();
    news_ = absl::OkStatus();
  }
  if (lost_ && now >= retry_at_ && !state.full) {
    lost_ = false;
    returning_ = true;
    Begin(now, Beginning::kGap);
  } else if (!lost_ && segment_bytes_ >= options_.segment_bytes) {
    Begin(now, Beginning::kNextSegment);
  }
  return !lost_;
}

void Recorder::Lose(core::Instant now, const absl::Status& why) {
  lost_ = true;
  returning_ = false;
  retry_at_ = now + options_.retry_after;
  if (why == why_) return;  // said
  why_ = why;
  news_ = why;
}

void Recorder::Begin(core::Instant now, Beginning beginning) {
  Keyframe keyframe{.beginning = beginning,
                    .records_before = records_,
                    .lost_ticks = lost_ticks_,
                    .lost_why = std::string(why_.message()),
                    .policy = policy_,
                    .kernel_levers = levers_};
  world_.FillIn(&keyframe);
  payload_.clear();
  EncodeKeyframe(now, keyframe, &payload_);
  frame_.clear();
  AppendFrame(payload_, &frame_);
  segment_bytes_ = 0;  // the keyframe apart, or a large world would begin segments without end
  last_now_ = now;
  writer_.Begin(frame_);
}

void Recorder::Append(std::uint64_t ticks) {
  frame_.clear();
  AppendFrame(payload_, &frame_);
  segment_bytes_ += frame_.size();
  writer_.Append(frame_, ticks);
}

}  // namespace memgov::journal
