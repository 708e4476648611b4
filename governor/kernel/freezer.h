// Stops the processes of a cgroup for a moment (cgroup v1: freezer.state, v2: cgroup.freeze).
//
// The last resort where nothing else slows a grower: v1 has no memory.high. It is somebody's service that
// stands still, so a policy must ask for it, the caller bounds the episode, and the record in the state file
// lets the guard, or the next start, thaw what we could not.
//
// What freezing does not do (measured, see the tests): it frees nothing, and does not protect from the OOM
// killer. A frozen process of v1 that is killed dies only when it is thawed, so its memory does not come back
// before. Never freeze a cgroup whose client is to release memory. Reclaim and page-out work on frozen ones.

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/base/state_directory.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

// Where cgroups are frozen. On v2 that is the tree of memory itself; on v1 a hierarchy of its own, in which
// the cgroups of a container usually, but not always, have the same paths.
struct FreezerLayout {
  MemoryVersion version = MemoryVersion::kV2;
  std::string mount;  // no trailing slash
};

// NotFound when there is no freezer hierarchy beside a v1 memory hierarchy ("freezer" in the same directory).
absl::StatusOr<FreezerLayout> FindFreezer(const CgroupLayout& layout);

// A cgroup that is frozen because of us. The inode says which: another one may be made under the same path.
struct FreezeMark {
  std::string path;
  std::uint64_t inode = 0;
  bool operator==(const FreezeMark&) const = default;
};

// One line "PATH INODE" for each mark. Lines that are not understood are left out and named in `complaints`
// (state_lines.h).
std::vector<FreezeMark> ParseFreezeState(std::string_view text, const std::string& file,
                                         std::vector<std::string>* complaints);

// "DIR/freeze.state" for the brakes' "DIR/brake.state": one guard serves both.
std::string FreezeStateBeside(const std::string& brake_state_file);

// Thaws what the file names and is still there, and keeps in it what could not be thawed. No thread, no lock:
// for start-up, for `memgovd --restore`, and for the guard. OK when there is no file. DataLoss for broken
// lines, which are no obstacle to the others.
absl::Status ThawFromState(const FreezerLayout& freezer, const std::string& state_file);
absl::Status ThawFromState(const CgroupLayout& layout, const std::string& state_file);

// As ThawFromState, but what the file names stays in it: for the guard of a daemon that lives, whose file it
// is.
absl::Status ThawKeepingState(const CgroupLayout& layout, const std::string& state_file);

// Freezes and thaws. Each function may be called from any thread; Freeze on one at a time. Thawing waits for
// no freezing. It needs no descriptor that is not open since the freezing, for descriptors may run out. Thaws
// nothing at its end: call ThawAll.
class Freezer {
 public:
  // What the state file names, because an earlier thawing failed, counts as frozen by us.
  Freezer(const CgroupLayout& memory, FreezerLayout freezer, std::string state_file);

  // Paths of what is frozen by us, or was by a predecessor.
  std::vector<std::string> Frozen() const;

  // Returns when all processes of the cgroup and below stand still; blocks for as long as the kernel takes to
  // stop them, at most a second. `wanted` is asked just before the write and while it waits.
  //   InvalidArgument     not a path, or the root.
  //   NotFound            no cgroup has this path in the freezer hierarchy.
  //   FailedPrecondition  we are in it ourselves; somebody else has frozen it; or (v1) it holds processes
  //                       that are not in the memory cgroup of this path, or that we cannot see.
  //   DeadlineExceeded    a process would not stop (it waits for a device); all are thawed again.
  //   Cancelled           it is not wanted any more; Thaw is yet to be called.
  absl::Status Freeze(
      const std::string& path, const std::function<bool()>& wanted = [] { return true; });
  // OK also when it is not frozen by us, or gone. Not `last`: a Freeze of this path is under way, so it stays
  // known as ours, and is to be thawed again.
  absl::Status Thaw(const std::string& path, bool last = true);
  absl::Status ThawAll();

 private:
  // The way to thaw a cgroup that we have frozen.
  struct Held {
    std::uint64_t inode = 0;
    UniqueFd state;                    // freezer.state (v1), cgroup.freeze (v2)
    std::atomic<bool> thawed = false;  // only the record is left to be mended
  };

  absl::StatusOr<std::shared_ptr<Held>> Open(const std::string& path) const;
  absl::Status AwaitFrozen(const std::string& path, const Held& held,
                           const std::function<bool()>& wanted) const;
  std::vector<FreezeMark> Marks() const;
  std::shared_ptr<Held> HeldAt(const std::string& path) const;
  absl::Status Remember(const std::string& path, std::shared_ptr<Held> held);

  const CgroupLayout memory_;
  const FreezerLayout freezer_;

  std::mutex storing_;          // held while the file is written, which may take as long as a disk does
  base::StateFile state_file_;  // with storing_
  mutable std::mutex mutex_;
  std::vector<FreezeMark> marks_;  // with mutex_; what the state file holds. Changed with storing_ as well.
  std::map<std::string, std::shared_ptr<Held>> held_;  // with mutex_
};

}  // namespace memgov::kernel
