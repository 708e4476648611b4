#include "governor/kernel/reclaimer.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/kernel/memory_reclaim.h"
#include "governor/kernel/page_out.h"
#include "governor/kernel/process.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {
namespace {

core::Duration Read(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

bool TakesSwappiness(const CgroupLayout& layout, const std::string& path) {
  return layout.memory_version == MemoryVersion::kV2 && WriteReclaim(layout, path, 0, true).ok();
}

ReclaimResult CarryOut(const CgroupLayout& layout, const ReclaimOrder& order,
                       const std::atomic<bool>& stopping) {
  const core::Duration began = Read(CLOCK_MONOTONIC);
  const core::Duration cpu_began = Read(CLOCK_THREAD_CPUTIME_ID);
  const GoOn go_on = [&] { return !stopping && Read(CLOCK_MONOTONIC) - began < order.longest; };
  ReclaimResult result = order.lever == ReclaimLever::kPageOut
                             ? PageOut(layout, order, go_on)
                             : ReclaimMemory(layout, order, TakesSwappiness(layout, order.path), go_on);
  result.wall = Read(CLOCK_MONOTONIC) - began;
  result.cpu = Read(CLOCK_THREAD_CPUTIME_ID) - cpu_began;
  return result;
}

// process_madvise(MADV_PAGEOUT) of nothing, or of one of our own pages; 0 or the errno.
int TryPageOut(pid_t pid, void* page, std::size_t length) {
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return errno;
  const iovec range{.iov_base = page, .iov_len = length};
  return ::syscall(SYS_process_madvise, pidfd.get(), &range, 1UL, MADV_PAGEOUT, 0U) < 0 ? errno : 0;
}

// The same on a process with an address space of its own, where the kernel wants capabilities that hold on
// the host and not only in a user namespace. The child lives until we have asked.
int TryPageOutOfChild() {
  const pid_t child = ::fork();
  if (child < 0) return errno;
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) ::pause();
  }
  const int error = TryPageOut(child, nullptr, 0);
  ::kill(child, SIGKILL);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return error;
}

// What has no try of its own, or is not to be tried.
absl::Status NeedsCapability(unsigned capability, std::string_view name) {
  if (HasEffectiveCapability(capability)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat("without ", std::string(name),
                   " the memory of processes of other users can neither be read nor advised"));
}

absl::Status WithoutPageOut(int error) {
  return absl::ErrnoToStatus(error,
                             "process_madvise(MADV_PAGEOUT) on ourselves; Linux 5.10 and newer with "
                             "CONFIG_ADVISE_SYSCALLS has it, if no seccomp profile forbids it");
}

absl::Status ProbePageOut() {
  const auto length = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const page = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return absl::ErrnoToStatus(errno, "mapping a page");
  const int own = TryPageOut(::getpid(), page, length);
  ::munmap(page, length);
  if (own != 0) return WithoutPageOut(own);
  const int other = TryPageOutOfChild();
  if (other != 0) {
    return absl::ErrnoToStatus(other,
                               "process_madvise(MADV_PAGEOUT) on another process; it needs CAP_SYS_NICE on "
                               "the host, not in a user namespace");
  }
  // A child of ours does not show it: reading processes of other users.
  return NeedsCapability(CAP_SYS_PTRACE, "CAP_SYS_PTRACE");
}

absl::Status LookAtPageOut() {
  if (const int own = TryPageOut(::getpid(), nullptr, 0); own != 0) return WithoutPageOut(own);
  absl::Status status = NeedsCapability(CAP_SYS_NICE, "CAP_SYS_NICE");
  status.Update(NeedsCapability(CAP_SYS_PTRACE, "CAP_SYS_PTRACE"));
  return status;
}

absl::Status NoReclaimOnV1() {
  return absl::UnimplementedError("cgroup v1 has no memory.reclaim; boot with cgroup v2 for it");
}

absl::Status NoReclaimFile() {
  return absl::UnimplementedError("no memory.reclaim; Linux 5.19 and newer has it");
}

absl::Status ProbeMemoryReclaim(const CgroupLayout& layout) {
  if (layout.memory_version == MemoryVersion::kV1) return NoReclaimOnV1();
  absl::Status status = WriteReclaim(layout, "", 0, false);
  return absl::IsNotFound(status) ? NoReclaimFile() : status;
}

absl::Status LookAtMemoryReclaim(const CgroupLayout& layout) {
  if (layout.memory_version == MemoryVersion::kV1) return NoReclaimOnV1();
  const std::string file = layout.memory_mount + "/memory.reclaim";
  if (::access(file.c_str(), W_OK) == 0) return absl::OkStatus();
  return errno == ENOENT ? NoReclaimFile() : absl::ErrnoToStatus(errno, "looking at " + file);
}

}  // namespace

Reclaimer::Reclaimer(const CgroupLayout& layout, boost::asio::io_context& io)
    : layout_(layout), io_(io), under_way_(std::make_shared<absl::flat_hash_set<std::string>>()) {}

Reclaimer::~Reclaimer() {
  stopping_ = true;
  worker_.join();
}

void Reclaimer::Start(ReclaimOrder order, Done done) {
  if (!under_way_->insert(order.path).second) {
    boost::asio::post(io_, [done = std::move(done), path = std::move(order.path)] {
      done({.status = absl::AlreadyExistsError(absl::StrCat("an order for ", path, " is under way"))});
    });
    return;
  }
  boost::asio::post(worker_, [this, order = std::move(order), done = std::move(done)]() mutable {
    ReclaimResult result = stopping_ ? ReclaimResult{.status = absl::CancelledError("shut down")}
                                     : CarryOut(layout_, order, stopping_);
    boost::asio::post(io_, [under_way = under_way_, path = std::move(order.path), done = std::move(done),
                            result = std::move(result)]() mutable {
      under_way->erase(path);
      done(std::move(result));
    });
  });
}

ReclaimAbilities LookAtReclaim(const CgroupLayout& layout) {
  return {.page_out = LookAtPageOut(), .reclaim = LookAtMemoryReclaim(layout)};
}

ReclaimAbilities ProbeReclaim(const CgroupLayout& layout) {
  return {.page_out = ProbePageOut(),
          .reclaim = ProbeMemoryReclaim(layout),
          .swappiness_argument = TakesSwappiness(layout, "")};
}

}  // namespace memgov::kernel
