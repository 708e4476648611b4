// One file of a journal: `journal-00000042.mgj`.
//
//   magic "memgovJ", one byte for the format
//   frames, each: length (varint) · CRC-32C of the payload (4 bytes, little endian) · payload
//
// The first payload is a SegmentHeader, the others are records (journal.proto, Record), the first of them a
// keyframe. A segment is only ever appended to, so a crash leaves a torn frame at its end and nothing worse;
// whatever is wrong in one segment, reading goes on with the next.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace memgov::journal {

inline constexpr std::string_view kMagic = "memgovJ";
inline constexpr unsigned char kFormat = 1;
// No record is longer; what claims to be is damaged.
inline constexpr std::uint64_t kLongestPayload = 64 << 20;

struct SegmentHeader {
  std::uint64_t sequence = 0;
  std::int64_t run_started_ns = 0;  // wall time; names the run of the daemon
  std::int64_t opened_ns = 0;       // wall time
  std::string boot_id;
  std::string memgov_version;
};

// "journal-00000042.mgj".
std::string SegmentName(std::uint64_t sequence);
// The number in such a name; absent: it is not one.
std::optional<std::uint64_t> SequenceOf(std::string_view name);

void AppendFrame(std::string_view payload, std::string* out);
// Magic and header of a new segment.
std::string SegmentStart(const SegmentHeader& header);

class SegmentReader {
 public:
  // Reads the whole file. NOT_FOUND or the like when it cannot be read; INVALID_ARGUMENT when it is no
  // segment, DATA_LOSS when its header is damaged, UNIMPLEMENTED when a newer memgov wrote it. All messages
  // name the file.
  static absl::StatusOr<SegmentReader> Open(const std::string& path);

  const SegmentHeader& header() const { return header_; }

  // The payload of the next frame, good until the next call; absent at the end, or where nothing further can
  // be read: then damage() says what is wrong and at which byte.
  std::optional<std::string_view> Next();
  const std::string& damage() const { return damage_; }

 private:
  SegmentReader() = default;
  std::optional<std::string_view> Damaged(std::string_view what);

  std::string path_;
  std::string bytes_;
  std::size_t at_ = 0;
  SegmentHeader header_;
  std::string damage_;
};

}  // namespace memgov::journal
