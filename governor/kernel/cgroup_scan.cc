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
#include "governor/kernel/cgroup_found.h"
#include "governor/kernel/cgroup_path.h"
#include "governor/kernel/cgroup_tree.h"

namespace memgov::kernel {
namespace {

using core::CgroupId;
using core::Instant;

constexpr std::uint32_t kDirectoryMask = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR;
// Entries of one directory that are looked at. Whoever has more tracks no more of them (tree_tenants.h).
constexpr std::size_t kMostEntries = 10'000;
// What looking at one more cgroup costs, in entries of a directory.
constexpr double kEntriesPerVisit = 4;
// A tenant that has spent so much of what is still to come has its directories listed no more, not even by a
// whole scan: those that are known are looked at, which are few.
constexpr core::Duration kFarBehind = std::chrono::seconds(1);

bool MeansAbsent(int error) { return error == ENOENT || error == ENOTDIR || error == ENODEV; }

}  // namespace

void CgroupTree::Scan(Instant now, core::Snapshot* out) {
  ++scan_;
  whole_ = true;
  all_suspect_ = lost_news_ = false;
  suspects_.clear();
  incomplete_ = watches_ran_out_ = cgroups_ran_out_ = paths_too_long_ = readings_lost_ = budget_.ran_out =
      false;
  tenants_.BeginWholeScan();
  if (!inotify_) inotify_.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  const auto old_anchors = std::exchange(anchors_, {});
  for (const std::string& root : roots_) ScanRoot(root, now, out);
  for (const auto& [watch, names] : old_anchors) {
    if (!anchors_.contains(watch)) ::inotify_rm_watch(inotify_.get(), watch);
  }
  if (!incomplete_) CondemnUnvisited();
  HandOverCondemned(out);
  whole_ = false;
  first_done_ = true;
}

void CgroupTree::ScanSuspects(Instant now, core::Snapshot* out) {
  if (all_suspect_) return Scan(now, out);
  ++scan_;
  std::vector<CgroupId> due;
  for (const auto& [id, at] : suspects_) {
    if (at <= now) due.push_back(id);
  }
  for (const CgroupId id : due) {
    suspects_.erase(id);
    const Entry* parent = Find(id);
    if (id == core::kNodeId) {
      ScanTop(now, out);
    } else if (parent == nullptr) {
      continue;  // went with a suspect above it
    } else if (const auto wait = parent->tenant->entries.UntilPositive(now); wait > core::Duration::zero()) {
      SuspectAt(id, now + wait);  // its tenant has had its share of our time
    } else {
      ScanChildren(parent->path, id, now, out);
    }
  }
  HandOverCondemned(out);
  if (all_suspect_) Scan(now, out);
}

std::optional<core::Instant> CgroupTree::SuspectsDue() const {
  if (suspects_.empty()) return std::nullopt;
  return std::min_element(suspects_.begin(), suspects_.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->second;
}

// Compares the children of one directory with what is known; only newcomers are walked.
void CgroupTree::ScanChildren(const std::string& path, CgroupId id, Instant now, core::Snapshot* out) {
  std::vector<Found> listed;
  if (!ReadDirectory(path, id, now, &listed)) return;
  std::vector<Found> pending;
  for (Found& child : listed) {
    const auto known = by_path_.find(child.path);
    Entry* entry = known == by_path_.end() ? nullptr : Find(known->second);
    // The same number under the same name is the same cgroup: numbers are not used again.
    if (entry != nullptr && !entry->gone && entry->inode == child.inode) {
      entry->seen_in = scan_;
    } else if (child.inode == 0) {  // not from a listing
      bool unused = false;
      Visit(child, now, &unused, out);
    } else {
      pending.push_back(std::move(child));
    }
  }
  // Who has gone makes room for those who have come.
  std::vector<CgroupId> gone;
  if (const auto known = children_.find(id); known != children_.end()) {
    for (const CgroupId child : known->second) {
      const Entry* entry = Find(child);
      if (entry->seen_in != scan_ && ParentPath(entry->path) == path) gone.push_back(child);
    }
  }
  for (const CgroupId child : gone) CondemnWithAllBelow(child);
  Walk(std::move(pending), now, out);
}

// What is at the top changed: whatever "/" has, or the roots that we were given.
void CgroupTree::ScanTop(Instant now, core::Snapshot* out) {
  for (const std::string& root : roots_) {
    if (root == "/") return ScanChildren("", core::kNodeId, now, out);
    const auto known = by_path_.find(root);
    const CgroupId before = known == by_path_.end() ? core::kNodeId : known->second;
    bool has_children = false;
    const Entry* entry = Visit({.path = root, .parent = core::kNodeId}, now, &has_children, out);
    if (entry == nullptr && Find(before) != nullptr && !incomplete_) CondemnWithAllBelow(before);
    if (entry == nullptr || entry->id == before) continue;
    std::vector<Found> pending;
    ReadDirectory(entry->path, entry->id, now, &pending);
    Walk(std::move(pending), now, out);
  }
}

// Visits all of `pending` and what is below, the last first.
void CgroupTree::Walk(std::vector<Found> pending, Instant now, core::Snapshot* out) {
  while (!pending.empty()) {
    const Found found = std::move(pending.back());
    pending.pop_back();
    bool has_children = false;
    Entry* entry = Visit(found, now, &has_children, out);
    if (entry == nullptr) continue;
    if (whole_) RetryWatches(*entry);
    if (has_children) ReadDirectory(entry->path, entry->id, now, &pending);
  }
}

void CgroupTree::HandOverCondemned(core::Snapshot* out) {
  // A child's path sorts behind its parent's, so backwards puts children first.
  std::sort(condemned_.begin(), condemned_.end(),
            [](const auto& a, const auto& b) { return a->path > b->path; });
  for (const auto& entry : condemned_) out->vanished.push_back(entry->id);
  condemned_.clear();
}

void CgroupTree::ScanRoot(const std::string& root, Instant now, core::Snapshot* out) {
  std::vector<Found> pending;
  WatchForRoot(root);
  if (root == "/") {
    ReadDirectory("", core::kNodeId, now, &pending);
  } else {
    pending.push_back({.path = root, .parent = core::kNodeId});
  }
  Walk(std::move(pending), now, out);
}

CgroupTree::Entry* CgroupTree::Visit(const Found& found, Instant now, bool* has_children,
                                     core::Snapshot* out) {
  const Entry* parent = Find(found.parent);
  TreeTenants::Tenant* tenant = parent == nullptr || parent->tenant->is_group || by_path_.contains(found.path)
                                    ? nullptr
                                    : parent->tenant;
  // Who was refused once in this scan is not looked at again: a tenant may have made ten thousand.
  if (tenant != nullptr && tenant->refused_in == scan_) {
    if (!tenant->too_many) SuspectAt(found.parent, now + tenant->newcomers.UntilPositive(now));
    return nullptr;
  }
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
    CondemnWithAllBelow(entry->id);
  }
  // A new one is listed in any case: its children may have come between the stat and the watch.
  *has_children = true;
  return Adopt(found, info, tenant, now, out);
}

// Whether a newcomer may be tracked. Who came too fast has his turn; one too many has none before somebody of
// his goes.
bool CgroupTree::MayJoin(TreeTenants::Tenant* tenant, CgroupId parent, Instant now) {
  if (TreeTenants::MayJoin(tenant, now, !first_done_)) return true;
  tenant->refused_in = scan_;
  if (!tenant->too_many) SuspectAt(parent, now + tenant->newcomers.UntilPositive(now));
  return false;
}

// `tenant`: whose it is, where that follows from its parent.
CgroupTree::Entry* CgroupTree::Adopt(const Found& found, const struct stat& info, TreeTenants::Tenant* tenant,
                                     Instant now, core::Snapshot* out) {
  const std::string directory = layout_.memory_mount + found.path;
  const bool v1 = layout_.memory_version == MemoryVersion::kV1;
  const char* usage_file = v1 ? "/memory.usage_in_bytes" : "/memory.current";
  if (::access((directory + usage_file).c_str(), F_OK) != 0) return nullptr;
  if (by_id_.size() >= (tenant == nullptr ? kMostCgroups : kMostCgroups - kKeptForOthers)) {
    cgroups_ran_out_ = true;
    return nullptr;
  }
  if (tenant == nullptr) {
    if (!owner_) {
      struct stat top {};
      owner_ = ::stat(layout_.memory_mount.c_str(), &top) == 0 ? top.st_uid : 0;
    }
    const Entry* parent = Find(found.parent);
    tenant = tenants_.Of(found.path, parent == nullptr ? nullptr : parent->tenant, info.st_uid != *owner_);
  }
  if (!MayJoin(tenant, found.parent, now)) return nullptr;
  auto entry = std::make_unique<Entry>(layout_, budget_);
  entry->id = CgroupId{next_id_++};
  entry->parent = found.parent;
  entry->path = found.path;
  entry->tenant = tenant;
  TreeTenants::Join(tenant);
  entry->inode = info.st_ino;
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
  children_[entry->parent].insert(entry->id);
  return (by_id_[entry->id] = std::move(entry)).get();
}

// False when it could not be listed.
bool CgroupTree::ReadDirectory(const std::string& path, CgroupId id, Instant now, std::vector<Found>* found) {
  const Entry* owner = Find(id);
  const std::size_t first = found->size();
  if (owner != nullptr) {
    if (const auto wait = owner->tenant->entries.UntilPositive(now); wait > kFarBehind) {
      AddKnownChildren(path, id, first, found);
      SuspectAt(id, now + wait);  // a whole scan has forgotten that something came there
      return true;
    }
  }
  const std::string directory = layout_.memory_mount + path;
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(directory.c_str()), ::closedir);
  if (listing == nullptr) {
    if (!MeansAbsent(errno)) incomplete_ = true;
    return false;
  }
  std::size_t entries = 0;
  while (const dirent* item = ::readdir(listing.get())) {
    // Whoever is beyond this is not tracked, so what is known tells all the same who of those has gone.
    if (++entries > kMostEntries) {
      AddKnownChildren(path, id, first, found);
      break;
    }
    const std::string_view name = item->d_name;
    if (name == "." || name == ".." || (item->d_type != DT_DIR && item->d_type != DT_UNKNOWN)) continue;
    if (path.size() + name.size() + 1 > kLongestPath) {
      paths_too_long_ = true;
      continue;
    }
    found->push_back({.path = absl::StrCat(path, "/", item->d_name), .parent = id, .inode = item->d_ino});
  }
  if (owner != nullptr) {
    const auto visits = static_cast<double>(found->size() - first);
    owner->tenant->entries.Spend(now, static_cast<double>(entries) + kEntriesPerVisit * visits);
  }
  // The stack is taken from its end: sorted backwards, siblings get their ids in the order of their names.
  std::sort(found->begin() + static_cast<std::ptrdiff_t>(first), found->end(),
            [](const Found& a, const Found& b) { return a.path > b.path; });
  return true;
}

