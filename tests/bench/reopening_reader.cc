#include "tests/bench/reopening_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string_view>

#include "governor/kernel/parse.h"

namespace memgov::bench {
namespace {

constexpr std::size_t kBufferSize = 16 * 1024;  // as CgroupFiles has it

// Opens, reads, closes and parses. Absent without the file.
template <typename Parser>
auto Read(const std::string& path, Parser parse) -> decltype(parse(std::string_view())) {
  if (path.empty()) return std::nullopt;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::array<char, kBufferSize> buffer;
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  ::close(fd);
  if (got < 0) return std::nullopt;
  return parse(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
}

}  // namespace

void ReopeningReader::Add(const core::CgroupAppeared& cgroup) {
  const bool v1 = layout_.memory_version == kernel::MemoryVersion::kV1;
  const std::string directory = layout_.memory_mount + cgroup.path + "/";
  cgroups_.push_back({.id = cgroup.id,
                      .usage = directory + (v1 ? "memory.usage_in_bytes" : "memory.current"),
                      .limit = directory + (v1 ? "memory.limit_in_bytes" : "memory.max"),
                      .high = v1 ? std::string() : directory + "memory.high",
                      .events = directory + (v1 ? "memory.oom_control" : "memory.events"),
                      .stat = directory + "memory.stat",
                      .pressure = layout_.pressure_mount
                                      ? *layout_.pressure_mount + cgroup.path + "/memory.pressure"
                                      : std::string()});
}

void ReopeningReader::ReadAll(core::Instant now, std::size_t stat_in, core::Snapshot* out) {
  ++round_;
  out->samples.reserve(cgroups_.size());
  for (std::size_t number = 0; number < cgroups_.size(); ++number) {
    const Cgroup& cgroup = cgroups_[number];
    const auto usage = Read(cgroup.usage, kernel::ParseBytes);
    if (!usage) continue;
    core::CgroupSample& sample = out->samples.emplace_back();
    sample.id = cgroup.id;
    sample.taken_at = now;
    sample.usage = *usage;
    sample.swap_left = 0;
    if (const auto limit = Read(cgroup.limit, kernel::ParseLimit)) sample.limit = limit->bytes;
    if (const auto high = Read(cgroup.high, kernel::ParseLimit)) sample.memory_high = high->bytes;
    sample.oom_kills = Read(cgroup.events, kernel::ParseOomKills).value_or(0);
    if ((round_ + number) % stat_in != 0) continue;
    sample.stat = Read(cgroup.stat, [this](std::string_view text) {
      return kernel::ParseMemoryStat(layout_.memory_version, text);
    });
    sample.pressure = Read(cgroup.pressure, kernel::ParsePressure);
  }
}

}  // namespace memgov::bench
