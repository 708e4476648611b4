#include "governor/kernel/cgroup_processes.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <functional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/kernel/cgroup_path.h"

namespace memgov::kernel {
namespace {

// Calls `take` with each pid in the cgroup's own cgroup.procs until it says no; 0 is a process that our pid
// namespace does not have. The errno, 0 for none.
int ForEachPid(const std::string& directory, const std::function<bool(pid_t)>& take) {
  const UniqueFd fd(::open(absl::StrCat(directory, "/cgroup.procs").c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno;
  std::array<char, 4096> buffer;
  pid_t pid = 0;
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return 0;
    for (ssize_t i = 0; i < got; ++i) {
      const char c = buffer[static_cast<std::size_t>(i)];
      if (c >= '0' && c <= '9' && pid < 100'000'000) {
        pid = pid * 10 + (c - '0');
      } else if (c != '\n') {
        return EINVAL;
      } else if (!take(std::exchange(pid, 0))) {
        return 0;
      }
    }
  }
}

absl::Status Gone(pid_t pid, const std::string& why) {
  return absl::NotFoundError(absl::StrCat("process ", pid, " ", why));
}

// Whether the process behind a pidfd has not ended.
bool Lives(int pidfd) {
  pollfd fd{.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&fd, 1, 0) == 0;
}

absl::StatusOr<core::Bytes> ReadStatm(const UniqueFd& fd) {
  static const core::Bytes kPage = ::sysconf(_SC_PAGESIZE);
  if (!fd) return absl::ErrnoToStatus(errno, "opening statm");
  std::array<char, 256> buffer;
  const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
  if (got < 0) return absl::ErrnoToStatus(errno, "reading statm");
  // "size resident shared ...", in pages; shared is what is mapped from files and tmpfs.
  std::array<core::Bytes, 3> pages{};
  const char* at = buffer.data();
  const char* const end = at + got;
  for (core::Bytes& number : pages) {
    const auto [stop, error] = std::from_chars(at, end, number);
    if (error != std::errc() || stop == end || *stop != ' ' || number < 0) {
      return absl::DataLossError(
          absl::StrCat("statm: \"", std::string(buffer.data(), static_cast<std::size_t>(got)), "\""));
    }
    at = stop + 1;
  }
  return std::max<core::Bytes>(pages[1] - pages[2], 0) * kPage;
}

}  // namespace

absl::StatusOr<ProcessList> ProcessesWithin(const CgroupLayout& layout, const std::string& path,
                                            std::size_t most, std::size_t most_cgroups) {
  if (path.empty() || NormalisedPath(path) != path) {
    return absl::InvalidArgumentError(absl::StrCat("\"", path, "\" is not the path of a cgroup"));
  }
  ProcessList list;
  std::vector<std::string> waiting = {path};
  for (std::size_t seen = 0; !waiting.empty(); ++seen) {
    if (seen == most_cgroups || list.more) {
      list.more = true;
      break;
    }
    const std::string cgroup = std::move(waiting.back());
    waiting.pop_back();
    const std::string directory = layout.memory_mount + cgroup;
    const int error = ForEachPid(directory, [&](pid_t pid) {
      if (pid == 0) {
        ++list.hidden;
      } else if (list.processes.size() == most) {
        list.more = true;
      } else {
        list.processes.push_back({.pid = pid, .cgroup = cgroup});
      }
      return !list.more;
    });
    // A threaded cgroup (v2) does not tell; the root of its threads, above, has listed their processes.
    if (error != 0 && error != EOPNOTSUPP && seen == 0) {
      return absl::ErrnoToStatus(error == ENODEV ? ENOENT : error,
                                 absl::StrCat("reading ", directory, "/cgroup.procs"));
    }
    std::error_code ignored;
    for (std::filesystem::directory_iterator entry(directory, ignored), end; entry != end;
         entry.increment(ignored)) {
      if (!entry->is_directory(ignored)) continue;
      waiting.push_back(absl::StrCat(cgroup == "/" ? "" : cgroup, "/", entry->path().filename().string()));
    }
  }
  return list;
}

absl::StatusOr<PinnedProcess> PinnedProcess::Pin(const CgroupLayout& layout, const CgroupProcess& process) {
  const pid_t pid = process.pid;
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return absl::ErrnoToStatus(errno, absl::StrCat("opening a pidfd of process ", pid));
  UniqueFd directory(::open(absl::StrCat("/proc/", pid).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return absl::ErrnoToStatus(errno, absl::StrCat("opening /proc/", pid));
  bool listed = false;
  ForEachPid(layout.memory_mount + process.cgroup, [&](pid_t other) {
    listed = other == pid;
    return !listed;
  });
  // Last: while the process behind the pidfd lives, its pid is nobody else's, so all of the above was it.
  if (!Lives(pidfd.get())) return Gone(pid, "has ended");
  if (!listed) return Gone(pid, absl::StrCat("is not in ", process.cgroup, " any more"));
  return PinnedProcess(pid, std::move(pidfd), std::move(directory));
}

absl::StatusOr<core::Bytes> ReadAnonymousMemory(int directory) {
  return ReadStatm(UniqueFd(::openat(directory, "statm", O_RDONLY | O_CLOEXEC)));
}

absl::StatusOr<core::Bytes> GuessAnonymousMemory(pid_t pid) {
  return ReadStatm(UniqueFd(::open(absl::StrCat("/proc/", pid, "/statm").c_str(), O_RDONLY | O_CLOEXEC)));
}

}  // namespace memgov::kernel
