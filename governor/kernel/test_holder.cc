#include "governor/kernel/test_holder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <utility>

#include "gtest/gtest.h"

// A sanitizer's shadow of what the child touches would be charged to the cgroup, too.
#define MEMGOV_NOT_SANITIZED __attribute__((no_sanitize("thread", "address")))

namespace memgov::kernel {
namespace {

constexpr core::Bytes kPage = 4096;
constexpr std::uintptr_t kHuge = 2 * core::kMiB;

}  // namespace

// Nothing but system calls, as after any fork.
struct Holder::Life {
  std::array<char*, 64> regions{};
  std::int64_t count = 0;
  const char* directory = nullptr;

  std::int64_t Keep(void* memory) {
    if (memory == MAP_FAILED || count == static_cast<std::int64_t>(regions.size())) return -1;
    regions[static_cast<std::size_t>(count)] = static_cast<char*>(memory);
    return count++;
  }

  static void* Reserve(core::Bytes bytes) {
    return ::mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }

  std::int64_t MapHuge(core::Bytes bytes) {
    void* const wide = Reserve(bytes + static_cast<core::Bytes>(kHuge));
    if (wide == MAP_FAILED) return -1;
    char* const start = static_cast<char*>(wide) + (-reinterpret_cast<std::uintptr_t>(wide) & (kHuge - 1));
    ::madvise(start, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
    return Keep(start);
  }

  MEMGOV_NOT_SANITIZED static std::int64_t Write(char* at, core::Bytes bytes, core::Bytes step) {
    for (core::Bytes offset = 0; offset < bytes; offset += step)
      static_cast<volatile char*>(at)[offset] = 'x';
    return 0;
  }

  MEMGOV_NOT_SANITIZED static std::int64_t Intact(const char* at, core::Bytes bytes) {
    std::int64_t pages = 0;
    for (core::Bytes offset = 0; offset < bytes; offset += kPage) pages += at[offset] == 'x' ? 1 : 0;
    return pages;
  }

  std::int64_t MakeFile(int fd, core::Bytes bytes) {
    static const std::array<char, 64 * 1024> kContent = {'x'};
    for (core::Bytes done = 0; done < bytes;) {
      const ssize_t written = ::write(fd, kContent.data(), kContent.size());
      if (written <= 0) return -1;
      done += written;
    }
    ::fsync(fd);
    void* const memory = ::mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ, MAP_SHARED, fd, 0);
    ::close(fd);
    return Keep(memory);
  }

  std::int64_t Do(const Command& command) {
    char* const at =
        command.kind == kHello ? nullptr : regions[static_cast<std::size_t>(command.region)] + command.offset;
    const auto size = static_cast<std::size_t>(command.bytes);
    switch (command.kind) {
      case kHello:
        return 0;
      case kMap:
        return Keep(Reserve(command.bytes));
      case kMapHuge:
        return MapHuge(command.bytes);
      case kWrite:
        return Write(at, command.bytes, kPage);
      case kWriteOdd:
        return Write(at, command.bytes, 2 * kPage);
      case kFree:
        return ::madvise(at, size, MADV_FREE);
      case kUnmap:
        return ::munmap(at, size);
      case kLock:
        return ::mlock(at, size);
      case kIntact:
        return Intact(at, command.bytes);
      case kFile:
        return MakeFile(::open(directory, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600), command.bytes);
      case kShmem:
        return MakeFile(::memfd_create("memgov-kt", MFD_CLOEXEC), command.bytes);
      default:
        return -1;
    }
  }

  [[noreturn]] void Obey(int orders, int answers, int procs) {
    if (::write(procs, "0\n", 2) != 2) ::_exit(3);
    Command command{};
    while (::read(orders, &command, sizeof(command)) == sizeof(command)) {
      const std::int64_t answer = Do(command);
      if (::write(answers, &answer, sizeof(answer)) != sizeof(answer)) break;
    }
    ::_exit(0);
  }
};

Holder::Holder(const RealCgroup& cgroup, const std::string& directory) {
  int orders[2];
  int answers[2];
  if (::pipe2(orders, O_CLOEXEC) != 0 || ::pipe2(answers, O_CLOEXEC) != 0) {
    ADD_FAILURE() << "pipe: " << std::strerror(errno);
    return;
  }
  const UniqueFd procs(::open(cgroup.File("cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  pid_ = ::fork();
  if (pid_ == 0) {
    ::close(orders[1]);
    ::close(answers[0]);
    Life life{.directory = directory.c_str()};
    life.Obey(orders[0], answers[1], procs.get());
  }
  ::close(orders[0]);
  ::close(answers[1]);
  orders_.reset(orders[1]);
  answers_.reset(answers[0]);
  Order({kHello, 0, 0, 0});
}

Holder::~Holder() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::int64_t Holder::Order(const Command& command) {
  std::int64_t answer = -1;
  if (::write(orders_.get(), &command, sizeof(command)) != sizeof(command) ||
      ::read(answers_.get(), &answer, sizeof(answer)) != sizeof(answer) || answer < 0) {
    ADD_FAILURE() << "the holder could not do " << command.kind << " with " << command.bytes << " bytes";
    return 0;
  }
  return answer;
}

}  // namespace memgov::kernel
