#include "governor/kernel/node.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "governor/kernel/parse.h"

namespace memgov::kernel {
namespace {

// Opens `path` unless `fd` is open already, and reads it from its beginning.
template <std::size_t kSize>
std::optional<std::string_view> Read(const std::string& path, UniqueFd* fd, std::array<char, kSize>* buffer) {
  if (!*fd) fd->reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!*fd) return std::nullopt;
  const ssize_t got = ::pread(fd->get(), buffer->data(), buffer->size(), 0);
  if (got < 0) return std::nullopt;
  return std::string_view(buffer->data(), static_cast<std::size_t>(got));
}

}  // namespace

NodeSampler::NodeSampler(std::string meminfo, std::string pressure)
    : meminfo_path_(std::move(meminfo)), pressure_path_(std::move(pressure)) {}

std::optional<core::CgroupSample> NodeSampler::Sample(core::Instant now) {
  std::array<char, 4096> buffer;
  const auto text = Read(meminfo_path_, &meminfo_, &buffer);
  if (!text.has_value()) return std::nullopt;
  const auto info = ParseMemInfo(*text);
  if (!info.has_value()) return std::nullopt;

  core::CgroupSample sample;
  sample.id = core::kNodeId;
  sample.taken_at = now;
  sample.usage = std::max<core::Bytes>(0, info->total - info->available);
  sample.limit = info->total;
  sample.swap_left = info->swap_free;
  if (const auto pressure = Read(pressure_path_, &pressure_, &buffer); pressure.has_value()) {
    sample.pressure = ParsePressure(*pressure);
  }
  return sample;
}

}  // namespace memgov::kernel
