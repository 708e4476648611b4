#include "governor/kernel/memory_reclaim.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {
namespace {

using core::Bytes;

// That many steps in a row below an eighth of what was asked end the order.
constexpr int kMostDisappointments = 2;
// Refaults below that are noise.
constexpr Bytes kRefaultNoise = core::kMiB;

// Whether so much of what left is being read back that it was in use.
bool IsReadBack(Bytes refaulted, Bytes dropped) {
  return refaulted > std::max(kRefaultNoise, std::max<Bytes>(dropped, 0) / 8);
}

}  // namespace

absl::Status WriteReclaim(const CgroupLayout& layout, const std::string& path, Bytes bytes,
                          bool swappiness_argument) {
  const std::string file = absl::StrCat(layout.memory_mount, path, "/memory.reclaim");
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return absl::ErrnoToStatus(errno == ENODEV ? ENOENT : errno, absl::StrCat("opening ", file));
  const std::string text = absl::StrCat(bytes, swappiness_argument ? " swappiness=0" : "");
  if (::write(fd.get(), text.data(), text.size()) >= 0) return absl::OkStatus();
  const int error = errno;
  if (error == EAGAIN || error == EINTR) return absl::UnavailableError("less was found than asked for");
  return absl::ErrnoToStatus(error == ENODEV ? ENOENT : error,
                             absl::StrCat("writing \"", text, "\" to ", file));
}

ReclaimResult ReclaimMemory(const CgroupLayout& layout, const ReclaimOrder& order, bool swappiness_argument,
                            const GoOn& go_on) {
  if (layout.memory_version == MemoryVersion::kV1) {
    return {.status = absl::FailedPreconditionError("cgroup v1 has no memory.reclaim")};
  }
  if (!swappiness_argument && SwapIsAvailable(layout, order.path)) {
    return {.status = absl::FailedPreconditionError(
                "memory.reclaim would swap: this kernel takes no swappiness argument (Linux 6.11)")};
  }
  ReclaimMeter meter(layout, order.path);
  const auto before = meter.Usage();
  if (!before.ok()) return {.status = before.status()};
  const Bytes page = ::sysconf(_SC_PAGESIZE);
  ReclaimResult result{.usage_before = *before, .usage_after = *before};
  result.refaults_before = meter.Refaults();
  result.refaults_after = result.refaults_before;

  result.end = ReclaimEnd::kTimeOver;
  for (int disappointments = 0; go_on();) {
    const Bytes missing = order.bytes - (result.usage_before - result.usage_after);
    if (missing <= 0) {
      result.end = ReclaimEnd::kEnough;
      break;
    }
    const Bytes step = std::min(missing, kReclaimStep);
    absl::Status written = WriteReclaim(layout, order.path, step, swappiness_argument);
    const auto usage = meter.Usage();
    if (!usage.ok() || (!written.ok() && !absl::IsUnavailable(written))) {
      result.status = usage.ok() ? written : usage.status();
      break;
    }
    disappointments = result.usage_after - *usage < step / 8 ? disappointments + 1 : 0;
    result.usage_after = *usage;
    result.refaults_after = meter.Refaults();
    if (result.refaults_before.has_value() && result.refaults_after.has_value()) {
      const auto pages = static_cast<Bytes>(*result.refaults_after - *result.refaults_before);
      if (IsReadBack(pages * page, result.usage_before - result.usage_after)) {
        result.end = ReclaimEnd::kRefaults;
        break;
      }
    }
    if (disappointments == kMostDisappointments) {
      result.end = absl::IsUnavailable(written) ? ReclaimEnd::kNoMore : ReclaimEnd::kNoYield;
      break;
    }
  }
  return result;
}

}  // namespace memgov::kernel
