#include "governor/kernel/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/kernel/brake_state.h"
#include "governor/kernel/cgroup_path.h"

namespace memgov::kernel {
namespace {

std::ptrdiff_t ThreadCount() {
  std::error_code error;
  const std::filesystem::directory_iterator tasks("/proc/self/task", error);
  return error ? 0 : std::distance(begin(tasks), end(tasks));
}

// One open file description, shared with the guard by the fork: the lock ends when both have ended.
absl::StatusOr<UniqueFd> TakeLock(const std::string& state_file, std::chrono::milliseconds longest) {
  const std::string file = state_file + ".lock";
  const std::string directory = ParentPath(file);
  if (!directory.empty() && ::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return absl::ErrnoToStatus(errno, absl::StrCat("making ", directory));
  }
  UniqueFd lock(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", file));
  const auto give_up = std::chrono::steady_clock::now() + longest;
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return absl::ErrnoToStatus(errno, absl::StrCat("locking ", file));
    }
    if (std::chrono::steady_clock::now() > give_up) {
      return absl::FailedPreconditionError(
          absl::StrCat("another memgovd, or its guard, holds ", file, "; one state file has one owner"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return lock;
}

// Keeps the error stream and the two descriptors it is given.
void CloseOthers(int a, int b) {
  const int low = std::min(a, b);
  const int high = std::max(a, b);
  ::close(STDIN_FILENO);
  ::close(STDOUT_FILENO);
  if (low > STDERR_FILENO + 1) ::close_range(STDERR_FILENO + 1, static_cast<unsigned>(low - 1), 0);
  if (high > low + 1) ::close_range(static_cast<unsigned>(low + 1), static_cast<unsigned>(high - 1), 0);
  ::close_range(static_cast<unsigned>(high + 1), ~0U, 0);
}

// The whole life of the guard. `lock` is only held.
[[noreturn]] void Watch(int pipe, int lock, const CgroupLayout& layout, const std::string& state_file) {
  ::setsid();
  ::prctl(PR_SET_NAME, "memgov-guard");
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE}) ::signal(signal, SIG_IGN);
  CloseOthers(pipe, lock);
  char unused = 0;
  while (::read(pipe, &unused, 1) < 0 && errno == EINTR) {
  }
  const absl::Status status = RestoreFromState(layout, state_file);
  if (!status.ok()) ::dprintf(STDERR_FILENO, "memgov-guard: %s\n", status.ToString().c_str());
  ::_exit(status.ok() ? 0 : 1);
}

}  // namespace

Guard::Guard(pid_t pid, UniqueFd pipe, UniqueFd lock)
    : pid_(pid), pipe_(std::move(pipe)), lock_(std::move(lock)) {}

Guard::Guard(Guard&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pipe_(std::move(other.pipe_)), lock_(std::move(other.lock_)) {}

Guard& Guard::operator=(Guard&& other) noexcept {
  if (this != &other) {
    Finish();
    pid_ = std::exchange(other.pid_, -1);
    pipe_ = std::move(other.pipe_);
    lock_ = std::move(other.lock_);
  }
  return *this;
}

Guard::~Guard() { Finish(); }

void Guard::Finish() {
  pipe_.reset();
  if (pid_ > 0) {
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  pid_ = -1;
  lock_.reset();
}

bool Guard::Running() {
  if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) != 0) pid_ = -1;
  return pid_ > 0;
}

absl::StatusOr<Guard> StartGuard(const CgroupLayout& layout, const std::string& state_file,
                                 std::chrono::milliseconds lock_wait) {
  if (ThreadCount() != 1) {
    return absl::FailedPreconditionError("the guard must be started before any thread");
  }
  auto lock = TakeLock(state_file, lock_wait);
  if (!lock.ok()) return lock.status();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "making the guard's pipe");
  UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return absl::ErrnoToStatus(errno, "forking the guard");
  if (pid == 0) {
    writing.reset();
    Watch(reading.get(), lock->get(), layout, state_file);
  }
  return Guard(pid, std::move(writing), std::move(*lock));
}

}  // namespace memgov::kernel
