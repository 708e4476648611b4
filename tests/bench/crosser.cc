// Drives a cgroup over its wire and measures, from inside, when usage crossed and when memory was back.
//
// "cross MIB_PER_SECOND" on stdin (0: as fast as it goes): touch new pages until usage of the domain is a
// little over --wire, then touch nothing and watch usage until --back bytes less are in use, or --patience
// has passed. Then the pages are given back. A little over, because v1 looks at its thresholds once in 128
// page events: a grower that stops on the very page would never ring. With --stat-file the wire is one of
// pressing usage: the domain's inactive page cache, as it is when a crossing begins, comes on top of --wire.
// All instants are CLOCK_MONOTONIC in ns.

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/workloads/arguments.h"

namespace {

using memgov::workloads::kMiB;

constexpr char kUsage[] =
    "usage: bench_crosser --usage-file FILE --wire BYTES --base BYTES [--stat-file FILE] [--back 256MiB]"
    " [--patience SECONDS]\n";
constexpr std::uint64_t kStep = 64 * 1024;
constexpr std::uint64_t kOver = 8 * kMiB;

struct Options {
  const char* usage_file = nullptr;
  const char* stat_file = nullptr;
  std::uint64_t wire = 0;
  std::uint64_t base = 0;
  std::uint64_t back = 256 * kMiB;
  std::uint64_t patience_s = 10;
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

char* Map(std::uint64_t size) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("bench_crosser: mmap");
    std::exit(1);
  }
  madvise(memory, size, MADV_NOHUGEPAGE);
  return static_cast<char*>(memory);
}

int Open(const char* file) {
  const int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    std::perror(file);
    std::exit(1);
  }
  return fd;
}

class Domain {
 public:
  // `stat_file` may be null: then there is no page cache to know of.
  Domain(const char* usage_file, const char* stat_file)
      : usage_(Open(usage_file)), stat_(stat_file == nullptr ? -1 : Open(stat_file)) {}

  std::uint64_t Usage() const {
    char text[32] = {};
    return pread(usage_, text, sizeof text - 1, 0) > 0 ? std::strtoull(text, nullptr, 10) : 0;
  }

  // Of the whole subtree, in bytes.
  std::uint64_t InactiveFile() const {
    if (stat_ < 0) return 0;
    char text[16 * 1024] = {};
    if (pread(stat_, text, sizeof text - 1, 0) <= 0) return 0;
    // v1 says the cgroup's own as well, under v2's name.
    for (const char* name : {"\ntotal_inactive_file ", "\ninactive_file "}) {
      if (const char* line = std::strstr(text, name))
        return std::strtoull(line + std::strlen(name), nullptr, 10);
    }
    return 0;
  }

 private:
  int usage_;
  int stat_;
};

void Cross(const Domain& domain, const Options& options, std::uint64_t mib_per_second) {
  const std::uint64_t wire = options.wire + domain.InactiveFile();
  const std::uint64_t most = wire;  // far more than is needed: usage stands above the base already
  char* memory = Map(most);
  std::uint64_t usage = domain.Usage();
  const std::uint64_t started = NowNs();
  std::uint64_t crossed = 0;
  std::uint64_t touched = 0;
  std::uint64_t base = 0;  // usage at the crossing, less what had been touched by then
  std::uint64_t highest = usage;
  std::uint64_t highest_at = started;
  for (; usage < wire + kOver && touched < most; touched += kStep) {
    std::memset(memory + touched, 1, kStep);
    if (mib_per_second > 0) {
      const std::uint64_t due = started + touched * 1'000'000'000 / (mib_per_second * kMiB);
      if (const std::uint64_t now = NowNs(); due > now) SleepNs(due - now);
    }
    usage = domain.Usage();
    if (crossed == 0 && usage >= wire) {
      crossed = NowNs();
      base = usage - touched;
    } else if (crossed == 0 && usage + kOver < highest && highest + kOver >= wire) {
      // We had to wait for a processor, and were over the wire and back before we looked. It was crossed
      // after the highest reading: so long, or less, it took.
      crossed = highest_at;
      base = highest - std::min(highest, touched);
    }
    if (usage > highest) {
      highest = usage;
      highest_at = NowNs();
    }
    if (crossed != 0 && usage < wire) break;  // it comes back already
  }
  if (crossed == 0) {
    munmap(memory, most);
    std::printf("{\"crossed_ns\":0,\"back_ns\":0,\"came_back\":false}\n");
    return;
  }
  const std::uint64_t target = base + touched - std::min(base + touched, options.back);
  std::uint64_t now = crossed;
  std::uint64_t lowest = usage;
  while (lowest > target && now < crossed + options.patience_s * 1'000'000'000) {
    SleepNs(100'000);
    lowest = std::min(lowest, domain.Usage());
    now = NowNs();
  }
  munmap(memory, most);
  std::printf("{\"crossed_ns\":%llu,\"back_ns\":%llu,\"came_back\":%s,\"usage\":%llu,\"lowest\":%llu}\n",
              static_cast<unsigned long long>(crossed), static_cast<unsigned long long>(now),
              lowest <= target ? "true" : "false", static_cast<unsigned long long>(usage),
              static_cast<unsigned long long>(lowest));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  memgov::workloads::Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--usage-file")) {
      options.usage_file = arguments.Text();
    } else if (arguments.Is("--stat-file")) {
      options.stat_file = arguments.Text();
    } else if (arguments.Is("--wire")) {
      options.wire = arguments.Size();
    } else if (arguments.Is("--base")) {
      options.base = arguments.Size();
    } else if (arguments.Is("--back")) {
      options.back = arguments.Size();
    } else if (arguments.Is("--patience")) {
      options.patience_s = arguments.Number();
    } else {
      arguments.Fail("unknown option");
    }
  }
  if (options.usage_file == nullptr || options.wire == 0)
    arguments.Fail("--usage-file and --wire are needed");
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  const Domain domain(options.usage_file, options.stat_file);
  char* base = Map(std::max(options.base, kStep));
  std::memset(base, 1, options.base);
  std::printf("{\"ready\":true}\n");
  char line[64];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    unsigned long long rate = 0;
    if (std::sscanf(line, "cross %llu", &rate) == 1) Cross(domain, options, rate);
  }
  return 0;
}
