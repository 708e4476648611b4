#include "governor/identity/attestor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "governor/identity/container_name.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // Linux 6.5; Debian 12's headers are older
#endif

namespace memgov::identity {
namespace {

using base::UniqueFd;

// Far more than the kernel writes: a dozen hierarchies of PATH_MAX each.
constexpr std::size_t kMaxProcFile = 128 * 1024;

absl::Status Exited(pid_t pid) {
  return absl::UnauthenticatedError(
      absl::StrCat("the process that connected (pid ", pid, ") exited before it could be identified"));
}

absl::Status NamespaceUnknown() {
  return absl::UnauthenticatedError(
      "memgovd does not find itself in the cgroup mount that it uses, so it cannot tell in which cgroup a "
      "peer "
      "is; mount the whole of the host's /sys/fs/cgroup into its container (--cgroup-mount), or say where "
      "its "
      "cgroup namespace begins (--cgroup-namespace-root)");
}

// The whole of a small file of /proc/PID. An exited process is the only error that a peer can bring about.
absl::StatusOr<std::string> ReadProcFile(pid_t pid, absl::string_view name) {
  const std::string path = absl::StrCat("/proc/", pid, "/", name);
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  while (fd && text.size() < kMaxProcFile) {
    char buffer[4096];
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n == 0) return text;
    if (n > 0) {
      text.append(buffer, static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      break;
    }
  }
  if (text.size() >= kMaxProcFile) return absl::InternalError(absl::StrCat(path, ": unreasonably long"));
  if (errno == ENOENT || errno == ESRCH) return Exited(pid);
  return absl::ErrnoToStatus(errno, path);
}

// As seen from our cgroup namespace.
absl::StatusOr<std::string> SeenCgroupOf(pid_t pid) {
  const absl::StatusOr<std::string> cgroups = ReadProcFile(pid, "cgroup");
  if (!cgroups.ok()) return cgroups.status();
  absl::StatusOr<std::string> path = MemoryCgroupPath(*cgroups);
  if (path.ok()) return path;
  return absl::UnauthenticatedError(absl::StrCat("/proc/", pid, "/cgroup: ", path.status().message()));
}

absl::StatusOr<std::string> Resolve(absl::string_view seen, const AttestorOptions& options) {
  if (!options.cgroup_namespace_root) return NamespaceUnknown();
  absl::StatusOr<std::string> cgroup = ResolveCgroupPath(seen, *options.cgroup_namespace_root);
  if (!cgroup.ok()) return absl::UnauthenticatedError(cgroup.status().message());
  return cgroup;
}

// What /proc says about a process at one moment.
struct Look {
  std::uint64_t start_time = 0;  // clock ticks since boot
  std::string cgroup;            // as seen from our cgroup namespace
  bool operator==(const Look&) const = default;
};

absl::StatusOr<Look> LookAt(pid_t pid) {
  const absl::StatusOr<std::string> stat = ReadProcFile(pid, "stat");
  if (!stat.ok()) return stat.status();
  // "PID (COMM) STATE ...": COMM may hold anything, also ") Z ", so count from the last parenthesis. There
  // the state is the first field and the start time the twentieth (proc(5), fields 3 and 22).
  const std::size_t comm_end = stat->rfind(") ");
  if (comm_end == std::string::npos)
    return absl::InternalError(absl::StrCat("/proc/", pid, "/stat: ", *stat));
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(*stat).substr(comm_end + 2), ' ');
  Look look;
  if (fields.size() < 20 || !absl::SimpleAtoi(fields[19], &look.start_time)) {
    return absl::InternalError(absl::StrCat("/proc/", pid, "/stat: ", *stat));
  }
  if (fields[0] == "Z" || fields[0] == "X") {
    // Other threads may live on, but the kernel shows a dead main thread in the root cgroup (v1).
    return absl::UnauthenticatedError(absl::StrCat("the main thread of the process that connected (pid ", pid,
                                                   ") has exited, so its cgroup cannot be told"));
  }
  absl::StatusOr<std::string> path = SeenCgroupOf(pid);
  if (!path.ok()) return path.status();
  look.cgroup = *std::move(path);
  return look;
}

// The pidfd that the kernel made at connect() time; absent where it has none (before 6.5).
absl::StatusOr<std::optional<UniqueFd>> PeerPidfd(int socket, pid_t pid) {
  int fd = -1;
  socklen_t size = sizeof fd;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0) return UniqueFd(fd);
  if (errno == ENOPROTOOPT) return std::nullopt;
  if (errno == ESRCH || errno == EINVAL) return Exited(pid);  // EINVAL: reaped, on 6.5 to 6.9
  return absl::ErrnoToStatus(errno, "getsockopt(SO_PEERPIDFD)");
}

