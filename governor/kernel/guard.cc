#include "governor/kernel/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <limits>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/base/state_directory.h"
#include "governor/kernel/brake_file.h"
#include "governor/kernel/brake_state.h"
#include "governor/kernel/freezer.h"
#include "governor/kernel/parse.h"

namespace memgov::kernel {
namespace {

std::ptrdiff_t ThreadCount() {
  std::error_code error;
  const std::filesystem::directory_iterator tasks("/proc/self/task", error);
  return error ? 0 : std::distance(begin(tasks), end(tasks));
}

// A guard tries for so long to undo what we left; nobody else is there to do it.
constexpr auto kGuardPatience = std::chrono::seconds(60);
// When we end in peace the guard has nothing to do but to exit; if it has, it may go on without us.
constexpr auto kFinishPatience = std::chrono::seconds(3);
constexpr auto kDeathTakes = std::chrono::seconds(2);
constexpr auto kRestorePatience = std::chrono::seconds(5);
constexpr auto kPause = std::chrono::milliseconds(20);
constexpr auto kTryAgain = std::chrono::milliseconds(100);

// The process that took the lock, as it says in the file itself; 0: it does not, or has ended.
pid_t HolderOf(const std::string& file) {
  const auto text = base::ReadRegularFile(file, 64);
  const auto pid = text.ok() ? ParseBytes(*text) : std::nullopt;
  if (!pid || *pid <= 0 || *pid > std::numeric_limits<pid_t>::max()) return 0;
  return ::kill(static_cast<pid_t>(*pid), 0) == 0 || errno == EPERM ? static_cast<pid_t>(*pid) : 0;
}

absl::Status Held(const std::string& file) {
  const pid_t holder = HolderOf(file);
  return absl::FailedPreconditionError(
      holder > 0
          ? absl::StrCat("memgovd with pid ", holder, " holds ", file, "; one state file has one owner")
          : absl::StrCat("the guard of a memgovd that has ended still holds ", file,
                         ", because it could not let go of everything yet"));
}

// One open file description, shared with the guard: the lock ends when both have ended.
absl::StatusOr<UniqueFd> TakeLock(const std::string& state_file, std::chrono::milliseconds longest) {
  const std::string file = state_file + ".lock";
  const auto directory = base::StateDirectory::Open(base::DirectoryOf(file), {.make = true});
  if (!directory.ok()) return directory.status();
  auto lock = directory->OpenLock(base::NameOf(file));
  if (!lock.ok()) return lock.status();
  const auto give_up = std::chrono::steady_clock::now() + longest;
  while (::flock(lock->get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return absl::ErrnoToStatus(errno, absl::StrCat("locking ", file));
    }
    if (std::chrono::steady_clock::now() > give_up) {
      return Held(file);
    }
    std::this_thread::sleep_for(kPause);
  }
  // For people and error messages alone.
  const std::string pid = absl::StrCat(::getpid(), "\n");
  if (::ftruncate(lock->get(), 0) == 0) WriteAll(lock->get(), pid, file).IgnoreError();
  return lock;
}

// Frozen processes first: they stand still, whereas braked ones are only slow.
absl::Status LetGoOfAll(const CgroupLayout& layout, const std::string& state_file,
                        std::chrono::milliseconds longest) {
  const std::string freezes = FreezeStateBeside(state_file);
  absl::Status thawed = ThawFromState(layout, freezes);
  absl::Status status = RestorePatiently(layout, state_file, longest);
  // The kernel refuses to thaw only for want of something, and that passes.
  const auto give_up = std::chrono::steady_clock::now() + longest;
  while (MayPass(thawed) && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(kPause);
    thawed = ThawFromState(layout, freezes);
  }
  status.Update(thawed);
  return status;
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

// What the daemon says on the pipe: by when to let go, in nanoseconds of the steady clock.
using Word = std::int64_t;
constexpr Word kNever = std::numeric_limits<Word>::max();

// Of a daemon that lives but does not run. Its files stay.
absl::Status LetGoMeanwhile(const CgroupLayout& layout, const std::string& state_file) {
  absl::Status status = ThawKeepingState(layout, FreezeStateBeside(state_file));
  std::vector<std::string> complaints;
  const auto marks = LoadBrakeState(state_file, &complaints);
  if (!marks.ok()) {
    status.Update(marks.status());
    return status;
  }
  std::vector<BrakeMark> failed;
  status.Update(LetGoOfMarks(layout, *marks, &failed));
  return status;
}

// Until the daemon has gone.
void Follow(int pipe, const CgroupLayout& layout, const std::string& state_file) {
  Word due = kNever;
  for (;;) {
    const Word now = std::chrono::steady_clock::now().time_since_epoch().count();
    constexpr Word kMillisecond = 1'000'000;
    const bool overdue = now >= due;
    const Word left = due == kNever ? -1 : overdue ? 0 : (due - now) / kMillisecond + 1;
    pollfd told{.fd = pipe, .events = POLLIN, .revents = 0};
    const int ready =
        ::poll(&told, 1, static_cast<int>(std::min<Word>(left, std::numeric_limits<int>::max())));
    // What waits in the pipe is newer than what was read: it may put this off.
    if (ready == 0 && overdue) {
      const absl::Status status = LetGoMeanwhile(layout, state_file);
      ::dprintf(STDERR_FILENO,
                "memgov-guard: memgovd has not run for too long: let go of its brakes and freezes%s%s\n",
                status.ok() ? "" : ": ", status.ok() ? "" : status.ToString().c_str());
      due = status.ok() ? kNever : now + std::chrono::nanoseconds(kTryAgain).count();
    }
    if (ready <= 0) continue;
    std::array<Word, 64> words{};
    const ssize_t got = ::read(pipe, words.data(), sizeof(words));
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return;
    // Each was written at once, so none is cut in two.
    if (const std::size_t count = static_cast<std::size_t>(got) / sizeof(Word); count > 0)
      due = words[count - 1];
  }
}

// The whole life of the guard. `lock` is only held.
int Watch(int pipe, int lock, const CgroupLayout& layout, const std::string& state_file) {
  ::setsid();
  ::prctl(PR_SET_NAME, "memgov-guard");
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE}) ::signal(signal, SIG_IGN);
  CloseOthers(pipe, lock);
  Follow(pipe, layout, state_file);
  const absl::Status status = LetGoOfAll(layout, state_file, kGuardPatience);
  if (!status.ok()) ::dprintf(STDERR_FILENO, "memgov-guard: %s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

struct Pipe {
  UniqueFd reading;
  UniqueFd writing;
};

absl::StatusOr<Pipe> MakePipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "making the guard's pipe");
  ::fcntl(ends[1], F_SETFL, O_NONBLOCK);  // a guard that does not listen must not hold us up
  return Pipe{.reading = UniqueFd(ends[0]), .writing = UniqueFd(ends[1])};
}

// Debian 12's C library has no pidfd_open of its own for C++.
UniqueFd PidfdOf(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

}  // namespace

Guard::Guard(pid_t pid, UniqueFd pipe, UniqueFd lock)
    : pid_(pid), pidfd_(PidfdOf(pid)), pipe_(std::move(pipe)), lock_(std::move(lock)) {}

Guard::Guard(Guard&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      pipe_(std::move(other.pipe_)),
      lock_(std::move(other.lock_)) {}

Guard& Guard::operator=(Guard&& other) noexcept {
  if (this != &other) {
    Finish();
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    pipe_ = std::move(other.pipe_);
    lock_ = std::move(other.lock_);
  }
  return *this;
}

Guard::~Guard() { Finish(); }

void Guard::Finish() {
  pipe_.reset();
  const auto give_up = std::chrono::steady_clock::now() + kFinishPatience;
  while (Running() && std::chrono::steady_clock::now() < give_up) {
    pollfd ended{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    ::poll(&ended, 1, pidfd_ ? static_cast<int>(std::chrono::milliseconds(kFinishPatience).count()) : 5);
  }
  pid_ = -1;
  pidfd_.reset();
  lock_.reset();
}

void Guard::LetGoBy(std::optional<core::Instant> when) {
  const Word word = when ? when->time_since_epoch().count() : kNever;
  // Nothing can be done about a failure: the guard is dead, which is seen elsewhere, or stopped.
  if (::write(pipe_.get(), &word, sizeof(word)) < 0) return;
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
  auto pipe = MakePipe();
  if (!pipe.ok()) return pipe.status();
  const pid_t pid = ::fork();
  if (pid < 0) return absl::ErrnoToStatus(errno, "forking the guard");
  if (pid == 0) {
    pipe->writing.reset();
    ::_exit(Watch(pipe->reading.get(), lock->get(), layout, state_file));
  }
  return Guard(pid, std::move(pipe->writing), std::move(*lock));
}

absl::Status Guard::Restart(std::vector<std::string> command) {
  if (Running()) return absl::FailedPreconditionError("the guard is running");
  auto pipe = MakePipe();
  if (!pipe.ok()) return pipe.status();
  command.push_back(absl::StrCat(pipe->reading.get(), ",", lock_.get()));
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);

  posix_spawn_file_actions_t keep;
  if (::posix_spawn_file_actions_init(&keep) != 0)
    return absl::ResourceExhaustedError("no memory for a guard");
  // Onto itself: the child loses its close-on-exec.
  ::posix_spawn_file_actions_adddup2(&keep, pipe->reading.get(), pipe->reading.get());
  ::posix_spawn_file_actions_adddup2(&keep, lock_.get(), lock_.get());
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, arguments[0], &keep, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&keep);
  if (error != 0) return absl::ErrnoToStatus(error, absl::StrCat("running ", command[0], " as a guard"));
  pid_ = pid;
  pidfd_ = PidfdOf(pid);
  pipe_ = std::move(pipe->writing);
  return absl::OkStatus();
}

int GuardMain(const std::string& descriptors, const CgroupLayout& layout, const std::string& state_file) {
  int pipe = -1;
  int lock = -1;
  char rest = 0;
  const bool two = std::sscanf(descriptors.c_str(), "%d,%d%c", &pipe, &lock, &rest) == 2;
  struct stat info {};
  if (!two || pipe <= STDERR_FILENO || lock <= STDERR_FILENO || pipe == lock || ::fstat(pipe, &info) != 0 ||
      !S_ISFIFO(info.st_mode) || ::fcntl(lock, F_GETFD) < 0) {
    ::dprintf(STDERR_FILENO, "memgov-guard: \"%s\" is not \"PIPE,LOCK\"; memgovd alone starts this\n",
              descriptors.c_str());
    return 2;
  }
  return Watch(pipe, lock, layout, state_file);
}

absl::Status RestoreLeftovers(const CgroupLayout& layout, const std::string& state_file) {
  const std::string lock_file = state_file + ".lock";
  std::error_code ignored;
  const std::vector<std::string> traces{state_file, lock_file, FreezeStateBeside(state_file)};
  if (std::none_of(traces.begin(), traces.end(),
                   [&](const std::string& file) { return std::filesystem::exists(file, ignored); })) {
    return absl::OkStatus();
  }
  auto lock = TakeLock(state_file, std::chrono::milliseconds(0));
  if (!lock.ok() && absl::IsFailedPrecondition(lock.status())) {
    // A killed daemon may look alive for a moment. Its guard is given as long as it may take.
    lock = TakeLock(state_file, kDeathTakes);
    if (!lock.ok() && HolderOf(lock_file) == 0) lock = TakeLock(state_file, kGuardPatience);
  }
  if (!lock.ok()) return lock.status();
  return LetGoOfAll(layout, state_file, kRestorePatience);
}

}  // namespace memgov::kernel
