// The half of CgroupTree that says who is there.

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "governor/kernel/cgroup_entry.h"
#include "governor/kernel/cgroup_path.h"
#include "governor/kernel/cgroup_tree.h"

namespace memgov::kernel {
namespace {

using core::CgroupId;

constexpr std::uint32_t kDirectoryMask = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR;
// Leaves room for the mount point and a file name within PATH_MAX.
constexpr std::size_t kLongestPath = PATH_MAX - 512;

constexpr std::size_t kMostSuspects = 64;

bool MeansAbsent(int error) { return error == ENOENT || error == ENOTDIR || error == ENODEV; }

}  // namespace

struct CgroupTree::Found {
  std::string path;
  CgroupId parent{};
};

void CgroupTree::Scan(core::Snapshot* out) {
  ++scan_;
  all_suspect_ = false;
  suspects_.clear();
  incomplete_ = watches_ran_out_ = cgroups_ran_out_ = paths_too_long_ = readings_lost_ = budget_.ran_out =
      false;
  const auto old_anchors = std::exchange(anchors_, {});
  for (const std::string& root : roots_) ScanRoot(root, out);
  for (const auto& [watch, names] : old_anchors) {
    if (!anchors_.contains(watch)) ::inotify_rm_watch(inotify_.get(), watch);
  }
  if (!incomplete_) CondemnUnvisited();
  HandOverCondemned(out);
}

void CgroupTree::ScanSuspects(core::Snapshot* out) {
  // Each suspect costs a look at all that is known.
  if (all_suspect_ || suspects_.size() > kMostSuspects) return Scan(out);
  ++scan_;
  for (const CgroupId id : std::exchange(suspects_, {})) {
    const Entry* parent = Find(id);
    if (parent == nullptr && id != core::kNodeId) continue;  // went with a suspect above it
    ScanChildren(parent == nullptr ? std::string() : parent->path, id, out);
  }
  HandOverCondemned(out);
  if (all_suspect_) Scan(out);
}

// Compares the children of one directory with what is known; only newcomers are walked.
void CgroupTree::ScanChildren(const std::string& path, CgroupId id, core::Snapshot* out) {
  std::vector<Found> pending;
  if (!ReadDirectory(path, id, &pending)) return;
  absl::flat_hash_set<std::string> there;
  for (const Found& child : pending) there.insert(child.path);
  std::vector<std::string> gone;
  for (const auto& [known, entry] : by_id_) {
    if (entry->parent == id && ParentPath(entry->path) == path && !there.contains(entry->path)) {
      gone.push_back(entry->path);
    }
  }
  if (gone.size() > kMostSuspects) {
    all_suspect_ = true;
    return;
  }
  for (const std::string& top : gone) CondemnBelow(top);
  while (!pending.empty()) {
    const Found found = std::move(pending.back());
    pending.pop_back();
    const auto known = by_path_.find(found.path);
    const CgroupId before = known == by_path_.end() ? core::kNodeId : known->second;
    bool has_children = false;
    const Entry* entry = Visit(found, &has_children, out);
    if (before != core::kNodeId && (entry == nullptr || entry->id != before)) CondemnBelow(found.path);
    if (entry != nullptr && entry->id != before) ReadDirectory(entry->path, entry->id, &pending);
  }
}

void CgroupTree::HandOverCondemned(core::Snapshot* out) {
  // A child's path sorts behind its parent's, so backwards puts children first.
  std::sort(condemned_.begin(), condemned_.end(),
            [](const auto& a, const auto& b) { return a->path > b->path; });
  for (const auto& entry : condemned_) out->vanished.push_back(entry->id);
  condemned_.clear();
}

void CgroupTree::ScanRoot(const std::string& root, core::Snapshot* out) {
  std::vector<Found> pending;
  WatchForRoot(root);
  if (root == "/") {
    ReadDirectory("", core::kNodeId, &pending);
  } else {
    pending.push_back({.path = root, .parent = core::kNodeId});
  }
  while (!pending.empty()) {
    const Found found = std::move(pending.back());
    pending.pop_back();
    bool has_children = false;
    const Entry* entry = Visit(found, &has_children, out);
    if (entry != nullptr && has_children) ReadDirectory(entry->path, entry->id, &pending);
  }
}

CgroupTree::Entry* CgroupTree::Visit(const Found& found, bool* has_children, core::Snapshot* out) {
  const std::string directory = layout_.memory_mount + found.path;
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0) {
    if (!MeansAbsent(errno)) incomplete_ = true;
    return nullptr;
  }
  if (!S_ISDIR(info.st_mode)) return nullptr;
  const auto known = by_path_.find(found.path);
  if (known != by_path_.end()) {
    Entry* entry = Find(known->second);
    if (entry->inode == info.st_ino && !entry->gone) {
      entry->seen_in = scan_;
      // A directory's links are its name, its "." and one ".." of each child; file systems that do not count
      // those say 1. So two means a leaf, and spares the listing.
      *has_children = info.st_nlink != 2;
      return entry;
    }
    Condemn(entry->id);
  }
  // A new one is listed in any case: its children may have come between the stat and the watch.
  *has_children = true;
  return Adopt(found, info.st_ino, out);
}

