#include "governor/kernel/freezer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
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
#include "governor/kernel/cgroup_path.h"
#include "governor/kernel/cgroup_processes.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {
namespace {

// Both hierarchies' processes must be seen to be compared; no container has more.
constexpr std::size_t kMostProcesses = 100'000;
// Far above what our own freezes need.
constexpr std::size_t kLargestState = 1024 * 1024;
constexpr std::chrono::seconds kLongestStop(1);

absl::Status FileError(int error, const char* doing, const std::string& file) {
  return absl::ErrnoToStatus(error == ENODEV ? ENOENT : error, absl::StrCat(doing, " ", file));
}

absl::StatusOr<std::string> ReadAll(const std::string& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return FileError(errno, "opening", file);
  std::string text;
  std::array<char, 4096> buffer;
  while (text.size() <= kLargestState) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(errno, "reading", file);
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return absl::InvalidArgumentError(absl::StrCat(file, " is larger than ", kLargestState, " bytes"));
}

absl::Status WriteAll(const std::string& file, const std::string& text, int flags) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC | flags, 0600));
  if (!fd) return FileError(errno, "opening", file);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(fd.get(), text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(errno, "writing", file);
    done += static_cast<std::size_t>(written);
  }
  return absl::OkStatus();
}

// NotFound, or the inode of the cgroup.
absl::StatusOr<std::uint64_t> Inode(const FreezerLayout& freezer, const std::string& path) {
  struct stat info {};
  const std::string directory = freezer.mount + path;
  if (::stat(directory.c_str(), &info) != 0) return FileError(errno, "looking at", directory);
  return info.st_ino;
}

absl::Status Write(const FreezerLayout& freezer, const std::string& path, bool frozen) {
  const bool v1 = freezer.version == MemoryVersion::kV1;
  return v1 ? WriteAll(absl::StrCat(freezer.mount, path, "/freezer.state"), frozen ? "FROZEN" : "THAWED", 0)
            : WriteAll(absl::StrCat(freezer.mount, path, "/cgroup.freeze"), frozen ? "1" : "0", 0);
}

// Whether somebody has asked for it, here or (v1) above; it need not have come about.
absl::StatusOr<bool> IsWanted(const FreezerLayout& freezer, const std::string& path) {
  const bool v1 = freezer.version == MemoryVersion::kV1;
  const auto text = ReadAll(absl::StrCat(freezer.mount, path, v1 ? "/freezer.state" : "/cgroup.freeze"));
  if (!text.ok()) return text.status();
  return *text != (v1 ? "THAWED\n" : "0\n");
}

