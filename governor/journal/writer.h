// The thread that writes a journal's files, and the bounded buffer before it.
//
// The control thread hands over whole frames and never waits for a disk. Whatever fails (a full disk, one
// that is read-only or gone, another memgovd in the same directory) drops what waits, is told once, and lasts
// until the control thread begins a new segment: there is one way back, and it always starts with a keyframe.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "governor/journal/segment.h"

namespace memgov::journal {

class Writer {
 public:
  struct Options {
    std::string directory;  // made when it is not there
    std::uint64_t segment_bytes = 0;
    std::uint64_t total_bytes = 0;   // of all segments; the oldest are removed
    std::uint64_t buffer_bytes = 0;  // that may wait; one record more than that at most
    SegmentHeader header;            // sequence and opened_ns are filled in
  };
  // Where the writing stands.
  struct State {
    absl::Status error;               // of the segment begun last; OK: all is well so far
    bool begun = false;               // its beginning is in the file
    bool full = false;                // the buffer
    std::uint64_t dropped_ticks = 0;  // of what was handed over, since the last call
  };

  explicit Writer(Options options);
  ~Writer();  // writes what waits
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // The rest is for one thread, and never waits for a file.

  State Look();
  // Frames for a new segment; clears an error.
  void Begin(std::string_view frames);
  // For the segment begun last; dropped after an error. `ticks`: how many it holds, 0 or 1.
  void Append(std::string_view frame, std::uint64_t ticks);

 private:
  struct Chunk {
    bool begins = false;
    std::string bytes;
    std::uint64_t ticks = 0;
  };

  // The writer's thread.
  void Run();
  absl::Status Write(const Chunk& chunk);
  absl::Status OpenDirectory();
  void CloseDirectory();
  absl::Status OpenSegment();
  void CloseSegment();
  void RemoveOldest();
  std::string PathOf(std::uint64_t sequence) const;

  const Options options_;

  std::mutex mutex_;
  std::condition_variable has_work_;
  std::vector<Chunk> waiting_;       // guarded by mutex_, as all until the blank line
  std::uint64_t waiting_bytes_ = 0;  // with those being written
  absl::Status error_;
  bool begun_ = false;
  std::uint64_t dropped_ticks_ = 0;
  bool stop_ = false;

  // The writer's thread alone.
  int directory_ = -1;
  int file_ = -1;
  std::uint64_t sequence_ = 0;
  std::uint64_t written_ = 0;  // of the segment
  std::thread thread_;         // last: it uses all of them
};

}  // namespace memgov::journal
