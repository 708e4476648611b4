// What the kernel's memory files say, as values. Pure functions over text: no file is touched here.
//
// They are strict: text that is cut off, lacks a line or holds a number too long is refused as a whole
// (std::nullopt), because half a reading would be taken for a whole one. Bytes above core::kMostBytes are no
// reading either, but a limit may be any number that somebody wrote.

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "governor/core/range.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"

namespace memgov::kernel {

// A limit that was read; `bytes` is absent when the kernel says that there is none.
struct Limit {
  std::optional<core::Bytes> bytes;

  // What usage can reach: a limit above core::kMostBytes is none.
  std::optional<core::Bytes> Reachable() const {
    return bytes && *bytes <= core::kMostBytes ? bytes : std::nullopt;
  }
  bool operator==(const Limit&) const = default;
};

// Decimal digits and nothing else.
std::optional<std::uint64_t> ParseNumber(std::string_view digits);

// "123\n": memory.current, memory.usage_in_bytes.
std::optional<core::Bytes> ParseBytes(std::string_view text);

// memory.max and memory.high ("max" is no limit), memory.limit_in_bytes (PAGE_COUNTER_MAX is no limit).
std::optional<Limit> ParseLimit(std::string_view text);

// memory.stat. v1: the hierarchical total_ lines, where v2's anon is total_rss and v2's file is total_cache
// (both include shmem in file).
std::optional<core::MemoryStat> ParseMemoryStat(MemoryVersion version, std::string_view text);

// The oom_kill line of memory.events (v2) or memory.oom_control (v1, Linux 4.13 and newer).
std::optional<std::uint64_t> ParseOomKills(std::string_view text);

// memory.pressure and /proc/pressure/memory.
std::optional<core::PressureTotals> ParsePressure(std::string_view text);

// /proc/meminfo, in bytes.
struct MemInfo {
  core::Bytes total = 0;
  core::Bytes available = 0;
  core::Bytes swap_free = 0;
};
std::optional<MemInfo> ParseMemInfo(std::string_view text);

}  // namespace memgov::kernel