CgroupTree::Entry* CgroupTree::Adopt(const Found& found, std::uint64_t inode, core::Snapshot* out) {
  const std::string directory = layout_.memory_mount + found.path;
  const bool v1 = layout_.memory_version == MemoryVersion::kV1;
  const char* usage_file = v1 ? "/memory.usage_in_bytes" : "/memory.current";
  if (::access((directory + usage_file).c_str(), F_OK) != 0) return nullptr;
  if (by_id_.size() >= kMostCgroups) {
    cgroups_ran_out_ = true;
    return nullptr;
  }
  auto entry = std::make_unique<Entry>(layout_, budget_);
  entry->id = CgroupId{next_id_++};
  entry->parent = found.parent;
  entry->path = found.path;
  entry->inode = inode;
  entry->seen_in = scan_;
  entry->watch = Watch(directory, kDirectoryMask);
  if (entry->watch >= 0) by_watch_[entry->watch] = entry->id;
  WatchKnobs(*entry);
  Reschedule(*entry);
  out->appeared.push_back({.id = entry->id,
                           .parent = entry->parent,
                           .path = entry->path,
                           .has_brake = !v1 && ::access((directory + "/memory.high").c_str(), F_OK) == 0,
                           .kills_of_subtree = !v1});
  by_path_[entry->path] = entry->id;
  return (by_id_[entry->id] = std::move(entry)).get();
}

// False when it could not be listed.
bool CgroupTree::ReadDirectory(const std::string& path, CgroupId id, std::vector<Found>* found) {
  const std::string directory = layout_.memory_mount + path;
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(directory.c_str()), ::closedir);
  if (listing == nullptr) {
    if (!MeansAbsent(errno)) incomplete_ = true;
    return false;
  }
  const std::size_t first = found->size();
  while (const dirent* item = ::readdir(listing.get())) {
    const std::string_view name = item->d_name;
    if (name == "." || name == ".." || (item->d_type != DT_DIR && item->d_type != DT_UNKNOWN)) continue;
    if (path.size() + name.size() + 1 > kLongestPath) {
      paths_too_long_ = true;
      continue;
    }
    found->push_back({.path = absl::StrCat(path, "/", item->d_name), .parent = id});
  }
  // The stack is taken from its end: sorted backwards, siblings get their ids in the order of their names.
  std::sort(found->begin() + static_cast<std::ptrdiff_t>(first), found->end(),
            [](const Found& a, const Found& b) { return a.path > b.path; });
  return true;
}

// Watches the directory in which the root, or the first missing directory above it, will be made.
void CgroupTree::WatchForRoot(const std::string& root) {
  std::string above = root;
  std::string awaited;
  do {
    awaited = above.substr(above.rfind('/') + 1);
    above = ParentPath(above);
    const int watch = Watch(absl::StrCat(layout_.memory_mount, above), kDirectoryMask);
    if (watch >= 0) {
      anchors_[watch].insert(awaited);
      return;
    }
  } while (!above.empty());
}

