// A service of the release mode benchmark: on jemalloc, with LIVE_MIB of data that stay, it allocates blocks,
// writes them, frees them, and does so again, as the driver commands. Whether freed pages go back lazily,
// eagerly, or as a governor says is MALLOC_CONF's and --memgov's matter.
//
// One command a line on standard input, one JSON object a line of answer:
//   cycles N MIB PAUSE_MS  N times: allocate MIB in blocks of 16 KiB to 1 MiB, write them, free them, and go
//                          on with small work for PAUSE_MS. CPU and wall time of all but the small work;
//                          resident memory after each cycle.
//   decay                  jemalloc's decay times (dirty, muzzy) of this thread's arena
// --lazy: it sets memgov's lazy mode itself, at run time, as a program may that memgov is to switch all the
// same (what MALLOC_CONF says is the user's, and not switched). With --memgov each change of the release mode
// is told, with the time of its outcome (CLOCK_MONOTONIC) and whether it is eager now.

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "client/c/memgov.h"

extern "C" int mallctl(const char* name, void* old_value, std::size_t* old_size, void* new_value,
                       std::size_t new_size);

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kMostBlocks = 1 << 16;

std::uint64_t ClockNs(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

std::uint64_t ResidentBytes() {
  static const int statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  char text[128] = "";
  unsigned long resident = 0;
  if (pread(statm, text, sizeof(text) - 1, 0) <= 0 || std::sscanf(text, "%*u %lu", &resident) != 1)
    std::abort();
  return resident * kPage;
}

// Its books are in a mapping of their own, so that the heap is only the blocks.
class Worker {
 public:
  Worker() {
    void* memory = mmap(nullptr, kMostBlocks * sizeof(char*), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    blocks_ = static_cast<char**>(memory);
  }

  ~Worker() {
    while (live_ != nullptr) std::free(std::exchange(live_, *reinterpret_cast<char**>(live_)));
    munmap(blocks_, kMostBlocks * sizeof(char*));
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Takes data that stay.
  void Live(std::size_t bytes) {
    constexpr std::size_t kBlock = 8192;
    for (std::size_t done = 0; done < bytes; done += kBlock) {
      char* block = static_cast<char*>(std::malloc(kBlock));
      std::memset(block, 1, kBlock);
      *reinterpret_cast<char**>(block) = std::exchange(live_, block);
    }
  }

  void Cycle(std::size_t bytes) {
    std::size_t count = 0;
    for (std::size_t left = bytes; left > 0 && count < kMostBlocks; ++count) {
      const std::size_t size = std::min<std::size_t>(left, std::size_t{16384} << Random() % 7);
      blocks_[count] = static_cast<char*>(std::malloc(size));
      std::memset(blocks_[count], static_cast<int>(count), size);
      left -= size;
    }
    for (std::size_t i = count; i > 1; --i) std::swap(blocks_[i - 1], blocks_[Random() % i]);
    for (std::size_t i = 0; i < count; ++i) std::free(blocks_[i]);
  }

  // What a service does between two large pieces of work; it is also what makes jemalloc look at its clocks.
  void SmallWork(std::uint64_t ns) {
    for (const std::uint64_t end = ClockNs(CLOCK_MONOTONIC) + ns; ClockNs(CLOCK_MONOTONIC) < end;) {
      for (int i = 0; i < 50; ++i) {
        blocks_[i] = static_cast<char*>(std::malloc(100 + Random() % 30000));
        *static_cast<volatile char*>(blocks_[i]) = 1;
      }
      for (int i = 0; i < 50; ++i) std::free(blocks_[i]);
      usleep(1000);
    }
  }

 private:
  std::uint64_t Random() {
    random_ ^= random_ >> 12;
    random_ ^= random_ << 25;
    random_ ^= random_ >> 27;
    return random_ * 0x2545f4914f6cdd1dULL >> 16;
  }

  char** blocks_ = nullptr;
  char* live_ = nullptr;  // each block points to the one before
  std::uint64_t random_ = 88172645463325252ULL;
};

void Cycles(Worker& worker, int count, std::size_t mib, std::uint64_t pause_ms) {
  std::uint64_t cpu_ns = 0;
  std::uint64_t wall_ns = 0;
  std::vector<std::uint64_t> resident(static_cast<std::size_t>(count));
  for (std::uint64_t& each : resident) {
    const std::uint64_t cpu = ClockNs(CLOCK_PROCESS_CPUTIME_ID);
    const std::uint64_t wall = ClockNs(CLOCK_MONOTONIC);
    worker.Cycle(mib << 20);
    cpu_ns += ClockNs(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    wall_ns += ClockNs(CLOCK_MONOTONIC) - wall;
    worker.SmallWork(pause_ms * 1'000'000);
    each = ResidentBytes();
  }
  std::printf("{\"cycles\":%d,\"bytes\":%zu,\"cpu_ns\":%" PRIu64 ",\"wall_ns\":%" PRIu64 ",\"resident\":[",
              count, (mib << 20) * static_cast<std::size_t>(count), cpu_ns, wall_ns);
  for (std::size_t i = 0; i < resident.size(); ++i) std::printf("%s%" PRIu64, i == 0 ? "" : ",", resident[i]);
  std::printf("]}\n");
}

ssize_t Decay(const char* name) {
  ssize_t value = -2;
  std::size_t size = sizeof(value);
  mallctl(name, &value, &size, nullptr, 0);
  return value;
}

// For this thread's arena and those to come.
void BeLazy() {
  ssize_t dirty_ms = 100;
  ssize_t muzzy_ms = -1;
  int errors = 0;
  for (const char* name : {"arenas.muzzy_decay_ms", "arena.0.muzzy_decay_ms"}) {
    errors += mallctl(name, nullptr, nullptr, &muzzy_ms, sizeof(muzzy_ms));
  }
  for (const char* name : {"arenas.dirty_decay_ms", "arena.0.dirty_decay_ms"}) {
    errors += mallctl(name, nullptr, nullptr, &dirty_ms, sizeof(dirty_ms));
  }
  if (errors != 0) std::abort();
}

void OnEvent(void*, const memgov_event* event) {
  if (event->kind == MEMGOV_EVENT_REVERTED) {
    std::printf("{\"mode\":\"reverted\",\"at_ns\":%" PRIu64 "}\n", event->at_ns);
  } else if (event->kind == MEMGOV_EVENT_OUTCOME && event->action == MEMGOV_ACTION_SET_RELEASE_MODE &&
             event->outcome == MEMGOV_OUTCOME_DONE) {
    std::printf("{\"mode\":\"set\",\"eager\":%s,\"at_ns\":%" PRIu64 "}\n",
                Decay("arena.0.dirty_decay_ms") == 0 ? "true" : "false", event->at_ns);
  }
}

}  // namespace

int main(int argc, char** argv) {
  static char buffer[1 << 16];  // so that nothing but the blocks is on the heap
  std::setvbuf(stdout, buffer, _IOLBF, sizeof(buffer));
  const auto is = [&](int at, const char* option) { return argc > at && std::strcmp(argv[at], option) == 0; };
  if (is(2, "--memgov") && (argc == 3 || is(3, "--lazy"))) {
    if (argc == 4) BeLazy();
    memgov_options options = MEMGOV_OPTIONS_INIT;
    options.on_event = OnEvent;
    if (memgov_start(&options) != 0) return 2;
  } else if (argc != 2) {
    std::fprintf(stderr, "usage: bench_modes_service LIVE_MIB [--memgov [--lazy]]\n");
    return 2;
  }
  Worker worker;
  worker.Live(std::strtoul(argv[1], nullptr, 10) << 20);
  std::printf("{\"ready\":true}\n");
  char line[128];
  while (std::fgets(line, sizeof(line), stdin) != nullptr) {
    int count = 0;
    unsigned mib = 0;
    unsigned pause_ms = 0;
    if (std::sscanf(line, "cycles %d %u %u", &count, &mib, &pause_ms) == 3 && count > 0) {
      Cycles(worker, count, mib, pause_ms);
    } else {
      std::printf("{\"dirty_ms\":%zd,\"muzzy_ms\":%zd}\n", Decay("arena.0.dirty_decay_ms"),
                  Decay("arena.0.muzzy_decay_ms"));
    }
  }
  return 0;
}
