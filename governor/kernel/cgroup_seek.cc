// The part of CgroupTree that looks for one cgroup, whatever else there is: its cost is that of the path.

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/kernel/cgroup_entry.h"
#include "governor/kernel/cgroup_found.h"
#include "governor/kernel/cgroup_path.h"
#include "governor/kernel/cgroup_tree.h"

namespace memgov::kernel {

using core::CgroupId;
using core::Instant;

absl::StatusOr<CgroupId> CgroupTree::Seek(std::string_view path, Instant now, core::Snapshot* out) {
  if (path.size() > kLongestPath) {
    return absl::OutOfRangeError(absl::StrCat("the path of its cgroup has ", path.size(), " bytes, and only ",
                                              kLongestPath, " can be opened"));
  }
  const std::string wanted = NormalisedPath(path);
  if (wanted.empty())
    return absl::InvalidArgumentError(
        absl::StrCat("\"", std::string(path), "\" is not the path of a cgroup"));
  const auto root = std::find_if(roots_.begin(), roots_.end(),
                                 [&wanted](const std::string& above) { return IsWithin(wanted, above); });
  if (root == roots_.end()) return absl::PermissionDeniedError(absl::StrCat(wanted, " is below no root"));
  if (wanted == "/") return core::kNodeId;
  const std::string directory = layout_.memory_mount + wanted;
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ENODEV) {
      return absl::NotFoundError(absl::StrCat("its cgroup is not below ", layout_.memory_mount, " any more"));
    }
    return absl::UnavailableError(absl::StrCat("its cgroup cannot be looked at: ", std::strerror(errno)));
  }
  const auto known = by_path_.find(wanted);
  if (known != by_path_.end()) {
    const Entry* entry = Find(known->second);
    if (entry->inode == info.st_ino && !entry->gone) return entry->id;
  }
  // From the root of ours down: some on the way may be new as well, or have been replaced.
  ++scan_;
  CgroupId deepest = core::kNodeId;
  std::size_t end = *root == "/" ? 0 : root->size();
  if (end == 0) end = std::min(wanted.find('/', 1), wanted.size());
  while (true) {
    const Found found{.path = wanted.substr(0, end), .parent = deepest};
    bool has_children = false;
    const Entry* entry = Visit(found, now, &has_children, out);
    if (entry == nullptr) break;
    // Nobody has listed a newcomer's other children: that is for the next scan.
    if (!out->appeared.empty() && out->appeared.back().id == entry->id) SuspectAt(entry->id, Instant());
    deepest = entry->id;
    if (end == wanted.size()) break;
    end = std::min(wanted.find('/', end + 1), wanted.size());
  }
  HandOverCondemned(out);
  if (deepest == core::kNodeId) {
    return absl::NotFoundError(
        "no cgroup above it is watched: the memory controller is not there, or there are too many beside it");
  }
  return deepest;
}

void CgroupTree::Drop(CgroupId id, core::Snapshot* out) {
  const Entry* entry = Find(id);
  if (entry == nullptr || !entry->gone) return;
  CondemnWithAllBelow(id);
  HandOverCondemned(out);
}

}  // namespace memgov::kernel
