#include "governor/kernel/lazy_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {
namespace {

// What stands at each place of a mapping's permissions.
constexpr std::array<std::string_view, 4> kPermissions = {"r-", "w-", "x-", "ps"};

absl::Status NotTheKernels(std::string_view what, std::string_view line) {
  return absl::DataLossError(
      absl::StrCat("smaps: ", std::string(what), " in \"", absl::CEscape(std::string(line)), "\""));
}

template <typename Number>
bool TakeNumber(std::string_view* text, int base, Number* number) {
  const auto [stop, error] = std::from_chars(text->data(), text->data() + text->size(), *number, base);
  if (error != std::errc()) return false;
  text->remove_prefix(static_cast<std::size_t>(stop - text->data()));
  return true;
}

bool TakeChar(std::string_view* text, char wanted) {
  if (!text->starts_with(wanted)) return false;
  text->remove_prefix(1);
  return true;
}

// "            512000 kB" -> bytes.
std::optional<core::Bytes> ParseKilobytes(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  core::Bytes number = 0;
  if (text.starts_with('-') || !TakeNumber(&text, 10, &number) || text != " kB") return std::nullopt;
  if (number > std::numeric_limits<core::Bytes>::max() / core::kKiB) return std::nullopt;
  return number * core::kKiB;
}

// Feeds `parser` with the file until its end, or until `go_on` says no.
absl::Status FeedFile(int process, const char* name, const std::function<bool()>& go_on,
                      SmapsParser* parser) {
  const UniqueFd fd(::openat(process, name, O_RDONLY | O_CLOEXEC));
  if (!fd) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", name));
  std::array<char, 16 * 1024> buffer;
  for (;;) {
    if (!go_on()) return absl::CancelledError(absl::StrCat("reading ", name, " was given up"));
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, absl::StrCat("reading ", name));
    if (got == 0) return absl::OkStatus();
    absl::Status fed = parser->Feed({buffer.data(), static_cast<std::size_t>(got)});
    if (!fed.ok()) return fed;
  }
}

}  // namespace

absl::Status SmapsParser::Feed(std::string_view piece) {
  while (!piece.empty()) {
    const std::size_t end = std::min(piece.find('\n'), piece.size());
    const std::size_t kept = std::min(end, line_.size() - line_length_);
    std::memcpy(line_.data() + line_length_, piece.data(), kept);
    line_length_ += kept;
    in_line_ = end == piece.size();
    if (in_line_) return absl::OkStatus();
    piece.remove_prefix(end + 1);
    absl::Status taken = TakeLine();
    line_length_ = 0;
    if (!taken.ok()) return taken;
  }
  return absl::OkStatus();
}

absl::Status SmapsParser::TakeLine() {
  const std::string_view line(line_.data(), line_length_);
  // Field names begin with a capital, addresses are written in lower case.
  const bool field = !line.empty() && line.front() >= 'A' && line.front() <= 'Z';
  if (!field) return TakeHeader(line);
  if (!in_mapping_) return NotTheKernels("a field before any mapping", line);

  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return NotTheKernels("no colon", line);
  const std::string_view name = line.substr(0, colon);
  std::optional<core::Bytes>* const wanted = name == "LazyFree"        ? &lazy_
                                             : name == "Anonymous"     ? &anon_
                                             : name == "AnonHugePages" ? &huge_
                                             : name == "Locked"        ? &locked_
                                                                       : nullptr;
  if (wanted == nullptr) return absl::OkStatus();
  if (wanted->has_value()) return NotTheKernels("a field for the second time", line);
  *wanted = ParseKilobytes(line.substr(colon + 1));
  if (!wanted->has_value()) return NotTheKernels("no amount in kB", line);
  return absl::OkStatus();
}

