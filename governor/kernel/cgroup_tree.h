// Every cgroup below the configured roots: who is there, and when each is to be read next.
//
// Three jobs share this state. Scan() compares the directories with what is known and says who came and went.
// Seek() looks for the one cgroup that somebody names. CollectDue() reads the cgroups whose time has come,
// and costs only those, however many are calm.
//
// Some directories are written by tenants, who may be hostile: what one of them can make us track and look
// through is bounded (tree_tenants.h).
//
// Ids are never reused: a cgroup that is removed and made again under its old name is a new one.
// Runs on the control thread; nothing here blocks but the kernel's own reads.

#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "governor/core/decision.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/cgroup_files.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/tree_tenants.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

class CgroupTree {
 public:
  // Cadence of a cgroup until SetCadence says otherwise.
  static constexpr core::Duration kUsageEvery = std::chrono::seconds(1);
  static constexpr core::Duration kStatEvery = std::chrono::seconds(10);
  // A changed limit or memory.high is noticed at once by inotify, and where that is not to be had within
  // this.
  static constexpr core::Duration kLimitEvery = std::chrono::seconds(1);
  // A calm cgroup that gave the same usage so many times is at rest: it is read at a quarter of its rhythm,
  // and handed over when its usage has changed or its stat is due. A thousand of them must cost nothing.
  static constexpr int kRepeats = 4;
  static constexpr int kRestFactor = 4;
  // What falls due within this is taken together, so that the loop wakes less often.
  static constexpr core::Duration kCoalesce = std::chrono::milliseconds(1);
  // A bound on our own size, whatever a tenant with a delegated subtree makes.
  static constexpr std::size_t kMostCgroups = 32768;
  // What is left of those for whoever is new, when tenants have taken the rest.
  static constexpr std::size_t kKeptForOthers = kMostCgroups / 4;
  // A longer path cannot be opened: room for the mount point and a file name is left within PATH_MAX.
  static constexpr std::size_t kLongestPath = 4096 - 512;

  // `roots` are paths below the memory mount; "/" means every cgroup, "/kubepods" that one and all below.
  // They need not exist yet. A root inside another root is redundant and dropped. `is_tenant`: which paths
  // are tenants' by their names.
  CgroupTree(CgroupLayout layout, const std::vector<std::string>& roots,
             TreeTenants::IsTenant is_tenant = {});
  ~CgroupTree();
  CgroupTree(const CgroupTree&) = delete;
  CgroupTree& operator=(const CgroupTree&) = delete;

  // Walks the directories below the roots and appends to `out` what came (parents first; a cgroup whose
  // parent is not tracked has kNodeId as parent) and what went (children first). The first reading of a new
  // cgroup is due at once; the later ones of many are spread over the period, by id. The hierarchy's own root
  // is never among them: the node stands for it. A cgroup without the memory controller (v2), and all below
  // it, is not tracked until it has it.
  void Scan(core::Instant now, core::Snapshot* out);

  // The same for those directories only in which inotify or a reading has shown a change: what a scan costs
  // that many cgroups are made and removed beside. All of it when the change cannot be placed. A directory
  // whose tenant has had its share of our time waits for its turn: SuspectsDue().
  void ScanSuspects(core::Instant now, core::Snapshot* out);
  std::optional<core::Instant> SuspectsDue() const;

  // The cgroup at `path` (as Innermost() has it), which may be younger than the last scan, or the nearest
  // above it that is tracked. Looks at the directories on the way and at no others; newcomers among them go
  // to `out`, and so does what they replace. NotFound when there is no such directory below the mount,
  // OutOfRange when the path is too long to be opened, InvalidArgument when it is none, PermissionDenied
  // outside of every root.
  absl::StatusOr<core::CgroupId> Seek(std::string_view path, core::Instant now, core::Snapshot* out);

  // What a reading has shown to be gone is no longer tracked, and all below it; puts both into `out`. Others
  // and unknown ids are ignored.
  void Drop(core::CgroupId id, core::Snapshot* out);

  // Reads one cgroup now and puts its sample into `out`, in place of an earlier one there. With `with_stat`
  // everything is read anew; otherwise usage, and what kLimitEvery makes due.
  // False when the cgroup is gone or the id is unknown; the caller then drops it. A reading lost for another
  // reason (no descriptor left) returns true and appends nothing.
  bool Sample(core::CgroupId id, core::Instant now, bool with_stat, core::Snapshot* out);

  // Sample() for all that are due at `now`, or within kCoalesce after it.
  void CollectDue(core::Instant now, core::Snapshot* out);

  // Whether the machine has swap at all; without, the files that bound it are not read.
  void SetNodeHasSwap(bool has_swap) { node_has_swap_ = has_swap; }

  // When CollectDue has something to do next; absent while no cgroup is tracked.
  std::optional<core::Instant> NextDue() const;

  // usage_every is held within 1 ms and 10 s, stat_every within usage_every and one hour. Unknown ids
  // (a cgroup that vanished meanwhile, the node) are ignored.
  void SetCadence(const core::SetCadence& cadence);

  // The deepest tracked cgroup that is `path` or above it; kNodeId for "/" itself when "/" is a root. Absent
  // outside every root, and for what no Scan has seen. When PathOf(result) != path, a Scan may find a deeper
  // one. `path` as in /proc/PID/cgroup; one with ".." or "." in it is refused (absent).
  std::optional<core::CgroupId> Innermost(std::string_view path) const;