int CgroupTree::Watch(const std::string& path, std::uint32_t mask) {
  if (!inotify_) return -1;
  const int watch = ::inotify_add_watch(inotify_.get(), path.c_str(), mask);
  if (watch < 0 && errno == ENOSPC) watches_ran_out_ = true;
  return watch;
}

void CgroupTree::WatchKnobs(Entry& entry) {
  const bool v1 = layout_.memory_version == MemoryVersion::kV1;
  const std::string directory = layout_.memory_mount + entry.path;
  entry.knob_watches = {Watch(directory + (v1 ? "/memory.limit_in_bytes" : "/memory.max"), IN_MODIFY),
                        v1 ? -1 : Watch(directory + "/memory.high", IN_MODIFY)};
  for (const int watch : entry.knob_watches) {
    if (watch >= 0) by_knob_watch_[watch] = entry.id;
  }
  entry.polls_knobs = entry.knob_watches[0] < 0 || (!v1 && entry.knob_watches[1] < 0);
}

void CgroupTree::Condemn(CgroupId id) {
  const auto found = by_id_.find(id);
  std::unique_ptr<Entry> entry = std::move(found->second);
  by_id_.erase(found);
  by_path_.erase(entry->path);
  Unschedule(*entry);
  if (entry->watch >= 0) {
    ::inotify_rm_watch(inotify_.get(), entry->watch);
    by_watch_.erase(entry->watch);
  }
  for (const int watch : entry->knob_watches) {
    if (watch < 0) continue;
    ::inotify_rm_watch(inotify_.get(), watch);
    by_knob_watch_.erase(watch);
  }
  entry->files.CloseAll();
  condemned_.push_back(std::move(entry));
}

// The cgroup at `path`, if it is known still, and all below it.
void CgroupTree::CondemnBelow(const std::string& path) {
  std::vector<CgroupId> lost;
  for (const auto& [id, entry] : by_id_) {
    // A successor of the same name was adopted in this scan.
    if (entry->seen_in != scan_ && IsWithin(entry->path, path)) lost.push_back(id);
  }
  for (const CgroupId id : lost) Condemn(id);
}

void CgroupTree::CondemnUnvisited() {
  std::vector<CgroupId> unvisited;
  for (const auto& [id, entry] : by_id_) {
    if (entry->seen_in != scan_) unvisited.push_back(id);
  }
  for (const CgroupId id : unvisited) Condemn(id);
}

// Something came or went in a watched directory.
void CgroupTree::Suspect(int watch, std::string_view name) {
  const auto tracked = by_watch_.find(watch);
  if (tracked != by_watch_.end()) {
    suspects_.insert(tracked->second);
    return;
  }
  const auto anchor = anchors_.find(watch);
  if (anchor == anchors_.end()) return;
  if (anchor->second.contains("")) {
    suspects_.insert(core::kNodeId);  // "/" is a root: whatever comes there is tracked
  } else if (anchor->second.contains(std::string(name))) {
    all_suspect_ = true;
  }
}

CgroupTree::News CgroupTree::ReadInotify() {
  News news;
  alignas(inotify_event) std::array<char, 16 * 1024> buffer;
  ssize_t got = 0;
  while ((got = ::read(inotify_.get(), buffer.data(), buffer.size())) > 0) {
    for (ssize_t at = 0; at < got;) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof(event));
      at += static_cast<ssize_t>(sizeof(event) + event.len);
      const char* const name = event.len > 0 ? buffer.data() + at - event.len : "";
      if ((event.mask & IN_Q_OVERFLOW) != 0) all_suspect_ = true;
      if ((event.mask & IN_ISDIR) != 0) Suspect(event.wd, name);
      const auto written = by_knob_watch_.find(event.wd);
      if (written == by_knob_watch_.end()) continue;
      if ((event.mask & IN_MODIFY) != 0) news.knobs_written.push_back(written->second);
      if ((event.mask & IN_IGNORED) != 0) {  // the kernel has forgotten the watch: do not end another's
        for (int& watch : Find(written->second)->knob_watches) {
          if (watch == event.wd) watch = -1;
        }
        by_knob_watch_.erase(written);
      }
    }
  }
  news.scan_needed = rescan_needed();
  return news;
}

}  // namespace memgov::kernel