// Whether every process stands still.
absl::StatusOr<bool> IsFrozen(const FreezerLayout& freezer, const std::string& path) {
  const bool v1 = freezer.version == MemoryVersion::kV1;
  const auto text = ReadAll(absl::StrCat(freezer.mount, path, v1 ? "/freezer.state" : "/cgroup.events"));
  if (!text.ok()) return text.status();
  return v1 ? *text == "FROZEN\n" : absl::StrCat("\n", *text).find("\nfrozen 1\n") != std::string::npos;
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

absl::Status Store(const std::string& file, const std::vector<FreezeMark>& marks) {
  if (marks.empty()) {
    if (::unlink(file.c_str()) != 0 && errno != ENOENT) return FileError(errno, "removing", file);
    return absl::OkStatus();
  }
  std::string text;
  for (const FreezeMark& mark : marks) absl::StrAppend(&text, mark.path, " ", mark.inode, "\n");
  const std::string directory = ParentPath(file);
  if (!directory.empty() && ::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return FileError(errno, "making", directory);
  }
  const std::string fresh = file + ".new";
  if (absl::Status written = WriteAll(fresh, text, O_CREAT | O_TRUNC); !written.ok()) return written;
  if (::rename(fresh.c_str(), file.c_str()) != 0) return FileError(errno, "renaming to", file);
  return absl::OkStatus();
}

// Thaws the marks whose cgroups are still there; what failed comes back in `failed`, and the status names it.
absl::Status ThawMarks(const FreezerLayout& freezer, const std::vector<FreezeMark>& marks,
                       std::vector<FreezeMark>* failed) {
  std::vector<std::string> errors;
  for (const FreezeMark& mark : marks) {
    const auto inode = Inode(freezer, mark.path);
    absl::Status status = inode.status();
    if (inode.ok() && *inode == mark.inode) status = Write(freezer, mark.path, false);
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
  for (int line_number = 1; !text.empty(); ++line_number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    // The inode is the last word; a path may have spaces.
    const std::size_t space = line.rfind(' ');
    FreezeMark mark{.path = line.substr(0, space)};
    const char* const stop = line.data() + line.size();
    const char* const digits = space == std::string::npos ? stop : line.data() + space + 1;
    const auto [parsed, error] = std::from_chars(digits, stop, mark.inode);
    if (error != std::errc() || parsed != stop || mark.path.size() < 2 ||
        NormalisedPath(mark.path) != mark.path) {
      complaints->push_back(absl::StrCat(file, ":", line_number, ": \"", line, "\" is not \"/path inode\""));
      continue;
    }
    marks.push_back(std::move(mark));
  }
  return marks;
}

std::string FreezeStateBeside(const std::string& brake_state_file) {
  return brake_state_file.substr(0, brake_state_file.rfind('/') + 1) + "freeze.state";
}

absl::Status ThawFromState(const FreezerLayout& freezer, const std::string& state_file) {
  const auto text = ReadAll(state_file);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  if (!text.ok()) return text.status();
  std::vector<std::string> complaints;
  const std::vector<FreezeMark> marks = ParseFreezeState(*text, state_file, &complaints);
  std::vector<FreezeMark> failed;
  absl::Status thawed = ThawMarks(freezer, marks, &failed);
  if (absl::Status stored = Store(state_file, failed); !stored.ok()) return stored;
  if (!thawed.ok()) return thawed;
  if (!complaints.empty()) return absl::DataLossError(absl::StrJoin(complaints, "; "));
  return absl::OkStatus();
}

absl::Status ThawFromState(const CgroupLayout& layout, const std::string& state_file) {
  if (::access(state_file.c_str(), F_OK) != 0 && errno == ENOENT) return absl::OkStatus();
  const auto freezer = FindFreezer(layout);
  return freezer.ok() ? ThawFromState(*freezer, state_file) : freezer.status();
}

Freezer::Freezer(const CgroupLayout& memory, FreezerLayout freezer, std::string state_file)
    : memory_(memory), freezer_(std::move(freezer)), state_file_(std::move(state_file)) {}

absl::Status Freezer::Remember(std::vector<FreezeMark> marks) {
  if (absl::Status stored = Store(state_file_, marks); !stored.ok()) return stored;
  marks_ = std::move(marks);
  return absl::OkStatus();
}

absl::Status Freezer::Freeze(const std::string& path) {
  if (path == "/" || path.empty() || NormalisedPath(path) != path) {
    return absl::InvalidArgumentError(absl::StrCat("\"", path, "\" cannot be frozen"));
  }
  const auto inode = Inode(freezer_, path);
  if (!inode.ok()) return inode.status();
  const auto wanted = IsWanted(freezer_, path);
  if (!wanted.ok()) return wanted.status();
  const FreezeMark mark{.path = path, .inode = *inode};
  const bool ours = std::find(marks_.begin(), marks_.end(), mark) != marks_.end();
  if (*wanted && !ours) {
    return absl::FailedPreconditionError(absl::StrCat(path, " was frozen by somebody else"));
  }
  if (absl::Status status = CheckProcesses(memory_, freezer_, path); !status.ok()) return status;

  if (!ours) {
    std::vector<FreezeMark> marks = marks_;
    marks.push_back(mark);
    if (absl::Status stored = Remember(std::move(marks)); !stored.ok()) return stored;
  }
  absl::Status status = Write(freezer_, path, true);
  const auto give_up = std::chrono::steady_clock::now() + kLongestStop;
  while (status.ok()) {
    const auto frozen = IsFrozen(freezer_, path);
    if (frozen.ok() && *frozen) return absl::OkStatus();
    status = frozen.status();
    if (std::chrono::steady_clock::now() > give_up) {
      status = absl::DeadlineExceededError(absl::StrCat("a process of ", path, " does not stop"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  Thaw(path).IgnoreError();  // it stays in the record if that fails
  return status;
}

absl::Status Freezer::Thaw(const std::string& path) {
  std::vector<FreezeMark> others;
  std::vector<FreezeMark> those;
  for (const FreezeMark& mark : marks_) (mark.path == path ? those : others).push_back(mark);
  if (those.empty()) return absl::OkStatus();
  absl::Status thawed = ThawMarks(freezer_, those, &others);
  const absl::Status remembered = Remember(std::move(others));
  return thawed.ok() ? remembered : thawed;
}

absl::Status Freezer::ThawAll() {
  std::vector<FreezeMark> failed;
  absl::Status thawed = ThawMarks(freezer_, marks_, &failed);
  const absl::Status remembered = Remember(std::move(failed));
  return thawed.ok() ? remembered : thawed;
}

}  // namespace memgov::kernel
