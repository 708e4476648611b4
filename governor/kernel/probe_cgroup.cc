#include "governor/kernel/probe_cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {
namespace {

// A cgroup of our own, removed again. `error` says why there is none.
class OwnCgroup {
 public:
  OwnCgroup(const std::string& mount, const std::string& root) {
    directory_ = absl::StrCat(mount, root == "/" ? "" : root, "/memgov-doctor-", ::getpid());
    error_ = ::mkdir(directory_.c_str(), 0755) == 0 ? 0 : errno;
  }
  ~OwnCgroup() {
    if (error_ == 0) ::rmdir(directory_.c_str());
  }
  OwnCgroup(const OwnCgroup&) = delete;
  OwnCgroup& operator=(const OwnCgroup&) = delete;

  int error() const { return error_; }
  const std::string& directory() const { return directory_; }

 private:
  std::string directory_;
  int error_ = 0;
};

Trial TryWrite(const std::string& file, std::string_view text) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return errno;
  return ::write(fd.get(), text.data(), text.size()) < 0 ? errno : 0;
}

Trial TryRead(const std::string& file) {
  std::array<char, 1024> buffer;
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno;
  return ::read(fd.get(), buffer.data(), buffer.size()) < 0 ? errno : 0;
}

// The trigger lives until the descriptor is closed, at once.
Trial TryTrigger(const std::string& file, std::string_view trigger) {
  const UniqueFd fd(::open(file.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return errno;
  return ::write(fd.get(), trigger.data(), trigger.size() + 1) < 0 ? errno : 0;
}

Trial TryUsageEventfd(const std::string& directory) {
  const UniqueFd event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  const UniqueFd usage(::open((directory + "/memory.usage_in_bytes").c_str(), O_RDONLY | O_CLOEXEC));
  if (!event || !usage) return errno;
  return TryWrite(directory + "/cgroup.event_control",
                  absl::StrCat(event.get(), " ", usage.get(), " ", 1 << 30));
}

// Where the v1 freezer is mounted; empty: nowhere.
std::string FreezerMount() {
  const std::unique_ptr<FILE, int (*)(FILE*)> table(::setmntent("/proc/self/mounts", "r"), ::endmntent);
  if (table == nullptr) return "";
  mntent entry{};
  std::array<char, 4096> buffer;
  while (::getmntent_r(table.get(), &entry, buffer.data(), buffer.size()) != nullptr) {
    if (std::string_view(entry.mnt_type) == "cgroup" && ::hasmntopt(&entry, "freezer") != nullptr) {
      return entry.mnt_dir;
    }
  }
  return "";
}

Trial TryFreezer(const NodeFacts& facts, const std::string& own_directory) {
  if (facts.layout->memory_version == MemoryVersion::kV2)
    return TryWrite(own_directory + "/cgroup.freeze", "0");
  const std::string mount = FreezerMount();
  if (mount.empty()) return ENOENT;
  const OwnCgroup own(mount, "/");
  return own.error() != 0 ? own.error() : TryWrite(own.directory() + "/freezer.state", "THAWED");
}

// In a cgroup of our own in the tree that has the pressure files; without one, on the whole machine's.
void ProbeTriggers(const std::string& own_directory, NodeFacts* facts) {
  constexpr std::string_view kFast = "some 50000 500000";
  constexpr std::string_view kSlow = "some 200000 2000000";
  std::string file = "/proc/pressure/memory";
  std::unique_ptr<OwnCgroup> other;  // hybrid: the tree beside
  if (facts->layout->pressure_mount.has_value()) {
    std::string directory = own_directory;
    if (facts->layout->memory_version == MemoryVersion::kV1) {
      other = std::make_unique<OwnCgroup>(*facts->layout->pressure_mount, "/");
      directory = other->error() == 0 ? other->directory() : "";
    }
    const std::string in_cgroup = directory + "/memory.pressure";
    if (!directory.empty() && TryRead(in_cgroup) == 0) {
      facts->cgroup_pressure = facts->triggers_on_cgroup = true;
      file = in_cgroup;
    }
  }
  facts->fast_trigger = TryTrigger(file, kFast);
  facts->slow_trigger = TryTrigger(file, kSlow);
}

std::string FirstRoot(const NodeFacts& facts) { return facts.roots.empty() ? "/" : facts.roots.front().path; }

}  // namespace

Trial TryProcessMadvise() {
#ifndef SYS_process_madvise
  constexpr long kProcessMadvise = 440;
#else
  constexpr long kProcessMadvise = SYS_process_madvise;
#endif
  const UniqueFd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!self) return errno;
  const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* page = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return errno;
  ::munlock(page, size);  // a locked page takes no advice, and ours may all be locked
  const iovec range{.iov_base = page, .iov_len = size};
  const int error = ::syscall(kProcessMadvise, self.get(), &range, 1, MADV_COLD, 0) < 0 ? errno : 0;
  ::munmap(page, size);
  return error;
}

void LookAtCgroups(NodeFacts* facts) {
  const std::string root = FirstRoot(*facts);
  const std::string directory = facts->layout->memory_mount + (root == "/" ? "" : root);
  facts->write_error = ::access(directory.c_str(), W_OK) == 0 ? 0 : errno;
  facts->cgroup_pressure = facts->layout->pressure_mount.has_value();
}

void ProbeCgroups(NodeFacts* facts) {
  const CgroupLayout& layout = *facts->layout;
  const std::string root = FirstRoot(*facts);
  const OwnCgroup own(layout.memory_mount, root);
  facts->write_error = own.error();
  facts->own_cgroup = own.error() == 0;
  ProbeTriggers(facts->own_cgroup ? own.directory() : "", facts);
  if (!facts->own_cgroup) return;
  const std::string& directory = own.directory();
  if (layout.memory_version == MemoryVersion::kV1) {
    facts->oom_counter = TryRead(directory + "/memory.oom_control");
    facts->usage_eventfd = TryUsageEventfd(directory);
  } else {
    facts->oom_counter = TryRead(directory + "/memory.events");
    facts->memory_high = TryWrite(directory + "/memory.high", "max");
    facts->memory_reclaim = TryWrite(directory + "/memory.reclaim", "0");
    if (facts->memory_reclaim == 0) {
      facts->reclaim_swappiness = TryWrite(directory + "/memory.reclaim", "0 swappiness=0");
    }
  }
  facts->freezer = TryFreezer(*facts, directory);
}

}  // namespace memgov::kernel
