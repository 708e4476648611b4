#include "governor/kernel/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "governor/base/state_directory.h"
#include "governor/kernel/cgroup_path.h"
#include "governor/kernel/parse.h"
#include "governor/kernel/probe_cgroup.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {
namespace {

// Inode numbers of the first namespaces (include/uapi/linux/nsfs.h).
constexpr std::string_view kFirstPidNamespace = "pid:[4026531836]";
constexpr std::string_view kFirstCgroupNamespace = "cgroup:[4026531835]";
constexpr std::size_t kMostCounted = 32768;

std::string Slurp(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::uint64_t NumberIn(const std::string& path) {
  std::uint64_t number = 0;
  std::istringstream(Slurp(path)) >> number;
  return number;
}

// The value of "Name:   value" in a file of such lines.
std::string FieldIn(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != ':') continue;
    const std::size_t start = line.find_first_not_of(" \t", name.size() + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

std::string LinkAt(const std::string& path) {
  std::error_code error;
  return std::filesystem::read_symlink(path, error).string();
}

// The nearest directory that exists must let us make something in it. Asking changes nothing.
int DirectoryError(const std::string& directory) {
  std::filesystem::path at(directory.empty() ? "." : directory);
  std::error_code error;
  while (!std::filesystem::exists(at, error) && at.has_parent_path() && at != at.parent_path()) {
    at = at.parent_path();
  }
  if (!std::filesystem::is_directory(at, error)) return ENOTDIR;
  return ::access(at.c_str(), W_OK | X_OK) == 0 ? 0 : errno;
}

std::string DistrustOf(const std::string& directory, const base::StateDirectory::Terms& terms) {
  const absl::Status status = base::StateDirectory::Open(directory, terms).status();
  return absl::IsFailedPrecondition(status) ? std::string(status.message()) : "";
}

void ProbeProcess(NodeFacts* facts) {
  utsname names{};
  if (::uname(&names) == 0) facts->kernel = names.release;
  facts->uid = ::geteuid();
  std::istringstream(FieldIn("/proc/self/status", "CapEff")) >> std::hex >> facts->capabilities;
  facts->first_pid_namespace = LinkAt("/proc/self/ns/pid") == kFirstPidNamespace;
  facts->first_cgroup_namespace = LinkAt("/proc/self/ns/cgroup") == kFirstCgroupNamespace;
  const UniqueFd kmsg(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  facts->kmsg_error = kmsg ? 0 : errno;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) facts->file_limit = limit.rlim_max;
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    facts->memlock_limit = limit.rlim_cur;
  }
}

void ProbeMachine(NodeFacts* facts) {
  facts->listen_queue = NumberIn("/proc/sys/net/core/somaxconn");
  facts->inotify_watches = NumberIn("/proc/sys/fs/inotify/max_user_watches");
  facts->inotify_instances = NumberIn("/proc/sys/fs/inotify/max_user_instances");
  facts->system_pressure = ParsePressure(Slurp("/proc/pressure/memory")).has_value();
  std::uint64_t swap_kib = 0;
  std::istringstream(FieldIn("/proc/meminfo", "SwapTotal")) >> swap_kib;
  facts->swap = static_cast<core::Bytes>(swap_kib) * core::kKiB;
  const std::string mglru = Slurp("/sys/kernel/mm/lru_gen/enabled");  // "0x0007"
  if (!mglru.empty()) facts->mglru = mglru.find_first_of("123456789abcdef", 2) != std::string::npos;
  const std::string thp = Slurp("/sys/kernel/mm/transparent_hugepage/enabled");  // "always [madvise] never"
  const std::size_t open = thp.find('[');
  const std::size_t close = thp.find(']');
  if (open < close && close != std::string::npos) {
    facts->transparent_huge_pages = thp.substr(open + 1, close - open - 1);
  }
}

std::size_t CountCgroups(const std::string& directory) {
  std::error_code error;
  std::filesystem::recursive_directory_iterator walk(directory, error);
  std::size_t count = 0;
  while (!error && walk != std::filesystem::end(walk) && count < kMostCounted) {
    std::error_code gone;
    if (walk->is_directory(gone)) ++count;
    walk.increment(error);
  }
  return count;
}

RootFacts ProbeRoot(const CgroupLayout& layout, const std::string& root) {
  RootFacts facts{.path = root};
  const std::string directory = layout.memory_mount + (root == "/" ? "" : root);
  facts.exists = ::access(directory.c_str(), F_OK) == 0;
  if (layout.memory_version == MemoryVersion::kV1) {
    facts.has_memory = ::access((directory + "/memory.usage_in_bytes").c_str(), R_OK) == 0;
    return facts;
  }
  // The hierarchy's own root has no memory.current; what counts there are its children.
  std::istringstream words(
      Slurp(directory + (root == "/" ? "/cgroup.subtree_control" : "/cgroup.controllers")));
  for (std::string word; words >> word;) facts.has_memory |= word == "memory";
  return facts;
}

}  // namespace

bool HasCapability(std::uint64_t set, unsigned capability) { return ((set >> capability) & 1) != 0; }

std::optional<int> LockOwner(const std::string& file) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) return std::nullopt;
  // "1: FLOCK  ADVISORY  WRITE 1234 00:1a:5678 0 EOF"
  const std::string wanted = absl::StrFormat("%02x:%02x:%d", major(info.st_dev), minor(info.st_dev),
                                             static_cast<std::uint64_t>(info.st_ino));
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, advisory, access, place;
    int pid = 0;
    if (words >> number >> kind >> advisory >> access >> pid >> place && kind == "FLOCK" && place == wanted) {
      return pid;
    }
  }
  return std::nullopt;
}

NodeFacts ProbeNode(const ProbeRequest& request) {
  NodeFacts facts;
  facts.clients_per_tenant = request.clients_per_tenant;
  ProbeProcess(&facts);
  ProbeMachine(&facts);
  facts.process_madvise = TryProcessMadvise();
  const std::filesystem::path socket(request.socket_path);
  facts.socket_dir_error = DirectoryError(socket.parent_path().string());
  facts.state_dir_error = DirectoryError(request.state_dir);
  facts.socket_dir_distrust =
      DistrustOf(base::DirectoryOf(request.socket_path), {.sticky_may_be = true, .flag = "--socket"});
  facts.state_dir_distrust = DistrustOf(request.state_dir, {});
  facts.daemon_pid = LockOwner(request.socket_path + ".lock");

  auto layout = DiscoverCgroups(request.cgroup_mount);
  if (!layout.ok()) {
    facts.layout_error = std::string(layout.status().message());
    return facts;
  }
  facts.layout = *std::move(layout);
  for (const std::string& root : IndependentRoots(request.roots)) {
    facts.roots.push_back(ProbeRoot(*facts.layout, root));
    facts.cgroups += CountCgroups(facts.layout->memory_mount + (root == "/" ? "" : root));
  }
  if (request.try_out) {
    ProbeCgroups(&facts);
  } else {
    LookAtCgroups(&facts);
  }
  return facts;
}

}  // namespace memgov::kernel
