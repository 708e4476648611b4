#include "governor/kernel/reclaim_step.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "governor/kernel/cgroup_path.h"
#include "governor/kernel/parse.h"

namespace memgov::kernel {
namespace {

// "" when it cannot be read.
std::string ReadText(const std::string& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// The digits behind "\nNAME" or behind NAME at the beginning.
std::optional<std::uint64_t> FindNumber(std::string_view text, std::string_view name) {
  for (std::size_t at = text.find(name); at != std::string_view::npos; at = text.find(name, at + 1)) {
    if (at > 0 && text[at - 1] != '\n') continue;
    std::string_view rest = text.substr(at + name.size());
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    std::uint64_t number = 0;
    const auto [stop, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error != std::errc()) return std::nullopt;
    return number;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<core::Bytes> ReclaimMeter::Usage() {
  const Reading<core::Bytes> usage = files_.Usage(path_);
  if (usage.value.has_value()) return *usage.value;
  if (usage.gone) return absl::NotFoundError(absl::StrCat("cgroup ", path_, " is gone"));
  return absl::UnavailableError(absl::StrCat("the usage of ", path_, " cannot be read"));
}

std::optional<std::uint64_t> ReclaimMeter::Refaults() const {
  return ParseFileRefaults(layout_.memory_version,
                           ReadText(absl::StrCat(layout_.memory_mount, path_, "/memory.stat")));
}

std::optional<std::uint64_t> ParseFileRefaults(MemoryVersion version, std::string_view stat) {
  return FindNumber(
      stat, version == MemoryVersion::kV1 ? "total_workingset_refault_file " : "workingset_refault_file ");
}

bool SwapIsAvailable(const CgroupLayout& layout, const std::string& path) {
  const auto free_kb = FindNumber(ReadText("/proc/meminfo"), "SwapFree:");
  if (free_kb.has_value() && *free_kb == 0) return false;
  if (layout.memory_version == MemoryVersion::kV1) return true;
  for (std::string at = path; !at.empty() && at != "/"; at = ParentPath(at)) {
    const std::string directory = layout.memory_mount + at;
    const auto limit = ParseLimit(ReadText(directory + "/memory.swap.max"));
    const auto used = ParseBytes(ReadText(directory + "/memory.swap.current"));
    if (limit.has_value() && limit->bytes.has_value() && *limit->bytes <= used.value_or(0)) return false;
  }
  return true;
}

}  // namespace memgov::kernel
