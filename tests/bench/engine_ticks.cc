// What a tick of the engine costs, in time and allocations, and how much faster than real time a simulated
// node of 100 containers runs. Prints one JSON object. engine_bench.py runs it.
//
// A tick is dear when everything happens in it: each domain is read with its stat, each client has reported.
// A hundredth of the domains is in need, with nothing left to ask for, so that the asking half runs too.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "governor/core/engine.h"
#include "governor/sim/memgov_arm.h"
#include "governor/sim/run.h"
#include "tests/bench/thread_clock.h"

namespace {

// One thread.
std::uint64_t g_allocations = 0;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

}  // namespace

void* operator new(std::size_t size) {
  ++g_allocations;
  if (void* memory = std::malloc(size)) return memory;
  std::abort();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace memgov {
namespace {

using Clock = bench::ThreadClock;
using core::Bytes;
using core::CgroupId;
using core::ClientId;
using core::Instant;
using core::kMiB;

constexpr int kClientsEach = 2;
constexpr int kContainersOfSlice = 20;
constexpr Bytes kLimit = 512 * kMiB;
constexpr int kNeedyOneIn = 100;

struct Cost {
  double median_us = 0, p99_us = 0, allocations = 0;
};

// A node whose containers all move at once.
class Crowd {
 public:
  explicit Crowd(int domains) : domains_(domains), engine_(sim::MemgovArm::DefaultPolicy()) {
    for (int i = 1; i <= domains_; ++i) {
      const int slice = (i - 1) / kContainersOfSlice * kContainersOfSlice + 1;
      const bool is_slice = i == slice;
      std::string path = "/kubepods-burstable-pod" + std::to_string(slice) + ".slice";
      if (!is_slice) path += "/container-" + std::to_string(i);
      snapshot_.appeared.push_back(
          {.id = Id(i), .parent = is_slice ? core::kNodeId : Id(slice), .path = path, .has_brake = true});
      for (int n = 0; n < kClientsEach; ++n) {
        events_.emplace_back(
            core::ClientAttached{.client = Client(i, n),
                                 .cgroup = Id(i),
                                 .capabilities = {.release = true, .release_in_chunks = true}});
      }
    }
    Tick();
    snapshot_.appeared.clear();
  }

  // Returns what it took, in microseconds.
  double Tick() {
    now_ += std::chrono::seconds(1);
    ++round_;
    snapshot_.samples.clear();
    for (int i = 1; i <= domains_; ++i) snapshot_.samples.push_back(SampleOf(i));
    for (int i = 1; i <= domains_; ++i) {
      for (int n = 0; n < kClientsEach; ++n) {
        events_.emplace_back(core::ClientReport{.client = Client(i, n),
                                                .received_at = now_,
                                                .live = kMiB * 40,
                                                .retained = IsNeedy(i) ? 0 : kMiB * 20,
                                                .retained_kind = core::EstimateKind::kExact});
      }
    }
    const std::uint64_t before = g_allocations;
    const auto begin = Clock::now();
    {
      const core::Decisions decisions = engine_.Tick(now_, snapshot_, events_);
      took_ = Clock::now() - begin;
    }
    allocations_ = g_allocations - before;
    events_.clear();
    return std::chrono::duration<double, std::micro>(took_).count();
  }

  std::uint64_t allocations() const { return allocations_; }

 private:
  static CgroupId Id(int i) { return CgroupId(static_cast<std::uint32_t>(i)); }
  static ClientId Client(int domain, int n) {
    return ClientId(static_cast<std::uint64_t>(domain * kClientsEach + n));
  }
  static bool IsNeedy(int i) { return i % kNeedyOneIn == 7; }

  core::CgroupSample SampleOf(int i) const {
    // Some way below the wire, moving; a few above it.
    const Bytes usage = (IsNeedy(i) ? 450 : 300) * kMiB + (round_ * 31 + i * 17) % 40 * kMiB / 10;
    core::MemoryStat stat{.anon = usage - 10 * kMiB,
                          .file = 10 * kMiB,
                          .active_anon = usage - 10 * kMiB,
                          .inactive_file = 10 * kMiB};
    return {.id = Id(i),
            .taken_at = now_,
            .usage = usage,
            .limit = kLimit,
            .stat = stat,
            .pressure = core::PressureTotals{},
            .swap_left = 0};
  }

  int domains_;
  core::Engine engine_;
  Instant now_ = Instant(std::chrono::hours(1));
  std::int64_t round_ = 0;
  core::Snapshot snapshot_;
  std::vector<core::ClientEvent> events_;
  std::uint64_t allocations_ = 0;
  Clock::duration took_{};
};

Cost Measure(int domains, int ticks) {
  Crowd crowd(domains);
  for (int i = 0; i < 20; ++i) crowd.Tick();
  std::vector<double> us;
  std::vector<std::uint64_t> allocations;
  for (int i = 0; i < ticks; ++i) {
    us.push_back(crowd.Tick());
    allocations.push_back(crowd.allocations());
  }
  std::sort(us.begin(), us.end());
  std::sort(allocations.begin(), allocations.end());
  return {.median_us = us[us.size() / 2],
          .p99_us = us[us.size() * 99 / 100],
          .allocations = static_cast<double>(allocations[allocations.size() / 2])};
}

// Simulated seconds for each real one, the median of some nodes of 100 containers.
double RealTimeRatio() {
  constexpr int kNodes = 5;
  constexpr double kSimulated = 300;
  std::vector<double> ratios;
  for (std::uint64_t seed = 1; seed <= kNodes; ++seed) {
    const sim::Scenario scenario = sim::DrawScenario(
        seed, {.slices_most = 10, .containers_most = 10, .exact = true, .seconds = kSimulated});
    const auto begin = Clock::now();
    sim::RunScenario(scenario, sim::Arm::kMemgov);
    ratios.push_back(kSimulated / std::chrono::duration<double>(Clock::now() - begin).count());
  }
  std::sort(ratios.begin(), ratios.end());
  return ratios[ratios.size() / 2];
}

}  // namespace
}  // namespace memgov

int main() {
  const auto hundred = memgov::Measure(100, 1000);
  const auto thousand = memgov::Measure(1000, 300);
  const auto many = memgov::Measure(10000, 60);
  std::printf(
      "{\"tick_us_100\": %.1f, \"tick_us_1000\": %.1f, \"tick_us_10000\": %.1f, \"tick_p99_us_100\": %.1f, "
      "\"tick_p99_us_1000\": %.1f, \"tick_p99_us_10000\": %.1f, \"allocations_per_tick_100\": %.0f, "
      "\"allocations_per_tick_1000\": %.0f, \"allocations_per_tick_10000\": %.0f, \"realtime_ratio\": "
      "%.0f}\n",
      hundred.median_us, thousand.median_us, many.median_us, hundred.p99_us, thousand.p99_us, many.p99_us,
      hundred.allocations, thousand.allocations, many.allocations, memgov::RealTimeRatio());
}
