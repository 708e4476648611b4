// What recording costs the control thread, beside the tick itself, and how fast a journal is replayed.

#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <filesystem>

#include "governor/journal/recorder.h"
#include "governor/journal/replay.h"
#include "governor/journal/test_story.h"

namespace memgov::journal {
namespace {

std::string MakeDirectory() {
  char name[] = "/tmp/memgov-bench-XXXXXX";
  return ::mkdtemp(name);
}

// A tick with samples of `cgroups` cgroups; 0: one in which nothing was due.
void RecordTick(benchmark::State& state) {
  const std::string directory = MakeDirectory();
  {
    Recorder recorder({.directory = directory, .buffer_bytes = 1 << 30});
    core::Instant now{std::chrono::hours(1)};
    core::Snapshot snapshot;
    for (std::uint32_t i = 1; i <= static_cast<std::uint32_t>(state.range(0)); ++i) {
      snapshot.appeared.push_back({.id = core::CgroupId{i}, .path = "/pod/" + std::to_string(i)});
      snapshot.samples.push_back(
          {.id = core::CgroupId{i}, .usage = 300 * core::kMiB + i, .limit = core::kGiB});
    }
    recorder.Tick(now, snapshot, {}, {});
    snapshot.appeared.clear();
    for (auto _ : state) {
      now += std::chrono::milliseconds(10);
      for (core::CgroupSample& sample : snapshot.samples)
        sample.taken_at = now - std::chrono::microseconds(40);
      recorder.Tick(now, snapshot, {}, {.next_tick = now + std::chrono::milliseconds(10)});
    }
    state.counters["lost"] = static_cast<double>(recorder.lost_ticks());
  }
  std::uintmax_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) bytes += entry.file_size();
  state.counters["bytes_per_tick"] = static_cast<double>(bytes) / static_cast<double>(state.iterations());
  std::filesystem::remove_all(directory);
}
BENCHMARK(RecordTick)->Arg(0)->Arg(1)->Arg(10)->Arg(1000)->Iterations(5000);

void ReplayStory(benchmark::State& state) {
  const std::string directory = MakeDirectory();
  {
    Recorder recorder({.directory = directory, .buffer_bytes = 1 << 30});
    Story story(1, &recorder);
    for (int i = 0; i < 20'000; ++i) story.Step();
  }
  std::uint64_t ticks = 0;
  for (auto _ : state) {
    const auto result = Replay(directory);
    if (!result.ok() || result->different > 0) state.SkipWithError("not identical");
    ticks += result.ok() ? result->ticks : 0;
  }
  state.counters["ticks_per_second"] =
      benchmark::Counter(static_cast<double>(ticks), benchmark::Counter::kIsRate);
  std::filesystem::remove_all(directory);
}
BENCHMARK(ReplayStory)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace memgov::journal

BENCHMARK_MAIN();
