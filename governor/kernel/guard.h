// A child that outlives us and lets go of our brakes and freezes when we are killed.
//
// A SIGKILL runs no destructor, and a memory.high left behind would throttle a service for ever. The guard
// holds the reading end of a pipe whose writing end only the daemon has; when the daemon is gone, however
// that came, the read ends and the guard restores what the state file names (brake_state.h), thaws what
// "freeze.state" beside it names (freezer.h), and exits.
//
// It also acts when the daemon is there but does not run (stopped by a debugger, starved): the daemon tells
// it by when to let go of everything unless it is told another time, and puts that off for as long as it
// runs. Then the files stay as they are, for the daemon may go on, and finds its brakes gone as if somebody
// else had reset them. (Where the whole container of memgovd is paused, the guard is too.)
//
// The guard also holds, with the daemon, a lock on "STATE_FILE.lock": a successor that starts at once waits
// for the old guard to finish, and two daemons cannot share one state file. The file says who took it.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

class Guard {
 public:
  Guard(Guard&&) noexcept;
  Guard& operator=(Guard&&) noexcept;
  // Tells the guard to finish, and waits for that: the daemon has restored by then, so nothing is left to do.
  ~Guard();

  pid_t pid() const { return pid_; }
  // Readable once the guard has died; -1 where the kernel has no pidfds.
  int pidfd() const { return pidfd_.get(); }
  // False once the guard has died (it is reaped here, so it leaves no zombie). Without it no brake should be
  // set.
  bool Running();

  // Unless told otherwise by then the guard lets go of every brake and freeze at this time of the steady
  // clock; std::nullopt: it does not. Waits for nothing; a guard that does not listen is not told.
  void LetGoBy(std::optional<core::Instant> when);

  // Starts another guard after the first has died: runs `command`, the last argument being the two
  // descriptors "PIPE,LOCK" that GuardMain wants. Unlike a fork this is sound in a process with threads. Two
  // guards are never running. From the return on, our death is noticed.
  absl::Status Restart(std::vector<std::string> command);

 private:
  friend absl::StatusOr<Guard> StartGuard(const CgroupLayout& layout, const std::string& state_file,
                                          std::chrono::milliseconds lock_wait);
  Guard(pid_t pid, UniqueFd pipe, UniqueFd lock);

  void Finish();

  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd pipe_;
  UniqueFd lock_;
};

// Forks. FailedPrecondition when this process has more than one thread already (a forked copy of locked
// mutexes could hang), or when another daemon holds the lock for longer than `lock_wait`. Call it before any
// thread, after OomScoreAdjust (the guard inherits that).
absl::StatusOr<Guard> StartGuard(const CgroupLayout& layout, const std::string& state_file,
                                 std::chrono::milliseconds lock_wait = std::chrono::seconds(5));

// The life of a guard that was started by Restart: main's, when it is given `descriptors`. Returns an exit
// code: 2 when they are not what Restart passes.
int GuardMain(const std::string& descriptors, const CgroupLayout& layout, const std::string& state_file);

// Lets go of what a dead daemon left, if no daemon serves this state file; waits for a guard that is about to
// do the same. FailedPrecondition, with the daemon's pid, when one is alive. Nothing is made where there is
// nothing to restore. FailedPrecondition too when others may write in the directory (state_directory.h).
absl::Status RestoreLeftovers(const CgroupLayout& layout, const std::string& state_file);

}  // namespace memgov::kernel
