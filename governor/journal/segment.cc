#include "governor/journal/segment.h"

#include <errno.h>

#include <boost/crc.hpp>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "governor/journal/decode.h"
#include "governor/journal/encode.h"
#include "governor/journal/record_tables.h"

namespace memgov::journal {
namespace {

constexpr std::string_view kPrefix = "journal-";
constexpr std::string_view kSuffix = ".mgj";
constexpr std::uintmax_t kLargestSegment = std::uintmax_t{1} << 30;
constexpr std::size_t kCrcBytes = 4;

// CRC-32C (Castagnoli), as in iSCSI and ext4.
std::uint32_t Crc32c(std::string_view bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

std::string_view View(const std::string& text) { return text; }

}  // namespace

std::string SegmentName(std::uint64_t sequence) { return absl::StrFormat("journal-%08d.mgj", sequence); }

std::optional<std::uint64_t> SequenceOf(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kSuffix.size());
  std::uint64_t sequence = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), sequence);
  if (error != std::errc{} || end != name.data() + name.size() || name.empty()) return std::nullopt;
  return sequence;
}

void AppendFrame(std::string_view payload, std::string* out) {
  AppendVarint(payload.size(), out);
  std::uint8_t crc[kCrcBytes];
  google::protobuf::io::CodedOutputStream::WriteLittleEndian32ToArray(Crc32c(payload), crc);
  out->append(reinterpret_cast<const char*>(crc), sizeof crc);
  out->append(payload);
}

std::string SegmentStart(const SegmentHeader& header) {
  std::string payload;
  Encoder(core::Instant{}, &payload).Body(header);
  std::string bytes(kMagic);
  bytes.push_back(static_cast<char>(kFormat));
  AppendFrame(payload, &bytes);
  return bytes;
}

absl::StatusOr<SegmentReader> SegmentReader::Open(const std::string& path) {
  SegmentReader reader;
  reader.path_ = path;
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("reading ", path));
  if (size > kLargestSegment) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", size, " bytes are too many for a segment"));
  }
  std::ifstream in(path, std::ios::binary);
  reader.bytes_.resize(size);
  errno = 0;
  if (!in.read(reader.bytes_.data(), static_cast<std::streamsize>(size)) && in.bad()) {
    return absl::ErrnoToStatus(errno == 0 ? EIO : errno, absl::StrCat("reading ", path));
  }
  reader.bytes_.resize(static_cast<std::size_t>(in.gcount()));  // it may have grown or shrunk meanwhile

  const std::string_view start = View(reader.bytes_).substr(0, kMagic.size() + 1);
  if (start.empty()) return absl::DataLossError(absl::StrCat(path, ": empty"));
  if (start.substr(0, kMagic.size()) != kMagic.substr(0, start.size())) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a segment of a memgov journal"));
  }
  if (start.size() <= kMagic.size())
    return absl::DataLossError(absl::StrCat(path, ": cut off in its header"));
  if (const auto format = static_cast<unsigned char>(start.back()); format != kFormat) {
    return absl::UnimplementedError(absl::StrCat(path, ": in format ", format, "; this memgov reads format ",
                                                 kFormat, " (read it with the memgov that wrote it)"));
  }
  reader.at_ = start.size();
  const auto payload = reader.Next();
  if (!payload) {
    return absl::DataLossError(reader.damage_.empty() ? absl::StrCat(path, ": cut off in its header")
                                                      : reader.damage_);
  }
  Decoder decoder(*payload, core::Instant{});
  if (!decoder.Body(&reader.header_)) {
    return absl::DataLossError(absl::StrCat(path, ": its header: ", decoder.error()));
  }
  return reader;
}

std::optional<std::string_view> SegmentReader::Next() {
  if (!damage_.empty() || at_ == bytes_.size()) return std::nullopt;
  const std::string_view left = View(bytes_).substr(at_);
  std::uint64_t length = 0;
  std::size_t used = 0;
  for (; used < left.size() && used < 10; ++used) {
    const auto byte = static_cast<unsigned char>(left[used]);
    length |= static_cast<std::uint64_t>(byte & 0x7F) << (7 * used);
    if (byte < 0x80) break;
  }
  if (used == left.size()) return Damaged("a record is cut off");
  ++used;
  // Zeros, which a file system may leave after a crash, would be empty records without end.
  if (length == 0 || length > kLongestPayload) return Damaged("the length of a record is garbled");
  if (left.size() - used < kCrcBytes + length) return Damaged("a record is cut off");
  std::uint32_t crc = 0;
  google::protobuf::io::CodedInputStream::ReadLittleEndian32FromArray(
      reinterpret_cast<const std::uint8_t*>(left.data() + used), &crc);
  const std::string_view payload = left.substr(used + kCrcBytes, length);
  if (crc != Crc32c(payload)) return Damaged("a record does not have its checksum");
  at_ += used + kCrcBytes + length;
  return payload;
}

std::optional<std::string_view> SegmentReader::Damaged(std::string_view what) {
  damage_ = absl::StrCat(path_, ": ", std::string(what), " at byte ", at_, " of ", bytes_.size());
  return std::nullopt;
}

}  // namespace memgov::journal
