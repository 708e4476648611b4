#include "governor/kernel/freezer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "governor/kernel/brake_file.h"
#include "governor/kernel/cgroup_path.h"
#include "governor/kernel/cgroup_processes.h"
#include "governor/kernel/state_lines.h"

namespace memgov::kernel {
namespace {

// Both hierarchies' processes must be seen to be compared; no container has more.
constexpr std::size_t kMostProcesses = 100'000;
// Far above what our own freezes need.
constexpr std::size_t kLargestState = 1024 * 1024;
constexpr std::size_t kLargestKernelFile = 4096;
constexpr std::chrono::seconds kLongestStop(1);

std::string StateFileOf(const FreezerLayout& freezer, const std::string& path) {
  const bool v1 = freezer.version == MemoryVersion::kV1;
  return absl::StrCat(freezer.mount, path, v1 ? "/freezer.state" : "/cgroup.freeze");
}

absl::StatusOr<std::string> ReadKept(int fd, const std::string& file) {
  std::array<char, 64> buffer;
  ssize_t got = 0;
  do {
    got = ::pread(fd, buffer.data(), buffer.size(), 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return FileError(errno, "reading", file);
  return std::string(buffer.data(), static_cast<std::size_t>(got));
}

absl::Status WriteKept(int fd, const FreezerLayout& freezer, const std::string& path, bool frozen) {
  const bool v1 = freezer.version == MemoryVersion::kV1;
  const std::string_view word = v1 ? (frozen ? "FROZEN" : "THAWED") : (frozen ? "1" : "0");
  ssize_t written = 0;
  do {
    written = ::pwrite(fd, word.data(), word.size(), 0);
  } while (written < 0 && errno == EINTR);
  return written < 0 ? FileError(errno, "writing", StateFileOf(freezer, path)) : absl::OkStatus();
}

// NotFound, or the inode of the cgroup.
absl::StatusOr<std::uint64_t> Inode(const FreezerLayout& freezer, const std::string& path) {
  struct stat info {};
  const std::string directory = freezer.mount + path;
  if (::stat(directory.c_str(), &info) != 0) return FileError(errno, "looking at", directory);
  return info.st_ino;
}

// Whether every process stands still.
absl::StatusOr<bool> IsFrozen(const FreezerLayout& freezer, const std::string& path, int state) {
  if (freezer.version == MemoryVersion::kV1) {
    const auto text = ReadKept(state, StateFileOf(freezer, path));
    if (!text.ok()) return text.status();
    return *text == "FROZEN\n";
  }
  const std::string file = absl::StrCat(freezer.mount, path, "/cgroup.events");
  const auto text = ReadAll(AT_FDCWD, file, kLargestKernelFile, file);
  if (!text.ok()) return text.status();
  return absl::StrCat("\n", *text).find("\nfrozen 1\n") != std::string::npos;
}

std::vector<pid_t> Sorted(const ProcessList& list) {
  std::vector<pid_t> pids;
  pids.reserve(list.processes.size());
  for (const CgroupProcess& process : list.processes) pids.push_back(process.pid);
  std::sort(pids.begin(), pids.end());
  return pids;
}

// That freezing this cgroup stops the processes of the memory cgroup, not us, and nobody else.
absl::Status CheckProcesses(const CgroupLayout& memory, const FreezerLayout& freezer,
                            const std::string& path) {
  CgroupLayout there = memory;
  there.memory_mount = freezer.mount;
  const auto stopped = ProcessesWithin(there, path, kMostProcesses);
  if (!stopped.ok()) return stopped.status();
  const std::vector<pid_t> stopping = Sorted(*stopped);
  if (std::binary_search(stopping.begin(), stopping.end(), ::getpid())) {
    return absl::FailedPreconditionError(absl::StrCat("we are in ", path, " ourselves"));
  }
  if (stopped->more) return absl::FailedPreconditionError(absl::StrCat(path, " has too many processes"));
  if (freezer.mount == memory.memory_mount) return absl::OkStatus();
  if (stopped->hidden > 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("processes of ", path, " are in a pid namespace we do not see into"));
  }
  // Second, so that a child that is born meanwhile is in this list at least.
  const auto meant = ProcessesWithin(memory, path, kMostProcesses);
  if (!meant.ok()) return meant.status();
  const std::vector<pid_t> known = Sorted(*meant);
  for (const pid_t pid : stopping) {
    if (std::binary_search(known.begin(), known.end(), pid)) continue;
    if (::access(absl::StrCat("/proc/", pid).c_str(), F_OK) != 0) continue;  // it has ended meanwhile
    return absl::FailedPreconditionError(absl::StrCat("the freezer's ", path, " holds process ", pid,
                                                      ", which the memory controller's does not"));
  }
  return absl::OkStatus();
}

absl::Status Store(base::StateFile& file, const std::vector<FreezeMark>& marks) {
  if (marks.empty()) return file.Remove();
  std::string text;
  for (const FreezeMark& mark : marks) absl::StrAppend(&text, mark.path, " ", mark.inode, "\n");
  if (text.size() > kLargestState) {
    return absl::ResourceExhaustedError(
        absl::StrCat(file.path(), " would be larger than ", kLargestState, " bytes"));
  }
  return file.Replace(text);
}

absl::Status ThawMark(const FreezerLayout& freezer, const FreezeMark& mark) {
  const auto inode = Inode(freezer, mark.path);
  if (!inode.ok()) return inode.status();
  if (*inode != mark.inode) return absl::OkStatus();
  const std::string file = StateFileOf(freezer, mark.path);
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  return fd ? WriteKept(fd.get(), freezer, mark.path, false) : FileError(errno, "opening", file);
}

// Thaws the marks whose cgroups are still there; what failed comes back in `failed`, and the status names it.
absl::Status ThawMarks(const FreezerLayout& freezer, const std::vector<FreezeMark>& marks,
                       std::vector<FreezeMark>* failed) {
  std::vector<std::string> errors;
  for (const FreezeMark& mark : marks) {
    const absl::Status status = ThawMark(freezer, mark);
    if (status.ok() || absl::IsNotFound(status)) continue;
    failed->push_back(mark);
    errors.emplace_back(status.message());
  }
  if (errors.empty()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("not thawed: ", absl::StrJoin(errors, "; ")));
}

}  // namespace

absl::StatusOr<FreezerLayout> FindFreezer(const CgroupLayout& layout) {
  if (layout.memory_version == MemoryVersion::kV2) {
    return FreezerLayout{.version = MemoryVersion::kV2, .mount = layout.memory_mount};
  }
  const std::string mount = ParentPath(layout.memory_mount) + "/freezer";
  struct statfs info {};
  if (::statfs(mount.c_str(), &info) != 0) return FileError(errno, "looking at", mount);
  if (info.f_type != CGROUP_SUPER_MAGIC) {
    return absl::NotFoundError(absl::StrCat(mount, " is no cgroup v1 hierarchy"));
  }
  return FreezerLayout{.version = MemoryVersion::kV1, .mount = mount};
}

std::vector<FreezeMark> ParseFreezeState(std::string_view text, const std::string& file,
                                         std::vector<std::string>* complaints) {
  std::vector<FreezeMark> marks;
  ForEachLine(text, file, "/path inode", complaints, [&marks](const std::string& line) {
    // The inode is the last word; a path may have spaces.
    const std::size_t space = line.rfind(' ');
    FreezeMark mark{.path = line.substr(0, space)};
    const char* const stop = line.data() + line.size();
    const char* const digits = space == std::string::npos ? stop : line.data() + space + 1;
    const auto [parsed, error] = std::from_chars(digits, stop, mark.inode);
    const bool good = error == std::errc() && parsed == stop && mark.path.size() >= 2 &&
                      NormalisedPath(mark.path) == mark.path;
    if (good) marks.push_back(std::move(mark));
    return good;
  });
  return marks;
}

std::string FreezeStateBeside(const std::string& brake_state_file) {
  return brake_state_file.substr(0, brake_state_file.rfind('/') + 1) + "freeze.state";
}

absl::Status ThawFromState(const FreezerLayout& freezer, const std::string& state_file) {
  base::StateFile file(state_file);
  const auto text = file.Read(kLargestState);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  if (!text.ok()) return text.status();
  std::vector<std::string> complaints;
  const std::vector<FreezeMark> marks = ParseFreezeState(*text, state_file, &complaints);
  std::vector<FreezeMark> failed;
  absl::Status thawed = ThawMarks(freezer, marks, &failed);
  if (absl::Status stored = Store(file, failed); !stored.ok()) return stored;
  if (!thawed.ok()) return thawed;
  if (!complaints.empty()) return absl::DataLossError(absl::StrJoin(complaints, "; "));
  return absl::OkStatus();
}

absl::Status ThawFromState(const CgroupLayout& layout, const std::string& state_file) {
  if (::access(state_file.c_str(), F_OK) != 0 && errno == ENOENT) return absl::OkStatus();
  const auto freezer = FindFreezer(layout);
  return freezer.ok() ? ThawFromState(*freezer, state_file) : freezer.status();
}

absl::Status ThawKeepingState(const CgroupLayout& layout, const std::string& state_file) {
  const auto text = base::StateFile(state_file).Read(kLargestState);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  if (!text.ok()) return text.status();
  const auto freezer = FindFreezer(layout);
  if (!freezer.ok()) return freezer.status();
  std::vector<std::string> complaints;
  std::vector<FreezeMark> failed;
  return ThawMarks(*freezer, ParseFreezeState(*text, state_file, &complaints), &failed);
}

// --- what is ours, for all threads

Freezer::Freezer(const CgroupLayout& memory, FreezerLayout freezer, std::string state_file)
    : memory_(memory), freezer_(std::move(freezer)), state_file_(std::move(state_file)) {
  const auto text = state_file_.Read(kLargestState);
  std::vector<std::string> complaints;  // said when the start restored
  if (text.ok()) marks_ = ParseFreezeState(*text, state_file_.path(), &complaints);
}

std::vector<FreezeMark> Freezer::Marks() const {
  const std::lock_guard lock(mutex_);
  return marks_;
}

std::vector<std::string> Freezer::Frozen() const {
  std::vector<std::string> paths;
  for (const FreezeMark& mark : Marks()) paths.push_back(mark.path);
  return paths;
}

std::shared_ptr<Freezer::Held> Freezer::HeldAt(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  const auto held = held_.find(path);
  return held == held_.end() ? nullptr : held->second;
}

// Makes `held` what is ours under this path, or nothing; in the file first.
absl::Status Freezer::Remember(const std::string& path, std::shared_ptr<Held> held) {
  const std::lock_guard storing(storing_);
  const std::vector<FreezeMark> before = Marks();
  std::vector<FreezeMark> marks;
  for (const FreezeMark& mark : before) {
    if (mark.path != path) marks.push_back(mark);
  }
  if (held != nullptr) marks.push_back({.path = path, .inode = held->inode});
  if (marks != before) {
    if (absl::Status stored = Store(state_file_, marks); !stored.ok()) return stored;
  }
  const std::lock_guard lock(mutex_);
  marks_ = std::move(marks);
  if (held != nullptr) {
    held_[path] = std::move(held);
  } else {
    held_.erase(path);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Freezer::Held>> Freezer::Open(const std::string& path) const {
  const std::string directory = freezer_.mount + path;
  const UniqueFd cgroup(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup) return FileError(errno, "opening", directory);
  struct stat info {};
  if (::fstat(cgroup.get(), &info) != 0) return FileError(errno, "looking at", directory);
  const char* const name = freezer_.version == MemoryVersion::kV1 ? "freezer.state" : "cgroup.freeze";
  auto held = std::make_shared<Held>();
  held->inode = info.st_ino;
  held->state.reset(::openat(cgroup.get(), name, O_RDWR | O_CLOEXEC));
  if (!held->state) return FileError(errno, "opening", StateFileOf(freezer_, path));
  return held;
}

// --- freezing

absl::Status Freezer::Freeze(const std::string& path, const std::function<bool()>& wanted) {
  if (path == "/" || path.empty() || NormalisedPath(path) != path) {
    return absl::InvalidArgumentError(absl::StrCat("\"", path, "\" cannot be frozen"));
  }
  auto held = Open(path);
  if (!held.ok()) return held.status();
  const auto state = ReadKept((*held)->state.get(), StateFileOf(freezer_, path));
  if (!state.ok()) return state.status();
  const std::vector<FreezeMark> marks = Marks();
  const FreezeMark mark{.path = path, .inode = (*held)->inode};
  const auto before = HeldAt(path);
  const bool ours =
      std::find(marks.begin(), marks.end(), mark) != marks.end() && (before == nullptr || !before->thawed);
  const bool asked_for =
      *state != "THAWED\n" && *state != "0\n";  // here or (v1) above; it need not have come about
  if (asked_for && !ours) {
    return absl::FailedPreconditionError(absl::StrCat(path, " was frozen by somebody else"));
  }
  if (absl::Status status = CheckProcesses(memory_, freezer_, path); !status.ok()) return status;

  if (absl::Status stored = Remember(path, *held); !stored.ok()) return stored;
  absl::Status status = absl::CancelledError("it is not wanted any more");
  if (wanted()) {
    status = WriteKept((*held)->state.get(), freezer_, path, true);
  } else if (!ours) {
    Remember(path, nullptr).IgnoreError();  // or it is thawed, which is harmless
    return status;
  }
  if (status.ok()) status = AwaitFrozen(path, **held, wanted);
  if (!status.ok() && !absl::IsCancelled(status))
    Thaw(path).IgnoreError();  // it stays in the record if that fails
  return status;
}

absl::Status Freezer::AwaitFrozen(const std::string& path, const Held& held,
                                  const std::function<bool()>& wanted) const {
  const auto give_up = std::chrono::steady_clock::now() + kLongestStop;
  for (;;) {
    const auto frozen = IsFrozen(freezer_, path, held.state.get());
    if (!frozen.ok()) return frozen.status();
    if (*frozen) return absl::OkStatus();
    if (!wanted()) return absl::CancelledError("it is not wanted any more");
    if (std::chrono::steady_clock::now() > give_up) {
      return absl::DeadlineExceededError(absl::StrCat("a process of ", path, " does not stop"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// --- thawing

absl::Status Freezer::Thaw(const std::string& path, bool last) {
  const std::vector<FreezeMark> all = Marks();
  std::vector<FreezeMark> marks;
  for (const FreezeMark& mark : all) {
    if (mark.path == path) marks.push_back(mark);
  }
  if (marks.empty()) return absl::OkStatus();
  absl::Status thawed;
  if (const auto held = HeldAt(path); held == nullptr) {
    std::vector<FreezeMark> failed;
    thawed = ThawMarks(freezer_, marks, &failed);  // a predecessor's
  } else if (!held->thawed) {
    thawed = WriteKept(held->state.get(), freezer_, path, false);
    if (absl::IsNotFound(thawed)) thawed = absl::OkStatus();
    // Once is enough: meanwhile somebody else may freeze it.
    held->thawed = thawed.ok() && last;
  }
  if (!thawed.ok() || !last) return thawed;
  return Remember(path, nullptr);
}

absl::Status Freezer::ThawAll() {
  std::vector<std::string> errors;
  for (const std::string& path : Frozen()) {
    if (const absl::Status status = Thaw(path); !status.ok()) errors.emplace_back(status.message());
  }
  if (errors.empty()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("not thawed: ", absl::StrJoin(errors, "; ")));
}

}  // namespace memgov::kernel