// "7f0c40000000-7f0c44000000 rw-p 00000000 00:00 0      anything at all".
absl::Status SmapsParser::TakeHeader(std::string_view line) {
  if (absl::Status ended = EndMapping(); !ended.ok()) return ended;
  std::string_view rest = line;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  const bool addresses = TakeNumber(&rest, 16, &start) && TakeChar(&rest, '-') &&
                         TakeNumber(&rest, 16, &end) && TakeChar(&rest, ' ');
  bool flags = rest.size() > kPermissions.size() && rest[kPermissions.size()] == ' ';
  for (std::size_t i = 0; flags && i < kPermissions.size(); ++i) {
    flags = kPermissions[i].find(rest[i]) != std::string_view::npos;
  }
  if (!addresses || !flags) return NotTheKernels("neither a mapping nor a field", line);
  if (start > end || end - start > std::uint64_t{std::numeric_limits<core::Bytes>::max()}) {
    return NotTheKernels("an impossible range", line);
  }
  mapping_ = {.start = start, .length = static_cast<core::Bytes>(end - start)};
  in_mapping_ = true;
  return absl::OkStatus();
}

absl::Status SmapsParser::EndMapping() {
  if (!in_mapping_) return absl::OkStatus();
  in_mapping_ = false;
  // "Locked" stands behind the two others, in smaps and in smaps_rollup.
  const bool complete = std::exchange(locked_, std::nullopt).has_value();
  const auto lazy = std::exchange(lazy_, std::nullopt);
  const auto anon = std::exchange(anon_, std::nullopt);
  const auto huge = std::exchange(huge_, std::nullopt);
  if (!complete || !anon.has_value()) return absl::DataLossError("smaps: a mapping was cut off");
  if (!lazy.has_value()) return absl::UnimplementedError("the kernel does not tell LazyFree (Linux 4.12)");
  if (__builtin_add_overflow(map_.lazy, *lazy, &map_.lazy) ||
      __builtin_add_overflow(map_.anon, *anon, &map_.anon)) {
    return absl::DataLossError("smaps: more memory than can be");
  }
  if (*lazy == 0) return absl::OkStatus();
  mapping_.lazy = *lazy;
  mapping_.anon = *anon;
  mapping_.huge = huge.value_or(0);  // absent: a kernel without huge pages
  map_.ranges.push_back(mapping_);
  // Twice as many are gathered before the small ones go, so that choosing costs little for each.
  if (map_.ranges.size() >= 2 * most_ranges_) KeepLargest(most_ranges_);
  return absl::OkStatus();
}

void SmapsParser::KeepLargest(std::size_t count) {
  if (map_.ranges.size() <= count) return;
  map_.more = true;
  const auto cut = map_.ranges.begin() + static_cast<std::ptrdiff_t>(count);
  std::nth_element(map_.ranges.begin(), cut, map_.ranges.end(),
                   [](const LazyRange& a, const LazyRange& b) { return a.lazy > b.lazy; });
  map_.ranges.erase(cut, map_.ranges.end());
}

absl::StatusOr<LazyMap> SmapsParser::Finish() {
  if (in_line_) return absl::DataLossError("smaps: a line was cut off");
  if (absl::Status ended = EndMapping(); !ended.ok()) return ended;
  KeepLargest(most_ranges_);
  std::sort(map_.ranges.begin(), map_.ranges.end(),
            [](const LazyRange& a, const LazyRange& b) { return a.start < b.start; });
  return std::move(map_);
}

absl::StatusOr<core::Bytes> ReadLazyTotal(int process) {
  SmapsParser parser(1);
  absl::Status fed = FeedFile(
      process, "smaps_rollup", [] { return true; }, &parser);
  if (!fed.ok()) return fed;
  const auto map = parser.Finish();
  if (!map.ok()) return map.status();
  return map->lazy;
}

absl::StatusOr<LazyMap> ReadLazyMap(int process, std::size_t most_ranges,
                                    const std::function<bool()>& go_on) {
  SmapsParser parser(most_ranges);
  absl::Status fed = FeedFile(process, "smaps", go_on, &parser);
  if (!fed.ok()) return fed;
  return parser.Finish();
}

}  // namespace memgov::kernel
