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

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/brake_file.h"
#include "governor/kernel/brake_state.h"
#include "governor/kernel/brake_watch.h"
#include "governor/kernel/mounts.h"

namespace memgov::kernel {

// Public functions are called on the control thread; files are written on one worker thread of its own,
// because a write to memory.high may reclaim. `io` outlives it. Start the guard first: it must fork before
// any thread exists.
class BrakeKnob {
 public:
  using Done = std::function<void(absl::Status)>;
  using OnLost = std::function<void(core::BrakeLost)>;

  // Marks that the state file still names, because an earlier restoring failed, are let go of in the
  // background. `on_lost` is called from io.run() when a brake is gone that nobody let go through Set.
  BrakeKnob(const CgroupLayout& layout, std::string state_file, boost::asio::io_context& io,
            OnLost on_lost = {});
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
  // Requests are carried out in order; one that a later request for the same cgroup has overtaken while it
  // waited is dropped with Cancelled.
  void Set(core::CgroupId id, std::string path, std::optional<core::Bytes> high, Done done);

  // The cgroup is gone: nothing of it is remembered.
  void Forget(core::CgroupId id);

  // Lets go of every brake, telling on_lost of each, and stays ready for new ones.
  void LetGoOfAll();

  // Lets go of everything that is ours and ends the worker; later Sets fail. Blocks until it is done, or has
  // been tried for two seconds: for shut-down. Repeating it is harmless.
  absl::Status RestoreAll();

 private:
  // On the worker.
  void AdoptLeftovers();
  absl::Status Apply(const std::string& path, core::Bytes high);
  absl::Status WriteMarked(const BrakeFile& file, const std::string& path, core::Bytes high,
                           std::optional<core::Bytes> old);
  absl::Status LetGo(const std::string& path);
  absl::Status LetGoOrOwe(const std::string& path);
  void PayDebts();
  void PayDebtsLater();
  void Compare(core::CgroupId id, const std::string& path);
  bool IsOurs(const std::string& path, const BrakeFile& file, core::Bytes value) const;
  absl::Status Remember(const std::string& path, std::uint64_t inode, const std::vector<core::Bytes>& values);
  absl::Status ForgetMarks(const std::string& path) { return Remember(path, 0, {}); }

  // On the control thread.
  void OnWritten(core::CgroupId id);

  const CgroupLayout layout_;
  const std::string state_file_;
  boost::asio::io_context& io_;
  const OnLost on_lost_;
  std::atomic<bool> stopping_{false};

  // The control thread's.
  absl::flat_hash_map<core::CgroupId, std::string> held_;  // asked for and not let go
  // The last request of each cgroup that is not answered yet: whether a later one has overtaken it.
  absl::flat_hash_map<core::CgroupId, std::shared_ptr<std::atomic<bool>>> newest_;
  BrakeWatch watch_;

  // The worker's.
  std::unique_ptr<boost::asio::thread_pool> worker_;  // one thread; absent on v1
  std::vector<BrakeMark> marks_;                      // what the state file holds
  std::set<std::string> debts_;                       // paths whose release has failed so far
  std::optional<boost::asio::steady_timer> retry_;
  std::chrono::milliseconds pause_{};
};

}  // namespace memgov::kernel
