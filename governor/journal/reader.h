// Reads a journal's segments in their order, and says between them what is missing.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "governor/journal/records.h"
#include "governor/journal/segment.h"

namespace memgov::journal {

// How a keyframe follows what was read before it.
enum class Link {
  kStart,      // a daemon began: an engine that begins here is what it was
  kContinues,  // nothing is missing: an engine that came this far goes on
  kBroken,     // something is missing before it: an engine that begins here lacks what was learned
};

struct Entry {
  Record record;
  std::optional<Link> link;  // keyframes only
};

class Reader {
 public:
  // Of all segments in the directory, or of the one that `path` is. NOT_FOUND: there are none.
  static absl::StatusOr<Reader> Open(const std::string& path);

  // Absent at the end.
  std::optional<Entry> Next();

  // The header of the segment that the last entry came from.
  const SegmentHeader& header() const { return segment_->header(); }
  // What could not be read, and what is missing, so far; for people.
  const std::vector<std::string>& troubles() const { return troubles_; }
  std::size_t segments() const { return files_.size(); }

 private:
  bool OpenNext();
  Link LinkOf(const Keyframe& keyframe);

  std::vector<std::string> files_;
  std::size_t next_file_ = 0;
  std::optional<SegmentReader> segment_;
  core::Instant now_;
  bool at_keyframe_ = false;  // the next record must be one
  std::int64_t run_ = 0;      // of the records before
  std::uint64_t records_ = 0;
  bool any_ = false;  // a record has been read
  std::vector<std::string> troubles_;
};

}  // namespace memgov::journal
