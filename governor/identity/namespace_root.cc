#include "governor/identity/namespace_root.h"

#include <unistd.h>

#include <cstddef>
#include <deque>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "governor/identity/attestor.h"

namespace memgov::identity {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostCgroups = 20'000;  // a tenant may make many; starting must not take forever

bool Lists(const std::string& directory, pid_t pid) {
  std::ifstream file(directory + "/cgroup.procs");
  for (pid_t listed = 0; file >> listed;) {
    if (listed == pid) return true;
  }
  return false;
}

// The cgroup of `pid` below `mount`, "" for the mount's own. Those near the root come first: that is where
// daemons are, whatever tenants have made further down.
std::optional<std::string> FindProcess(const std::string& mount, pid_t pid) {
  std::deque<std::string> waiting{""};
  for (std::size_t seen = 0; !waiting.empty() && seen < kMostCgroups; ++seen) {
    const std::string path = waiting.front();
    waiting.pop_front();
    if (Lists(mount + path, pid)) return path;
    std::error_code error;  // a cgroup that vanished has no children
    for (fs::directory_iterator entry(mount + path, error), end; !error && entry != end;
         entry.increment(error)) {
      std::error_code ignored;
      if (!entry->is_symlink(ignored) && entry->is_directory(ignored)) {
        waiting.push_back(path + "/" + entry->path().filename().string());
      }
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> FindNamespaceRoot(const std::string& memory_mount) {
  std::ostringstream text;
  text << std::ifstream("/proc/self/cgroup").rdbuf();
  const auto own = MemoryCgroupPath(text.str());
  if (!own.ok()) return std::nullopt;
  return FindNamespaceRoot(memory_mount, *own, ::getpid());
}

std::optional<std::string> FindNamespaceRoot(const std::string& memory_mount, absl::string_view own_path,
                                             pid_t pid) {
  // Moved out of our namespace after it was made: what lies between is not to be told.
  if (absl::StartsWith(own_path, "/..")) return std::nullopt;
  const std::string own(own_path == "/" ? absl::string_view{} : own_path);
  if (Lists(memory_mount + own, pid)) return "/";
  const std::optional<std::string> found = FindProcess(memory_mount, pid);
  if (!found) return std::nullopt;
  absl::string_view root = *found;
  if (!absl::ConsumeSuffix(&root, own)) return std::nullopt;
  return root.empty() ? "/" : std::string(root);
}

}  // namespace memgov::identity