absl::StatusOr<UniqueFd> OpenPidfd(pid_t pid) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (fd) return fd;
  if (errno == ESRCH || errno == EINVAL) return Exited(pid);
  return absl::ErrnoToStatus(errno, "pidfd_open");
}

absl::Status StillAlive(const UniqueFd& pidfd, pid_t pid) {
  pollfd entry{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  const int ready = ::poll(&entry, 1, 0);
  if (ready < 0 && errno != EINTR) return absl::ErrnoToStatus(errno, "poll(pidfd)");
  return ready == 0 ? absl::OkStatus() : Exited(pid);
}

}  // namespace

absl::StatusOr<std::uint64_t> SocketCookie(int socket) {
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (::getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0) return cookie;
  return absl::ErrnoToStatus(errno, "getsockopt(SO_COOKIE)");
}

absl::StatusOr<ucred> CredentialsOf(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) return credentials;
  return absl::ErrnoToStatus(errno, "getsockopt(SO_PEERCRED)");
}

absl::StatusOr<std::string> CgroupOf(pid_t pid, const AttestorOptions& options) {
  const absl::StatusOr<std::string> seen = SeenCgroupOf(pid);
  if (!seen.ok()) return seen.status();
  return Resolve(*seen, options);
}

absl::StatusOr<std::string> CgroupOfLiving(pid_t pid, const AttestorOptions& options) {
  const absl::StatusOr<Look> look = LookAt(pid);
  if (!look.ok()) return look.status();
  return Resolve(look->cgroup, options);
}

core::Bytes ResidentOf(pid_t pid) {
  const absl::StatusOr<std::string> statm = ReadProcFile(pid, "statm");  // pages: size, resident, ...
  if (!statm.ok()) return 0;
  const std::vector<absl::string_view> fields = absl::StrSplit(*statm, ' ');
  core::Bytes pages = 0;
  if (fields.size() < 2 || !absl::SimpleAtoi(fields[1], &pages)) return 0;
  return pages * ::sysconf(_SC_PAGESIZE);
}

std::string CommandOf(pid_t pid) {
  const absl::StatusOr<std::string> comm = ReadProcFile(pid, "comm");
  return comm.ok() ? std::string(absl::StripSuffix(*comm, "\n")) : "";
}

