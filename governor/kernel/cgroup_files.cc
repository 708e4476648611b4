#include "governor/kernel/cgroup_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>

namespace memgov::kernel {
namespace {

// memory.stat of a current kernel is below 2 KiB; a text that fills the buffer counts as cut off.
constexpr std::size_t kBufferSize = 16 * 1024;

constexpr std::array<const char*, 8> kV1Names = {"memory.usage_in_bytes",
                                                 "memory.limit_in_bytes",
                                                 nullptr,
                                                 "memory.oom_control",
                                                 "memory.stat",
                                                 "memory.pressure",
                                                 "memory.memsw.usage_in_bytes",
                                                 "memory.memsw.limit_in_bytes"};
constexpr std::array<const char*, 8> kV2Names = {"memory.current",      "memory.max",     "memory.high",
                                                 "memory.events",       "memory.stat",    "memory.pressure",
                                                 "memory.swap.current", "memory.swap.max"};

// Opens the concatenation of `parts`, without an allocation.
int OpenJoined(std::initializer_list<std::string_view> parts) {
  std::array<char, PATH_MAX> name;
  std::size_t length = 0;
  for (const std::string_view part : parts) {
    if (length + part.size() >= name.size()) {
      errno = ENAMETOOLONG;
      return -1;
    }
    std::memcpy(name.data() + length, part.data(), part.size());
    length += part.size();
  }
  name[length] = '\0';
  return ::open(name.data(), O_RDONLY | O_CLOEXEC);
}

}  // namespace

void CgroupFiles::Close(File file) {
  if (!fds_[file]) return;
  fds_[file].reset();
  --budget_->kept;
}

void CgroupFiles::CloseAll() {
  for (std::size_t file = 0; file < kFileCount; ++file) Close(static_cast<File>(file));
}

template <typename T, typename Parser>
Reading<T> CgroupFiles::ReadAs(File file, std::string_view path, bool keep, Parser parse) {
  const bool v1 = layout_->memory_version == MemoryVersion::kV1;
  const char* name = v1 ? kV1Names[file] : kV2Names[file];
  if (name == nullptr || (file == kPressure && !layout_->pressure_mount.has_value())) return {};
  const std::string& mount = file == kPressure ? *layout_->pressure_mount : layout_->memory_mount;

  UniqueFd passing;
  if (!fds_[file]) {
    passing.reset(OpenJoined({mount, path, "/", name}));
    if (!passing) {
      if (errno == EMFILE || errno == ENFILE) budget_->exhausted = true;
      // Usage is in every cgroup that has the controller, so its absence is the cgroup's. Others may lack.
      return {.value = std::nullopt, .gone = file == kUsage && (errno == ENOENT || errno == ENODEV)};
    }
  }
  const int fd = fds_[file] ? fds_[file].get() : passing.get();
  std::array<char, kBufferSize> buffer;
  const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), 0);
  // A kept descriptor of a removed cgroup says ENODEV; so does one whose controller was switched off.
  const bool gone = got < 0 && errno == ENODEV && file != kPressure;

  const bool over_budget = budget_->kept > budget_->most;
  if (passing) {
    if (keep && !gone && budget_->kept < budget_->most) {
      fds_[file] = std::move(passing);
      ++budget_->kept;
    } else if (keep) {
      budget_->ran_out = true;
    }
  } else if (!keep || gone || over_budget || got < 0) {
    Close(file);
  }
  if (got < 0 || static_cast<std::size_t>(got) == buffer.size()) return {.value = std::nullopt, .gone = gone};
  return {.value = parse(std::string_view(buffer.data(), static_cast<std::size_t>(got))), .gone = false};
}

Reading<core::Bytes> CgroupFiles::Usage(std::string_view path) {
  return ReadAs<core::Bytes>(kUsage, path, true, ParseBytes);
}

Reading<Limit> CgroupFiles::OwnLimit(std::string_view path) {
  return ReadAs<Limit>(kLimit, path, true, ParseLimit);
}

Reading<Limit> CgroupFiles::High(std::string_view path) {
  return ReadAs<Limit>(kHigh, path, true, ParseLimit);
}

std::optional<core::Bytes> CgroupFiles::SwapLeft(std::string_view path,
                                                 std::optional<core::Bytes> memory_left) {
  const Reading<Limit> limit = ReadAs<Limit>(kSwapLimit, path, false, ParseLimit);
  if (!limit.value.has_value() || !limit.value->Reachable().has_value()) return std::nullopt;
  const Reading<core::Bytes> used = ReadAs<core::Bytes>(kSwap, path, false, ParseBytes);
  if (!used.value.has_value()) return std::nullopt;
  core::Bytes left = *limit.value->bytes - *used.value;
  if (layout_->memory_version == MemoryVersion::kV1)
    left -= std::max<core::Bytes>(memory_left.value_or(0), 0);
  return std::max<core::Bytes>(left, 0);
}

Reading<std::uint64_t> CgroupFiles::OomKills(std::string_view path) {
  return ReadAs<std::uint64_t>(kEvents, path, true, ParseOomKills);
}

Reading<core::MemoryStat> CgroupFiles::Stat(std::string_view path, bool keep) {
  const MemoryVersion version = layout_->memory_version;
  return ReadAs<core::MemoryStat>(
      kStat, path, keep, [version](std::string_view text) { return ParseMemoryStat(version, text); });
}

Reading<core::PressureTotals> CgroupFiles::Pressure(std::string_view path, bool keep) {
  return ReadAs<core::PressureTotals>(kPressure, path, keep, ParsePressure);
}

}  // namespace memgov::kernel