  // Empty for an unknown id; "/" for kNodeId.
  std::string PathOf(core::CgroupId id) const;
  std::size_t size() const { return by_id_.size(); }
  const CgroupLayout& layout() const { return layout_; }

  // Readable when a cgroup may have been made; -1 when inotify is not to be had (see degraded()).
  int inotify_fd() const { return inotify_.get(); }
  // Drains inotify_fd(). Removal is not told by most kernels: scan every few seconds as well.
  struct News {
    bool scan_needed = false;
    // Somebody wrote their limit or memory.high. To be sampled with their stat: that reads both anew.
    std::vector<core::CgroupId> knobs_written;
  };
  News ReadInotify();
  // True when inotify or a failed reading showed that the tree has changed; cleared by both scans.
  bool rescan_needed() const { return all_suspect_ || !suspects_.empty(); }
  // inotify has lost news: a whole scan is needed, but a tenant can bring that about as often as it likes.
  bool lost_news() const { return lost_news_; }
  // Whether a directory could not be listed since the last whole scan began: that will have to be done again,
  // but not at once for ever (scan_pace.h).
  bool incomplete() const { return incomplete_; }
  // Whether every change of the tree is told by inotify. If not, scan often.
  bool hears_all() const { return inotify_.get() >= 0 && !watches_ran_out_; }

  // What does not work as it should at present, in words for people. Empty when all is well.
  std::vector<std::string> degraded() const;

 private:
  struct Entry;
  struct Found;  // a directory that the walk has yet to visit

  void ScanRoot(const std::string& root, core::Instant now, core::Snapshot* out);
  Entry* Visit(const Found& found, core::Instant now, bool* has_children, core::Snapshot* out);
  Entry* Adopt(const Found& found, const struct stat& info, TreeTenants::Tenant* tenant, core::Instant now,
               core::Snapshot* out);
  bool MayJoin(TreeTenants::Tenant* tenant, core::CgroupId parent, core::Instant now);
  void ScanTop(core::Instant now, core::Snapshot* out);
  void Walk(std::vector<Found> pending, core::Instant now, core::Snapshot* out);
  void ScanChildren(const std::string& path, core::CgroupId id, core::Instant now, core::Snapshot* out);
  void HandOverCondemned(core::Snapshot* out);
  void Suspect(int watch, std::string_view name);
  void SuspectAt(core::CgroupId id, core::Instant due);
  bool ReadDirectory(const std::string& path, core::CgroupId id, core::Instant now,
                     std::vector<Found>* found);
  void AddKnownChildren(const std::string& path, core::CgroupId id, std::size_t first,
                        std::vector<Found>* found) const;
  void RetryWatches(Entry& entry);
  void WatchForRoot(const std::string& root);
  int Watch(const std::string& path, std::uint32_t mask);
  void WatchKnobs(Entry& entry);
  void Condemn(core::CgroupId id);
  void CondemnWithAllBelow(core::CgroupId id);
  void CondemnUnvisited();

  bool ReadInto(Entry& entry, core::Instant now, bool with_stat, bool only_news, core::Snapshot* out);
  void ReadSlowParts(Entry& entry, core::Instant now, bool with_stat, bool usage_changed);
  void BalanceDescriptors(core::Instant now);
  static core::CgroupSample& SampleOf(Entry& entry, core::Snapshot* out);
  void CollectOne(Entry& entry, core::Instant now, core::Instant horizon, core::Snapshot* out);
  void Reschedule(Entry& entry);
  void Unschedule(Entry& entry);
  Entry* Find(core::CgroupId id) const;

  const CgroupLayout layout_;
  std::vector<std::string> roots_;  // normalised, none inside another
  FdBudget budget_;
  std::size_t full_budget_ = 0;  // what budget_.most is while descriptors suffice
  core::Instant regain_at_;
  core::Duration regain_wait_{};
  UniqueFd inotify_;
  absl::flat_hash_map<core::CgroupId, std::unique_ptr<Entry>> by_id_;
  absl::flat_hash_map<std::string, core::CgroupId> by_path_;
  absl::flat_hash_map<int, core::CgroupId> by_knob_watch_;
  std::map<core::Instant, std::vector<Entry*>> due_;  // slots make few instants of many cgroups
  std::uint32_t next_id_ = 1;
  bool node_has_swap_ = false;
  bool all_suspect_ = true;
  // Their children may have changed, and from when on it is to be looked at; kNodeId: the hierarchy's own
  // root.
  std::map<core::CgroupId, core::Instant> suspects_;
  bool lost_news_ = false;
  TreeTenants tenants_;
  // Below kNodeId: those at the top and those whose parent is not tracked.
  absl::flat_hash_map<core::CgroupId, absl::flat_hash_set<core::CgroupId>> children_;
  std::optional<std::uint32_t> owner_;  // uid, of the hierarchy's own root
  absl::flat_hash_map<int, core::CgroupId> by_watch_;

  // Of the scan under way, or the last one.
  std::uint64_t scan_ = 0;
  bool whole_ = false;
  bool first_done_ = false;  // the first whole scan is over
  // inotify watches on directories that are not tracked themselves, and the names awaited there ("": any).
  absl::flat_hash_map<int, absl::flat_hash_set<std::string>> anchors_;
  std::vector<std::unique_ptr<Entry>> condemned_;
  bool incomplete_ = false;  // a directory could not be listed, so absence proves nothing
  bool watches_ran_out_ = false;
  bool cgroups_ran_out_ = false;
  bool paths_too_long_ = false;
  bool readings_lost_ = false;  // since the last scan
};

}  // namespace memgov::kernel
