// The only writer of memory.high (cgroup v2): the brake that slows a cgroup near its limit.
//
// A brake is a loan. It never goes below present usage (measured: the next 2 MiB then take 18 s), never
// replaces or raises a value that somebody else set, and it is always let go: here, however often that has to
// be tried; by RestoreAll; by the guard when we are killed (guard.h); or by the next start. The record for
// the last two is written before the knob (brake_state.h). memory.max is never written.
//
// Others may write memory.high at any time. Their value wins: ours is forgotten, and the owner of the brake
// is told. (Between our looking and our writing there is a gap of microseconds that the kernel offers no way
// to close.)

#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "governor/base/state_directory.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/brake_file.h"
#include "governor/kernel/brake_state.h"
#include "governor/kernel/brake_watch.h"
#include "governor/kernel/hold_queue.h"
#include "governor/kernel/mounts.h"

namespace memgov::kernel {

// Public functions are called on the control thread. Files are written on threads of its own, because a write
// to memory.high may reclaim: brakes are set on one and let go on another, which does not wait for the first
// (hold_queue.h). `io` outlives it. Start the guard first: it must fork before any thread exists.
class BrakeKnob {
 public:
  using Done = std::function<void(absl::Status)>;
  using OnLost = std::function<void(core::BrakeLost)>;
  using OnFailing = HoldQueue::OnFailing;

  // Marks that the state file still names, because an earlier restoring failed, are let go of in the
  // background. `on_lost` is called from io.run() when a brake is gone that nobody let go through Set;
  // `on_failing` when the first brake cannot be let go, and (OK) when all that could not have been.
  BrakeKnob(const CgroupLayout& layout, std::string state_file, boost::asio::io_context& io,
            OnLost on_lost = {}, OnFailing on_failing = {});
  // Waits for a write that is under way. Call RestoreAll first; the destructor restores nothing.
  ~BrakeKnob();
  BrakeKnob(const BrakeKnob&) = delete;
  BrakeKnob& operator=(const BrakeKnob&) = delete;

  // Sets the brake of a cgroup to `high` bytes (rounded down to whole pages), moves it, or with std::nullopt
  // lets it go. `done` is called from io.run() with
  //   OK                  the knob holds the value, or ours is gone from it (also when the cgroup is);
  //   FailedPrecondition  somebody else's value is there, or v1;
  //   OutOfRange          usage has reached `high` already;
  //   NotFound            the cgroup is gone (only when setting);
  //   another             the kernel's words, with the path. When setting, nothing was changed. When letting
  //                       go, it is tried again until it is gone, or Set anew.
  // For one cgroup the last request counts; one that a later request for the same cgroup has overtaken before
  // it wrote is dropped with Cancelled.
  void Set(core::CgroupId id, std::string path, std::optional<core::Bytes> high, Done done);

  // The cgroup is gone: nothing of it is remembered.
  void Forget(core::CgroupId id);

  // Lets go of every brake, telling on_lost of each, and stays ready for new ones.
  void LetGoOfAll();

  // Whether any brake is asked for.
  bool holds() const { return !held_.empty(); }

  // Lets go of everything that is ours and ends the threads; later Sets fail. Blocks until it is done, or has
  // been tried for two seconds, and until the kernel has ended a write that reclaims: for shut-down.
  // Repeating it is harmless.
  absl::Status RestoreAll();

 private:
  // On the thread that sets.
  absl::Status Apply(const std::string& path, core::Bytes high, const HoldQueue::Wanted& wanted);
  absl::Status WriteMarked(const BrakeFile& file, const std::string& path, core::Bytes high,
                           std::optional<core::Bytes> old, const HoldQueue::Wanted& wanted);
  void Compare(core::CgroupId id, const std::string& path);

  // On the thread that lets go.
  absl::Status LetGo(const std::string& path, bool last);

  // On any.
  absl::Status LetGoOfOwnMarks() const;
  std::vector<BrakeMark> Marks() const;
  bool IsOurs(const std::string& path, const BrakeFile& file, core::Bytes value) const;
  absl::Status Remember(const std::string& path, std::uint64_t inode, const std::vector<core::Bytes>& values);
  absl::Status ForgetMarks(const std::string& path) { return Remember(path, 0, {}); }
  absl::Status Keep(const std::string& path, std::uint64_t inode);
  std::shared_ptr<BrakeFile> KeptFor(const std::string& path) const;

  // On the control thread.
  std::vector<std::string> Leftovers();
  void OnWritten(core::CgroupId id);

  const CgroupLayout layout_;
  boost::asio::io_context& io_;
  const OnLost on_lost_;

  // The control thread's.
  absl::flat_hash_map<core::CgroupId, std::string> held_;  // asked for and not let go
  BrakeWatch watch_;
  bool stopped_ = false;

  // Held while the file is written, which may take as long as a disk does.
  std::mutex storing_;
  base::StateFile state_file_;  // with storing_
  mutable std::mutex mutex_;
  std::vector<BrakeMark>
      marks_;  // with mutex_; what the state file was given. Changed with storing_ as well.
  // With mutex_: what brakes are let go by, opened before they are set, for descriptors may run out.
  std::map<std::string, std::shared_ptr<BrakeFile>> kept_;

  std::unique_ptr<HoldQueue> queue_;  // last: its threads use the others. Absent on v1
};

}  // namespace memgov::kernel
