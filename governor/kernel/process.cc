#include "governor/kernel/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

bool HasEffectiveCapability(unsigned capability) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[capability / 32].effective & (1u << (capability % 32))) != 0;
}

absl::Status OomScoreAdjust(int score) {
  constexpr char kPath[] = "/proc/self/oom_score_adj";
  const UniqueFd fd(::open(kPath, O_WRONLY | O_CLOEXEC));
  const std::string text = std::to_string(score);
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return absl::ErrnoToStatus(errno, absl::StrCat("writing ", score, " to ", kPath));
  }
  return absl::OkStatus();
}

absl::Status LockMemory() {
  rlimit limit{};
  const bool unbounded = HasEffectiveCapability(CAP_IPC_LOCK) ||
                         (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY);
  const int future = unbounded ? MCL_FUTURE : 0;
  if (::mlockall(MCL_CURRENT | MCL_ONFAULT | future) != 0) {
    return absl::ErrnoToStatus(errno,
                               "locking our memory (CAP_IPC_LOCK or a larger RLIMIT_MEMLOCK allows it)");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::size_t> RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::ErrnoToStatus(errno, "reading RLIMIT_NOFILE");
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::ErrnoToStatus(errno, "raising RLIMIT_NOFILE");
  }
  return static_cast<std::size_t>(limit.rlim_cur);
}

}  // namespace memgov::kernel
