#include "governor/kernel/parse.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>

namespace memgov::kernel {
namespace {

// PAGE_COUNTER_MAX in bytes depends on the page size; with the largest in use (64 KiB) it is the smallest.
constexpr std::uint64_t kV1NoLimit = std::numeric_limits<std::int64_t>::max() & ~std::uint64_t{0xffff};

std::optional<core::Bytes> ToBytes(std::uint64_t value, std::uint64_t unit = 1) {
  if (value > std::uint64_t{core::kMostBytes} / unit) return std::nullopt;
  return static_cast<core::Bytes>(value * unit);
}

// Takes the next line, without its end, off `text`. A last line without '\n' was cut off: it is no line.
std::optional<std::string_view> TakeLine(std::string_view* text) {
  const std::size_t end = text->find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view line = text->substr(0, end);
  text->remove_prefix(end + 1);
  return line;
}

// A name in a "name value" file, and where its value goes.
struct Wanted {
  std::string_view name;
  std::optional<std::uint64_t> value;
  bool may_lack = false;  // older kernels have no such line
};

// Fills the values of `wanted`; false when one lacks its line or has a malformed one, or when the last line
// was cut off.
bool ReadFlatKeyed(std::string_view text, std::span<Wanted> wanted) {
  while (!text.empty()) {
    const auto line = TakeLine(&text);
    if (!line.has_value()) return false;
    const std::size_t space = line->find(' ');
    if (space == std::string_view::npos) continue;
    const std::string_view name = line->substr(0, space);
    for (Wanted& field : wanted) {
      if (field.name != name) continue;
      if (field.value.has_value()) return false;  // twice: not the kernel's writing
      field.value = ParseNumber(line->substr(space + 1));
      if (!field.value.has_value()) return false;
      break;
    }
  }
  return std::all_of(wanted.begin(), wanted.end(),
                     [](const Wanted& field) { return field.value.has_value() || field.may_lack; });
}

// "some avg10=0.00 avg60=0.00 avg300=0.00 total=123" -> 123.
std::optional<std::uint64_t> ParsePressureLine(std::string_view line, std::string_view name) {
  constexpr std::string_view kTotal = " total=";
  if (!line.starts_with(name)) return std::nullopt;
  line.remove_prefix(name.size());
  if (!line.starts_with(" avg10=")) return std::nullopt;
  const std::size_t at = line.find(kTotal);
  if (at == std::string_view::npos) return std::nullopt;
  return ParseNumber(line.substr(at + kTotal.size()));
}

// "MemTotal:       24684084 kB" -> bytes.
std::optional<core::Bytes> ParseKilobytes(std::string_view line, std::string_view name) {
  constexpr std::string_view kUnit = " kB";
  if (!line.starts_with(name) || !line.ends_with(kUnit)) return std::nullopt;
  line.remove_prefix(name.size());
  line.remove_suffix(kUnit.size());
  const std::size_t digits = line.find_first_not_of(' ');
  if (digits == std::string_view::npos) return std::nullopt;
  const auto number = ParseNumber(line.substr(digits));
  return number.has_value() ? ToBytes(*number, core::kKiB) : std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> ParseNumber(std::string_view digits) {
  std::uint64_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

std::optional<core::Bytes> ParseBytes(std::string_view text) {
  const auto line = TakeLine(&text);
  if (!line.has_value() || !text.empty()) return std::nullopt;
  const auto number = ParseNumber(*line);
  return number.has_value() ? ToBytes(*number) : std::nullopt;
}

std::optional<Limit> ParseLimit(std::string_view text) {
  if (text == "max\n") return Limit{};
  const auto line = TakeLine(&text);
  if (!line.has_value() || !text.empty()) return std::nullopt;
  const auto bytes = ParseNumber(*line);
  if (!bytes.has_value() || *bytes > std::uint64_t{std::numeric_limits<core::Bytes>::max()}) {
    return std::nullopt;
  }
  if (*bytes >= kV1NoLimit) return Limit{};
  return Limit{.bytes = static_cast<core::Bytes>(*bytes)};
}

std::optional<core::MemoryStat> ParseMemoryStat(MemoryVersion version, std::string_view text) {
  constexpr std::size_t kFields = 11;
  using Fields = std::array<Wanted, kFields>;
  Fields fields = version == MemoryVersion::kV1 ? Fields{{{"total_rss", {}},
                                                          {"total_cache", {}},
                                                          {"total_shmem", {}},
                                                          {"total_inactive_anon", {}},
                                                          {"total_active_anon", {}},
                                                          {"total_inactive_file", {}},
                                                          {"total_active_file", {}},
                                                          {"total_unevictable", {}},
                                                          {"total_slab", {}, true},
                                                          {"total_pgmajfault", {}},
                                                          {"total_workingset_refault_file", {}, true}}}
                                                : Fields{{{"anon", {}},
                                                          {"file", {}},
                                                          {"shmem", {}},
                                                          {"inactive_anon", {}},
                                                          {"active_anon", {}},
                                                          {"inactive_file", {}},
                                                          {"active_file", {}},
                                                          {"unevictable", {}},
                                                          {"slab", {}, true},
                                                          {"pgmajfault", {}},
                                                          {"workingset_refault_file", {}, true}}};
  if (!ReadFlatKeyed(text, fields)) return std::nullopt;
  core::MemoryStat stat;
  constexpr std::size_t kSlab = 8;
  constexpr std::size_t kFaults = 9;
  constexpr std::size_t kRefaults = 10;
  const std::array<core::Bytes*, kSlab> bytes = {&stat.anon,          &stat.file,        &stat.shmem,
                                                 &stat.inactive_anon, &stat.active_anon, &stat.inactive_file,
                                                 &stat.active_file,   &stat.unevictable};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto value = ToBytes(*fields[i].value);
    if (!value.has_value()) return std::nullopt;
    *bytes[i] = *value;
  }
  if (fields[kSlab].value.has_value()) {
    stat.slab = ToBytes(*fields[kSlab].value);
    if (!stat.slab.has_value()) return std::nullopt;
  }
  stat.pgmajfault = *fields[kFaults].value;
  stat.workingset_refault_file = fields[kRefaults].value;
  return stat;
}

std::optional<std::uint64_t> ParseOomKills(std::string_view text) {
  std::array<Wanted, 1> field{{{"oom_kill", {}}}};
  if (!ReadFlatKeyed(text, field)) return std::nullopt;
  return field.front().value;
}

std::optional<core::PressureTotals> ParsePressure(std::string_view text) {
  const auto some_line = TakeLine(&text);
  const auto full_line = TakeLine(&text);
  if (!some_line.has_value() || !full_line.has_value() || !text.empty()) return std::nullopt;
  const auto some = ParsePressureLine(*some_line, "some");
  const auto full = ParsePressureLine(*full_line, "full");
  if (!some.has_value() || !full.has_value()) return std::nullopt;
  return core::PressureTotals{.some_us = *some, .full_us = *full};
}

std::optional<MemInfo> ParseMemInfo(std::string_view text) {
  constexpr std::array<std::string_view, 3> kNames = {"MemTotal:", "MemAvailable:", "SwapFree:"};
  std::array<std::optional<core::Bytes>, kNames.size()> values;
  while (std::any_of(values.begin(), values.end(), [](const auto& value) { return !value.has_value(); })) {
    const auto line = TakeLine(&text);
    if (!line.has_value()) return std::nullopt;
    for (std::size_t i = 0; i < kNames.size(); ++i) {
      if (!line->starts_with(kNames[i])) continue;
      values[i] = ParseKilobytes(*line, kNames[i]);
      if (!values[i].has_value()) return std::nullopt;
    }
  }
  return MemInfo{.total = *values[0], .available = *values[1], .swap_free = *values[2]};
}

}  // namespace memgov::kernel
