// Records what an engine is told and what it decides. The control thread calls it beside the engine; it
// costs the encoding of what is new and never waits for a disk (writer.h).
//
// When records are lost, a journal goes on with a new segment, whose keyframe says how many ticks are
// missing: a reader never takes what comes after for what followed.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/policy.h"
#include "governor/core/snapshot.h"
#include "governor/journal/known_world.h"
#include "governor/journal/records.h"
#include "governor/journal/writer.h"

namespace memgov::journal {

struct RecorderOptions {
  std::string directory;
  std::uint64_t segment_bytes = 16 << 20;  // a segment ends when its records, the keyframe apart, reach this
  std::uint64_t total_bytes = 256 << 20;
  std::uint64_t buffer_bytes = 4 << 20;
  core::Duration retry_after = std::chrono::seconds(5);
  std::string memgov_version;
};

class Recorder {
 public:
  // Starts the writer's thread. Errors show up in Status only: a governor without a journal still governs.
  explicit Recorder(RecorderOptions options);

  // Beside the engine's functions of the same names, in the same order. One thread.
  void SetPolicy(const core::Policy& policy);
  void SetKernelLevers(core::KernelLevers levers);
  void Tick(core::Instant now, const core::Snapshot& snapshot, std::span<const core::ClientEvent> events,
            const core::Decisions& decisions);

  // A change since the last call: an error when recording has stopped, OK when it works again; absent: none.
  std::optional<absl::Status> TakeNews();
  // Not recorded since the start, all gaps together.
  std::uint64_t lost_ticks() const { return lost_ticks_ + lost_before_; }

 private:
  void Begin(core::Instant now, Beginning beginning);
  void Append(std::uint64_t ticks);
  void Lose(core::Instant now, const absl::Status& why);
  // Whether a record may be appended now; begins a new segment where it has to.
  bool Ready(core::Instant now);

  const RecorderOptions options_;
  core::Policy policy_;
  core::KernelLevers levers_;
  KnownWorld world_;
  bool started_ = false;
  std::uint64_t records_ = 0;
  core::Instant last_now_;  // of the segment
  std::uint64_t segment_bytes_ = 0;
  bool lost_ = false;       // nothing is recorded now
  bool returning_ = false;  // a segment was begun after a gap, and may not be in its file yet
  absl::Status why_;
  core::Instant retry_at_;
  std::uint64_t lost_ticks_ = 0;   // in this gap
  std::uint64_t lost_before_ = 0;  // in earlier ones
  std::optional<absl::Status> news_;
  std::string payload_;  // kept for its memory
  std::string frame_;
  Writer writer_;
};

}  // namespace memgov::journal
