// What recording a tick costs the control thread, beside the engine's own work in it, and how fast a journal
// is replayed. Takes the directory to write journals to; prints one JSON object. journal_bench.py runs it.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "governor/core/engine.h"
#include "governor/journal/recorder.h"
#include "governor/journal/replay.h"
#include "governor/journal/test_story.h"
#include "tests/bench/thread_clock.h"

namespace memgov::journal {
namespace {

namespace fs = std::filesystem;
using Clock = bench::ThreadClock;
using Seconds = std::chrono::duration<double>;

constexpr std::chrono::milliseconds kTick(10);
constexpr int kRounds = 1000;
constexpr int kStorySteps = 20'000;
constexpr int kReplays = 21;

// Keeps all: a tick that is dropped costs less.
RecorderOptions Unbounded(const std::string& directory) {
  return {.directory = directory, .total_bytes = 4ULL << 30, .buffer_bytes = 4ULL << 30};
}

[[noreturn]] void Fail(const std::string& why) {
  fmt::print(stderr, "{}\n", why);
  std::exit(1);
}

double Quantile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(static_cast<double>(values.size()) * part)];
}

// A node far from its limits whose cgroups are all sampled in each tick; without cgroups nothing is ever due.
struct QuietNode {
  explicit QuietNode(int cgroups) {
    for (int i = 1; i <= cgroups; ++i) {
      const core::CgroupId id{static_cast<std::uint32_t>(i)};
      snapshot.appeared.push_back({.id = id, .path = "/pod/" + std::to_string(i)});
      snapshot.samples.push_back({.id = id, .usage = 300 * core::kMiB + i, .limit = core::kGiB});
    }
  }

  void Advance() {
    snapshot.appeared.clear();
    now += kTick;
    for (core::CgroupSample& sample : snapshot.samples) sample.taken_at = now - std::chrono::microseconds(40);
  }

  core::Instant now{std::chrono::hours(1)};
  core::Snapshot snapshot;
};

// Microseconds of one tick, over as many as make the clock's own cost small.
template <typename Tick>
double MicrosecondsOf(int ticks, const Tick& tick) {
  const auto begin = Clock::now();
  for (int i = 0; i < ticks; ++i) tick();
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count() / ticks;
}

void MeasureTicks(const std::string& directory, int samples, int ticks_a_round) {
  std::vector<double> recording;
  std::vector<double> deciding;
  std::vector<double> ratios;
  {
    QuietNode recorded(samples);
    QuietNode decided(samples);
    Recorder recorder(Unbounded(directory));
    core::Engine engine({});
    recorder.Tick(recorded.now, recorded.snapshot, {}, {});
    engine.Tick(decided.now, decided.snapshot, {});
    for (int round = 0; round < kRounds; ++round) {
      recording.push_back(MicrosecondsOf(ticks_a_round, [&] {
        recorded.Advance();
        recorder.Tick(recorded.now, recorded.snapshot, {}, {.next_tick = recorded.now + kTick});
      }));
      deciding.push_back(MicrosecondsOf(ticks_a_round, [&] {
        decided.Advance();
        engine.Tick(decided.now, decided.snapshot, {});
      }));
      ratios.push_back(recording.back() / deciding.back());
    }
    if (recorder.lost_ticks() > 0) Fail(fmt::format("{}: ticks were lost", directory));
  }
  std::uintmax_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(directory)) bytes += entry.file_size();
  fs::remove_all(directory);
  fmt::print(R"("record_us_{0}": {1:.3f}, "record_p99_us_{0}": {2:.3f}, "decide_us_{0}": {3:.3f}, )"
             R"("record_ratio_{0}": {4:.2f}, "bytes_per_tick_{0}": {5:.1f}, )",
             samples, Quantile(recording, 0.5), Quantile(recording, 0.99), Quantile(deciding, 0.5),
             Quantile(ratios, 0.5), static_cast<double>(bytes) / (kRounds * ticks_a_round));
}

void MeasureReplay(const std::string& directory) {
  Seconds lived{};
  {
    Recorder recorder(Unbounded(directory));
    Story story(1, &recorder);
    const core::Instant begin = story.now();
    for (int i = 0; i < kStorySteps; ++i) story.Step();
    lived = story.now() - begin;
  }
  std::vector<double> seconds;
  for (int i = 0; i < kReplays; ++i) {
    const auto begin = Clock::now();
    const auto result = Replay(directory);
    seconds.push_back(Seconds(Clock::now() - begin).count());
    if (!result.ok()) Fail(result.status().ToString());
    if (result->different > 0 || result->ticks != kStorySteps) Fail("the story is not replayed identically");
  }
  fs::remove_all(directory);
  fmt::print(R"("replayed_ticks_per_s": {:.0f}, "replayed_ticks_per_s_min": {:.0f}, )"
             R"("replay_realtime_ratio": {:.0f})",
             kStorySteps / Quantile(seconds, 0.5),
             kStorySteps / *std::max_element(seconds.begin(), seconds.end()),
             lived.count() / Quantile(seconds, 0.5));
}

}  // namespace
}  // namespace memgov::journal

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: {} DIRECTORY\n", argv[0]);
    return 2;
  }
  const std::string directory = std::string(argv[1]) + "/journal";
  fmt::print("{{");
  for (const auto& [samples, ticks_a_round] : {std::pair(0, 100), {1, 100}, {10, 100}, {1000, 5}}) {
    memgov::journal::MeasureTicks(directory, samples, ticks_a_round);
  }
  memgov::journal::MeasureReplay(directory);
  fmt::print("}}\n");
}
