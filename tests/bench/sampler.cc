// Reads every cgroup below a root ten times a second and ticks an engine with what it read: the fixed rhythm
// that the adaptive one is compared with. With --reopen no descriptor is kept, so that each reading opens,
// reads and closes. Prints its own CPU time as a share of one core: all of it, and that of reading alone.

#include <sys/resource.h>
#include <time.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "governor/core/engine.h"
#include "governor/kernel/cgroup_tree.h"
#include "governor/kernel/clock.h"
#include "governor/kernel/mounts.h"
#include "tests/workloads/arguments.h"

namespace {

using memgov::core::Decisions;
using memgov::core::Instant;
using memgov::core::Snapshot;

constexpr char kUsage[] = "usage: bench_sampler --root PATH [--seconds 10] [--every 100] [--reopen]\n";
// Enough for what a reading opens and closes; what CgroupTree may keep is three quarters of it.
constexpr rlim_t kFewFiles = 24;

double CpuSeconds() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

}  // namespace

int main(int argc, char** argv) {
  std::string root;
  double seconds = 10;
  auto every = std::chrono::milliseconds(100);
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  memgov::workloads::Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--root")) {
      root = arguments.Text();
    } else if (arguments.Is("--seconds")) {
      seconds = static_cast<double>(arguments.Number());
    } else if (arguments.Is("--every")) {
      every = std::chrono::milliseconds(arguments.Number());
    } else if (arguments.Is("--reopen")) {
      files.rlim_cur = kFewFiles;
    } else {
      arguments.Fail("unknown option");
    }
  }
  if (root.empty()) arguments.Fail("--root is missing");
  const auto layout = memgov::kernel::DiscoverCgroups();
  if (!layout.ok() || ::setrlimit(RLIMIT_NOFILE, &files) != 0) {
    std::fprintf(stderr, "bench_sampler: no cgroups, or no limit on files to be set\n");
    return 1;
  }

  const memgov::kernel::MonotonicClock clock;
  memgov::kernel::CgroupTree tree(*layout, {root});
  memgov::core::Engine engine({.rules = {{.name = "bench", .mode = memgov::core::Mode::kObserve}}});
  std::vector<memgov::core::CgroupId> ids;
  double reading = 0;
  const auto tick = [&](Snapshot snapshot) {
    const Instant now = clock.Now();
    const double before = CpuSeconds();
    tree.CollectDue(now, &snapshot);
    reading += CpuSeconds() - before;
    const std::size_t read = snapshot.samples.size();
    for (const memgov::core::CgroupAppeared& cgroup : snapshot.appeared) ids.push_back(cgroup.id);
    const Decisions decisions = engine.Tick(now, snapshot, {});
    for (const auto& cadence : decisions.cadences) {
      tree.SetCadence(
          {.cgroup = cadence.cgroup, .usage_every = every, .stat_every = std::chrono::seconds(10)});
    }
    return read;
  };
  Snapshot first;
  tree.Scan(&first);
  tick(std::move(first));
  for (const memgov::core::CgroupId id : ids) {
    tree.SetCadence({.cgroup = id, .usage_every = every, .stat_every = std::chrono::seconds(10)});
  }

  const Instant start = clock.Now();
  const Instant end =
      start + std::chrono::duration_cast<memgov::core::Duration>(std::chrono::duration<double>(seconds));
  const double cpu = CpuSeconds();
  reading = 0;
  std::size_t readings = 0;
  while (clock.Now() < end) {
    const Instant due = tree.NextDue().value_or(end);
    std::this_thread::sleep_until(
        std::chrono::time_point<std::chrono::steady_clock, memgov::core::Duration>(due.time_since_epoch()));
    readings += tick({});
  }
  const double took = std::chrono::duration<double>(clock.Now() - start).count();
  std::printf("{\"cgroups\":%zu,\"readings_per_s\":%.1f,\"cpu_percent\":%.4f,\"reading_cpu_percent\":%.4f}\n",
              ids.size(), static_cast<double>(readings) / took, 100 * (CpuSeconds() - cpu) / took,
              100 * reading / took);
  return 0;
}
