#include "governor/kernel/reclaim_step.h"

#include <fstream>
#include <sstream>
#include <string_view>

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

// Free swap of the whole machine, in kB.
std::optional<std::uint64_t> FreeSwap() {
  constexpr std::string_view kName = "\nSwapFree:";
  const std::string text = ReadText("/proc/meminfo");
  const std::size_t at = text.find(kName);
  if (at == std::string::npos) return std::nullopt;
  std::istringstream rest(text.substr(at + kName.size()));
  std::uint64_t number = 0;
  return rest >> number ? std::optional(number) : std::nullopt;
}

}  // namespace

absl::StatusOr<core::Bytes> ReclaimMeter::Usage() {
  const Reading<core::Bytes> usage = files_.Usage(path_);
  if (usage.value.has_value()) return *usage.value;
  if (usage.gone) return absl::NotFoundError(absl::StrCat("cgroup ", path_, " is gone"));
  return absl::UnavailableError(absl::StrCat("the usage of ", path_, " cannot be read"));
}

std::optional<std::uint64_t> ReclaimMeter::Refaults() {
  const Reading<core::MemoryStat> stat = files_.Stat(path_, true);
  return stat.value.has_value() ? stat.value->workingset_refault_file : std::nullopt;
}

bool SwapIsAvailable(const CgroupLayout& layout, const std::string& path) {
  if (FreeSwap() == 0U) return false;
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