absl::StatusOr<AttestedPeer> Attest(int socket, const AttestorOptions& options) {
  const absl::StatusOr<ucred> credentials = CredentialsOf(socket);
  if (!credentials.ok()) return credentials.status();
  const pid_t pid = credentials->pid;
  if (pid <= 0) {
    return absl::UnauthenticatedError(
        "the process that connected is not visible from memgovd's pid namespace; run memgovd in the host's "
        "(Kubernetes: hostPID: true, containers: --pid=host)");
  }
  const absl::StatusOr<std::uint64_t> cookie = SocketCookie(socket);
  if (!cookie.ok()) return cookie.status();

  AttestedPeer attested;
  attested.peer.pid = pid;
  attested.peer.uid = credentials->uid;
  attested.peer.gid = credentials->gid;
  attested.peer.cookie = *cookie;
  absl::StatusOr<std::optional<UniqueFd>> at_connect = std::nullopt;
  if (options.use_peer_pidfd) at_connect = PeerPidfd(socket, pid);
  if (!at_connect.ok()) return at_connect.status();
  if (at_connect->has_value()) {
    attested.pidfd = *std::move(*at_connect);
  } else {
    // Pins whoever has the pid now, which is another process if the peer exited and its pid went round since
    // connect(). That cannot be excluded on these kernels; hence weak.
    absl::StatusOr<UniqueFd> now = OpenPidfd(pid);
    if (!now.ok()) return now.status();
    attested.pidfd = *std::move(now);
    attested.peer.weak = true;
  }

  absl::StatusOr<Look> look = LookAt(pid);
  if (!look.ok()) {
    const absl::Status alive = StillAlive(attested.pidfd, pid);
    return alive.ok() ? look.status() : alive;
  }
  if (attested.peer.weak) {
    const absl::StatusOr<Look> again = LookAt(pid);
    if (!again.ok()) return again.status();
    if (*again != *look) {
      return absl::UnauthenticatedError(
          absl::StrCat("the process that connected (pid ", pid, ") moved from cgroup ", look->cgroup, " to ",
                       again->cgroup, " while it was identified; connect again"));
    }
  }
  absl::StatusOr<std::string> cgroup = Resolve(look->cgroup, options);
  if (!cgroup.ok()) return cgroup.status();
  attested.peer.cgroup = *std::move(cgroup);
  attested.peer.workload = ParseContainerName(attested.peer.cgroup);
  attested.peer.container = DisplayName(attested.peer.workload);
  // Last: if the process lives now, then it lived while we read, and the pid was its own.
  if (const absl::Status alive = StillAlive(attested.pidfd, pid); !alive.ok()) return alive;
  return attested;
}

absl::StatusOr<std::string> MemoryCgroupPath(absl::string_view proc_pid_cgroup) {
  std::optional<absl::string_view> v1, v2;
  for (const absl::string_view line : absl::StrSplit(proc_pid_cgroup, '\n', absl::SkipEmpty())) {
    // "ID:CONTROLLERS:PATH"; only the path may hold further colons.
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    const auto bad = [&](absl::string_view why) {
      return absl::InvalidArgumentError(absl::StrCat(why, ": \"", absl::CHexEscape(line), "\""));
    };
    if (parts.size() != 3) return bad("not a line of the form ID:CONTROLLERS:PATH");
    const bool unified = parts[0] == "0" && parts[1].empty();
    bool memory = false;
    for (const absl::string_view controller : absl::StrSplit(parts[1], ',')) memory |= controller == "memory";
    if (!unified && !memory) continue;
    std::optional<absl::string_view>& path = unified ? v2 : v1;
    if (!absl::StartsWith(parts[2], "/")) return bad("the path does not begin with /");
    if (path && *path != parts[2]) return bad("a second, different line for the memory controller");
    path = parts[2];
  }
  if (v1) return std::string(*v1);
  if (!v2) return absl::InvalidArgumentError("neither a memory: line nor a 0:: line");
  // Only v2 says so, and only of a cgroup that no living process can be in.
  if (absl::EndsWith(*v2, " (deleted)")) {
    return absl::InvalidArgumentError(absl::StrCat("the cgroup was removed: ", absl::CHexEscape(*v2)));
  }
  return std::string(*v2);
}

absl::StatusOr<std::string> ResolveCgroupPath(absl::string_view seen, absl::string_view namespace_root) {
  std::vector<absl::string_view> resolved = absl::StrSplit(namespace_root, '/', absl::SkipEmpty());
  bool climbing = true;
  for (const absl::string_view name : absl::StrSplit(seen, '/', absl::SkipEmpty())) {
    if (name != "..") {
      climbing = false;
      resolved.push_back(name);
      continue;
    }
    if (!climbing || resolved.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("cgroup ", absl::CHexEscape(seen),
                       " lies outside of memgovd's cgroup namespace (root ", namespace_root,
                       "); run memgovd in the host's (containers: --cgroupns=host), or mount the host's "
                       "/sys/fs/cgroup into "
                       "its container and say where (--cgroup-mount)"));
    }
    resolved.pop_back();
  }
  return absl::StrCat("/", absl::StrJoin(resolved, "/"));
}

}  // namespace memgov::identity
