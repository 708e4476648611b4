// Grows until it is killed or told where to stop, and keeps a diary that outlives it: the brake benchmark's
// victim.
//
// "base BYTES" on stdin: hold that much more. "grow MIB_PER_SECOND UNTIL" (0: as fast as it goes; 0: for
// ever): touch page after page until usage of the domain is UNTIL, then give those pages back. The diary is
// the file --diary, shared memory: the instant at which usage reached --wire, and every page that took longer
// than a millisecond. One page at a time, so that one entry is one throttle. Instants are CLOCK_MONOTONIC ns.

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/workloads/arguments.h"

namespace {

using memgov::workloads::kMiB;

constexpr char kUsage[] = "usage: bench_brake_grower --usage-file FILE --diary FILE --wire BYTES\n";
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kLong = 1'000'000;
constexpr std::uint64_t kRoom = 2048 * kMiB;  // of address space

// As brake_bench.py reads it.
struct Diary {
  static constexpr std::uint64_t kMost = 4096;
  struct Stall {
    std::uint64_t began;
    std::uint64_t ended;
  };
  std::uint64_t crossed;
  std::atomic<std::uint64_t> stalls;
  Stall stall[kMost];
};

std::uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

void SleepNs(std::uint64_t ns) {
  const timespec pause{.tv_sec = static_cast<time_t>(ns / 1'000'000'000),
                       .tv_nsec = static_cast<long>(ns % 1'000'000'000)};
  nanosleep(&pause, nullptr);
}

void* MapOrDie(std::uint64_t size, int flags, int fd) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (memory == MAP_FAILED) {
    std::perror("bench_brake_grower: mmap");
    std::exit(1);
  }
  return memory;
}

int OpenOrDie(const char* file, int flags) {
  const int fd = open(file, flags | O_CLOEXEC, 0600);
  if (fd < 0) {
    std::perror(file);
    std::exit(1);
  }
  return fd;
}

std::uint64_t Usage(int fd) {
  char text[32] = {};
  return pread(fd, text, sizeof text - 1, 0) > 0 ? std::strtoull(text, nullptr, 10) : 0;
}

void Touch(volatile char* page, Diary* diary) {
  const std::uint64_t began = NowNs();
  *page = 1;
  const std::uint64_t ended = NowNs();
  const std::uint64_t number = diary->stalls.load(std::memory_order_relaxed);
  if (ended - began < kLong || number == Diary::kMost) return;
  diary->stall[number] = {.began = began, .ended = ended};
  diary->stalls.store(number + 1, std::memory_order_release);
}

void Grow(int usage_file, std::uint64_t wire, std::uint64_t rate, std::uint64_t until, Diary* diary) {
  char* memory = static_cast<char*>(MapOrDie(kRoom, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1));
  madvise(memory, kRoom, MADV_NOHUGEPAGE);
  diary->crossed = 0;
  diary->stalls = 0;
  const std::uint64_t started = NowNs();
  for (std::uint64_t at = 0; at < kRoom; at += kPage) {
    Touch(memory + at, diary);
    if (at % (16 * kPage) != 0) continue;
    const std::uint64_t now = NowNs();
    const std::uint64_t due = rate > 0 ? started + at * 1'000'000'000 / (rate * kMiB) : now;
    if (due > now) SleepNs(due - now);
    const std::uint64_t usage = Usage(usage_file);
    if (diary->crossed == 0 && usage >= wire) diary->crossed = NowNs();
    if (until > 0 && usage >= until) break;
  }
  munmap(memory, kRoom);
}

}  // namespace

int main(int argc, char** argv) {
  const char* usage_name = nullptr;
  const char* diary_name = nullptr;
  std::uint64_t wire = 0;
  memgov::workloads::Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--usage-file")) {
      usage_name = arguments.Text();
    } else if (arguments.Is("--diary")) {
      diary_name = arguments.Text();
    } else if (arguments.Is("--wire")) {
      wire = arguments.Size();
    } else {
      arguments.Fail("unknown option");
    }
  }
  if (usage_name == nullptr || diary_name == nullptr || wire == 0) arguments.Fail("all options are needed");
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  const int usage_file = OpenOrDie(usage_name, O_RDONLY);
  const int diary_file = OpenOrDie(diary_name, O_RDWR | O_CREAT);
  if (ftruncate(diary_file, sizeof(Diary)) != 0) std::perror(diary_name);
  auto* diary = static_cast<Diary*>(MapOrDie(sizeof(Diary), MAP_SHARED, diary_file));
  std::printf("{\"ready\":true}\n");
  char line[64];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    unsigned long long first = 0;
    unsigned long long second = 0;
    if (std::sscanf(line, "base %llu", &first) == 1 && first > 0) {
      auto* memory = static_cast<volatile char*>(MapOrDie(first, MAP_PRIVATE | MAP_ANONYMOUS, -1));
      for (std::uint64_t at = 0; at < first; at += kPage) memory[at] = 1;
      std::printf("{\"base\":%llu}\n", first);
    } else if (std::sscanf(line, "grow %llu %llu", &first, &second) == 2) {
      Grow(usage_file, wire, first, second, diary);
      std::printf("{\"grown\":true}\n");
    }
  }
  return 0;
}