// Those that are not among what was found from `first` on.
void CgroupTree::AddKnownChildren(const std::string& path, CgroupId id, std::size_t first,
                                  std::vector<Found>* found) const {
  absl::flat_hash_set<std::string_view> listed;
  for (std::size_t i = first; i < found->size(); ++i) listed.insert((*found)[i].path);
  std::vector<Found> more;
  if (const auto known = children_.find(id); known != children_.end()) {
    for (const CgroupId child : known->second) {
      const Entry* entry = Find(child);
      if (!listed.contains(entry->path) && ParentPath(entry->path) == path) {
        more.push_back({.path = entry->path, .parent = id});
      }
    }
  }
  found->insert(found->end(), more.begin(), more.end());
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
  // Where they have run out, one that was refused stands for all of this scan.
  if (!inotify_ || (whole_ && watches_ran_out_)) return -1;
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

// What could not be watched when it came. Watches run out, and others give theirs back.
void CgroupTree::RetryWatches(Entry& entry) {
  if (entry.watch < 0) {
    entry.watch = Watch(layout_.memory_mount + entry.path, kDirectoryMask);
    if (entry.watch >= 0) {
      by_watch_[entry.watch] = entry.id;
      SuspectAt(entry.id, Instant());  // what has come before the watch
    }
  }
  const bool wants_knobs = entry.knob_watches[0] < 0 ||
                           (layout_.memory_version == MemoryVersion::kV2 && entry.knob_watches[1] < 0);
  if (entry.polls_knobs && wants_knobs) WatchKnobs(entry);
}

void CgroupTree::Condemn(CgroupId id) {
  const auto found = by_id_.find(id);
  std::unique_ptr<Entry> entry = std::move(found->second);
  by_id_.erase(found);
  by_path_.erase(entry->path);
  children_.erase(id);
  if (const auto beside = children_.find(entry->parent); beside != children_.end()) {
    beside->second.erase(id);
    if (beside->second.empty()) children_.erase(beside);
  }
  suspects_.erase(id);
  tenants_.Leave(std::exchange(entry->tenant, nullptr));
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

void CgroupTree::CondemnWithAllBelow(CgroupId id) {
  std::vector<CgroupId> lost{id};
  for (std::size_t i = 0; i < lost.size(); ++i) {
    const auto below = children_.find(lost[i]);
    if (below != children_.end()) lost.insert(lost.end(), below->second.begin(), below->second.end());
  }
  for (auto last = lost.rbegin(); last != lost.rend(); ++last) Condemn(*last);
}

void CgroupTree::CondemnUnvisited() {
  std::vector<CgroupId> unvisited;
  for (const auto& [id, entry] : by_id_) {
    if (entry->seen_in != scan_) unvisited.push_back(id);
  }
  for (const CgroupId id : unvisited) Condemn(id);
}

// The earlier time counts.
void CgroupTree::SuspectAt(CgroupId id, Instant due) {
  const auto [known, is_new] = suspects_.try_emplace(id, due);
  if (!is_new) known->second = std::min(known->second, due);
}

// Something came or went in a watched directory.
void CgroupTree::Suspect(int watch, std::string_view name) {
  const auto tracked = by_watch_.find(watch);
  if (tracked != by_watch_.end()) {
    SuspectAt(tracked->second, Instant());
    return;
  }
  const auto anchor = anchors_.find(watch);
  if (anchor == anchors_.end()) return;
  if (anchor->second.contains("")) {
    SuspectAt(core::kNodeId, Instant());  // "/" is a root: whatever comes there is tracked
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
      if ((event.mask & IN_Q_OVERFLOW) != 0) lost_news_ = true;
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
