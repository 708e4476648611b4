// From an accepted Unix socket to the process behind it and the cgroup that pays for its memory.
//
// The threat: a peer that exits right after connect(), so that its pid is given to another process while we
// read /proc, and we take one for the other. The defence is a pidfd that pins the process: everything is read
// first, and only if the pidfd still names a living process afterwards was it all about that process.
// The caller's duty: keep the pidfd and drop the client when it becomes readable, because a forked child
// keeps the connection open after the owner died.

#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "governor/base/unique_fd.h"
#include "governor/core/units.h"
#include "governor/identity/peer.h"

namespace memgov::identity {

struct AttestedPeer {
  Peer peer;
  base::UniqueFd pidfd;  // readable (POLLIN) when the process has exited
};

struct AttestorOptions {
  // Where our cgroup namespace begins, below the root of the memory hierarchy. "/" unless memgovd runs in a
  // private cgroup namespace (docker and Kubernetes default on v2); the kernel shows us paths relative to it.
  // FindNamespaceRoot tells; absent, because it could not, everybody is refused.
  std::optional<std::string> cgroup_namespace_root = "/";
  // False takes the way of kernels before 6.5 even where SO_PEERPIDFD exists.
  bool use_peer_pidfd = true;
};

// Identifies the peer of the connected Unix socket `socket`, which stays the caller's. All of Peer but `pod`.
// Any thread; a few reads of /proc, about 50 us, no waiting. UNAUTHENTICATED, with what to do about it: the
// peer is in a pid namespace that we cannot see, has exited, or its cgroup cannot be told. INTERNAL: a system
// call failed that does not fail on a sound kernel.
absl::StatusOr<AttestedPeer> Attest(int socket, const AttestorOptions& options = {});

// Who connected, as far as it costs next to nothing: SO_PEERCRED. The pid is 0 where it is in no pid
// namespace of ours.
absl::StatusOr<ucred> CredentialsOf(int socket);

// In which cgroup, below the root of the memory hierarchy, the process `pid` is now: one read of /proc, about
// 10 us. It pins nobody: whoever has the pid by then is told. Errors as of Attest.
absl::StatusOr<std::string> CgroupOf(pid_t pid, const AttestorOptions& options = {});

// The same of a process that has not exited; UNAUTHENTICATED of one that has, also where it is not reaped
// yet.
absl::StatusOr<std::string> CgroupOfLiving(pid_t pid, const AttestorOptions& options = {});

// Bytes that the process has in memory (VmRSS); 0 if it is gone. About 5 us.
core::Bytes ResidentOf(pid_t pid);

// What the process calls itself (comm), for people; empty if it is gone.
std::string CommandOf(pid_t pid);

// SO_COOKIE of a socket. It tells two connections apart that used the same descriptor number.
absl::StatusOr<std::uint64_t> SocketCookie(int socket);

// The path of the memory cgroup in the text of /proc/PID/cgroup: of the v1 line that lists `memory`,
// otherwise of the v2 line `0::`. Pure. INVALID_ARGUMENT with the offending line: no such line, two that
// contradict each other, a path that does not begin with '/', a removed cgroup.
absl::StatusOr<std::string> MemoryCgroupPath(absl::string_view proc_pid_cgroup);

// Turns a path as seen from a cgroup namespace into one below the root of the hierarchy: "/../b" seen from
// "/a/self" is "/a/b". Pure. INVALID_ARGUMENT: the path leads above the root, which means that the namespace
// root is not known or wrong.
absl::StatusOr<std::string> ResolveCgroupPath(absl::string_view seen, absl::string_view namespace_root);

}  // namespace memgov::identity
