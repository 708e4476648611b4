// Reads every cgroup below a root ten times a second and ticks an engine with what it read: the fixed rhythm
// that the adaptive one is compared with. --reopen delivers the same samples by opening, reading and closing
// each file of a sample each time (reopening_reader.h); --reread does the very readings of CgroupTree, but
// with no descriptor kept. Prints its own CPU time as a share of one core: all of it, and that of reading
// alone.

#include <sys/resource.h>
#include <time.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "governor/core/engine.h"
#include "governor/kernel/cgroup_tree.h"
#include "governor/kernel/clock.h"
#include "governor/kernel/mounts.h"
#include "tests/bench/reopening_reader.h"
#include "tests/workloads/arguments.h"

namespace {

using memgov::core::Instant;
using memgov::core::Snapshot;

constexpr char kUsage[] =
    "usage: bench_sampler --root PATH [--seconds 10] [--every 100] [--reopen | --reread]\n";
constexpr auto kStatEvery = std::chrono::seconds(10);
// Enough for what a reading opens and closes; what CgroupTree may keep is three quarters of it.
constexpr rlim_t kFewFiles = 24;

double CpuSeconds() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

struct Options {
  std::string root;
  double seconds = 10;
  std::chrono::milliseconds every{100};
  bool reopen = false;
  bool keep_files = true;
};

Options OptionsFrom(int argc, char** argv) {
  Options options;
  memgov::workloads::Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--root")) {
      options.root = arguments.Text();
    } else if (arguments.Is("--seconds")) {
      options.seconds = static_cast<double>(arguments.Number());
    } else if (arguments.Is("--every")) {
      options.every = std::chrono::milliseconds(arguments.Number());
    } else if (arguments.Is("--reopen")) {
      options.reopen = true;
    } else if (arguments.Is("--reread")) {
      options.keep_files = false;
    } else {
      arguments.Fail("unknown option");
    }
  }
  if (options.root.empty()) arguments.Fail("--root is missing");
  if (options.every.count() <= 0 || options.every > kStatEvery) arguments.Fail("--every is 1 to 10000 (ms)");
  return options;
}

bool LimitFiles(bool keep) {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return false;
  files.rlim_cur = keep ? files.rlim_max : kFewFiles;
  return ::setrlimit(RLIMIT_NOFILE, &files) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = OptionsFrom(argc, argv);
  const auto layout = memgov::kernel::DiscoverCgroups();
  if (!layout.ok() || !LimitFiles(options.keep_files)) {
    std::fprintf(stderr, "bench_sampler: no cgroups, or no limit on files to be set\n");
    return 1;
  }

  const memgov::kernel::MonotonicClock clock;
  auto tree = std::make_unique<memgov::kernel::CgroupTree>(*layout, std::vector{options.root});
  memgov::bench::ReopeningReader reader(*layout);
  memgov::core::Engine engine({.rules = {{.name = "bench", .mode = memgov::core::Mode::kObserve}}});
  double reading = 0;
  const auto read = [&](Instant now, Snapshot* snapshot) {
    if (options.reopen)
      return reader.ReadAll(now, static_cast<std::size_t>(kStatEvery / options.every), snapshot);
    // A limit is read when it was written.
    for (const auto id : tree->ReadInotify().knobs_written) tree->Sample(id, now, true, snapshot);
    tree->CollectDue(now, snapshot);
  };
  const auto keep_rhythm = [&](memgov::core::CgroupId id) {
    if (!options.reopen)
      tree->SetCadence({.cgroup = id, .usage_every = options.every, .stat_every = kStatEvery});
  };
  const auto tick = [&](Snapshot snapshot) {
    const Instant now = clock.Now();
    const double before = CpuSeconds();
    read(now, &snapshot);
    reading += CpuSeconds() - before;
    for (const auto& cadence : engine.Tick(now, snapshot, {}).cadences) keep_rhythm(cadence.cgroup);
    return snapshot.samples.size();
  };
  Snapshot first;
  tree->Scan(clock.Now(), &first);
  const std::vector<memgov::core::CgroupAppeared> cgroups = first.appeared;
  for (const memgov::core::CgroupAppeared& cgroup : cgroups) reader.Add(cgroup);
  if (options.reopen) tree.reset();  // its watches would make every open dearer
  tick(std::move(first));
  for (const memgov::core::CgroupAppeared& cgroup : cgroups) keep_rhythm(cgroup.id);

  const Instant start = clock.Now();
  const Instant end = start + std::chrono::duration_cast<memgov::core::Duration>(
                                  std::chrono::duration<double>(options.seconds));
  const double cpu = CpuSeconds();
  reading = 0;
  std::size_t readings = 0;
  for (Instant next = start + options.every; clock.Now() < end; next += options.every) {
    const Instant due = options.reopen ? next : tree->NextDue().value_or(end);
    std::this_thread::sleep_until(
        std::chrono::time_point<std::chrono::steady_clock, memgov::core::Duration>(due.time_since_epoch()));
    readings += tick({});
  }
  const double took = std::chrono::duration<double>(clock.Now() - start).count();
  std::printf("{\"cgroups\":%zu,\"readings_per_s\":%.1f,\"cpu_percent\":%.4f,\"reading_cpu_percent\":%.4f}\n",
              cgroups.size(), static_cast<double>(readings) / took, 100 * (CpuSeconds() - cpu) / took,
              100 * reading / took);
  return 0;
}
