// Worlds drawn from a seed. Sizes and speeds are spread over decades; limits are set as people set them, from
// what the work needs, so that most worlds have room for it, and few for what is kept beside it.

#include "governor/sim/scenario.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"

namespace memgov::sim {
namespace {

constexpr double kSampleEvery = 0.25;  // seconds, for the peak of what is needed together

// Index drawn with the given weights.
template <std::size_t n>
std::size_t Draw(Random& random, const std::array<double, n>& weights) {
  double sum = 0;
  for (const double weight : weights) sum += weight;
  double at = random.Between(0, sum);
  for (std::size_t i = 0; i < n; ++i) {
    at -= weights[i];
    if (at < 0) return i;
  }
  return n - 1;
}

Demand DrawDemand(Random& random, double size, double seconds, bool* starts_afresh) {
  enum Shape { kSteady, kRamp, kBursts, kDiurnal, kLeak, kFullSpeed, kDrain };
  const double high = size * random.Between(1.2, 4);
  switch (Draw(random, std::array<double, 7>{20, 15, 25, 18, 5, 10, 7})) {
    case kRamp: {
      const double begin = random.Between(0, seconds / 2);
      return Demand::Ramp(size, high, begin, random.LogBetween(2, seconds / 2));
    }
    case kBursts:
      return Demand::Bursts(random, size / 2, high / 2, random.LogBetween(5 * kMiBf, 500 * kMiBf), seconds);
    case kDiurnal:
      return Demand::Diurnal(random, size / 3, size * 1.5, random.Between(40, 200), seconds);
    case kLeak:
      *starts_afresh = true;
      return Demand::Leak(size / 2, random.LogBetween(0.2 * kMiBf, 10 * kMiBf), seconds);
    case kFullSpeed: {
      const double speed = random.LogBetween(50 * kMiBf, 2048 * kMiBf);
      return Demand::Ramp(size, high, random.Between(5, seconds * 0.8), (high - size) / speed);
    }
    case kDrain:
      return Demand::Drain(random, size, size * random.Between(0.05, 0.4), seconds);
    default:
      return Demand::Steady(size);
  }
}

Manner DrawManner(Random& random, Heap heap) {
  if (heap == Heap::kPlain || random.Chance(0.2)) return Manner::kNone;
  constexpr std::array kManners{Manner::kHonest, Manner::kSlow,  Manner::kSilent,
                                Manner::kLying,  Manner::kDying, Manner::kRefusing};
  return kManners[Draw(random, std::array<double, 6>{80, 6, 4, 4, 3, 3})];
}

ServicePlan DrawService(Random& random, int cgroup, double seconds) {
  ServicePlan plan{.cgroup = cgroup};
  constexpr std::array kHeaps{Heap::kPlain, Heap::kAllocator, Heap::kTrim,
                              Heap::kLazy,  Heap::kCollected, Heap::kCaches};
  const double size = random.LogBetween(40 * kMiBf, 2 * kGiBf);
  plan.heap = kHeaps[Draw(random, std::array<double, 6>{15, 27, 10, 12, 25, 11})];
  plan.manner = DrawManner(random, plan.heap);
  plan.demand = DrawDemand(random, size, seconds, &plan.starts_afresh);
  plan.keep = random.Between(0.6, 1);
  plan.worth = random.Chance(0.5) ? 1 : random.Between(0.4, 1);
  plan.in_chunks = random.Chance(0.6);
  plan.start_speed = random.LogBetween(50 * kMiBf, 500 * kMiBf);
  if (plan.heap == Heap::kCollected) {
    plan.garbage_per_second = random.LogBetween(1 * kMiBf, 300 * kMiBf);
    plan.estimate = core::EstimateKind::kBound;
    plan.worth = 1;
  }
  if (plan.heap == Heap::kCaches) plan.cache_bytes = size * random.Between(0.2, 1);
  const bool keeps = plan.heap == Heap::kAllocator || plan.heap == Heap::kTrim;
  if (keeps && random.Chance(0.4)) {
    const double peak = plan.demand.At(0) + size * random.Between(0.2, 2);
    plan.demand = plan.demand.WithOpening(peak, random.Between(2, 15), random.LogBetween(0.1, 5));
  }
  if (random.Chance(0.4)) {
    plan.file_per_second = random.LogBetween(1 * kMiBf, 100 * kMiBf);
    plan.file_most = size * random.Between(0.1, 1);
  }
  if (random.Chance(0.2)) plan.needed_file = random.LogBetween(8 * kMiBf, 100 * kMiBf);
  return plan;
}

// The most that the services whose cgroup satisfies `within` need at one moment.
template <typename Within>
double PeakNeed(const Scenario& scenario, Within within) {
  double peak = 0;
  for (double at = 0; at <= scenario.seconds; at += kSampleEvery) {
    double sum = 0;
    for (const ServicePlan& plan : scenario.services) {
      if (within(plan.cgroup)) sum += plan.demand.At(at) + plan.needed_file;
    }
    peak = std::max(peak, sum);
  }
  return peak;
}

// What an operator leaves between the need and the limit. Now and then it is too little.
double DrawRoom(Random& random) {
  if (random.Chance(0.05)) return random.Between(0.8, 1);
  if (random.Chance(0.6)) return random.LogBetween(1.1, 1.6);
  return random.Between(1.6, 3);
}

Bytes LimitFor(double need, double room) {
  return static_cast<Bytes>(std::max(need * room, 64 * kMiBf) / kPage) * Bytes{4096};
}

void DrawLimits(Random& random, Scenario* scenario) {
  for (std::size_t i = 0; i < scenario->cgroups.size(); ++i) {
    CgroupPlan& plan = scenario->cgroups[i];
    const int self = static_cast<int>(i);
    const bool is_slice = plan.parent < 0;
    if (!random.Chance(is_slice ? 0.6 : 0.5)) continue;
    const double need = PeakNeed(*scenario, [&](int cgroup) {
      return cgroup == self || scenario->cgroups[static_cast<std::size_t>(cgroup)].parent == self;
    });
    plan.limit = LimitFor(need, DrawRoom(random));
  }
  const double all = PeakNeed(*scenario, [](int) { return true; });
  const double room = random.Chance(0.25) ? random.LogBetween(1.1, 1.6) : random.Between(3, 6);
  scenario->node_total = static_cast<double>(LimitFor(all, room)) + scenario->node_base;
}

void DrawFaults(Random& random, Scenario* scenario) {
  const double end = scenario->seconds;
  const int cgroups = static_cast<int>(scenario->cgroups.size());
  const int services = static_cast<int>(scenario->services.size());
  const auto add = [&](Fault fault) {
    fault.at = random.Between(1, end);
    scenario->faults.push_back(fault);
  };
  for (int i = 0; i < cgroups; ++i) {
    const auto& limit = scenario->cgroups[static_cast<std::size_t>(i)].limit;
    if (!limit || !random.Chance(0.04)) continue;
    add({.kind = Fault::Kind::kSetLimit,
         .target = i,
         .bytes = static_cast<double>(LimitFor(static_cast<double>(*limit), random.Between(0.9, 1.5)))});
  }
  for (int i = 0; i < cgroups; ++i) {
    const bool is_container = scenario->cgroups[static_cast<std::size_t>(i)].parent >= 0;
    if (is_container && random.Chance(0.02)) add({.kind = Fault::Kind::kRemove, .target = i});
  }
  for (int i = 0; i < services; ++i) {
    if (random.Chance(0.05)) add({.kind = Fault::Kind::kReconnect, .target = i});
  }
  if (!random.Chance(0.25)) return;
  for (int i = 1 + random.Below(4); i > 0; --i) {
    add({.kind = Fault::Kind::kLate, .seconds = random.LogBetween(0.02, 1)});
  }
}

}  // namespace

Scenario DrawScenario(std::uint64_t seed, const ScenarioSize& size) {
  Random random{seed};
  Scenario scenario{.seed = seed, .seconds = size.seconds};
  scenario.v2 = random.Chance(0.65);
  scenario.has_psi = random.Chance(0.85);
  scenario.has_stat = random.Chance(0.95);
  scenario.has_page_out = random.Chance(0.8);
  const int slices = size.exact ? size.slices_most : 1 + random.Below(size.slices_most);
  for (int s = 0; s < slices; ++s) {
    const int slice = static_cast<int>(scenario.cgroups.size());
    scenario.cgroups.push_back({.path = absl::StrCat("/slice", s)});
    const int containers = size.exact ? size.containers_most : 1 + random.Below(size.containers_most);
    for (int c = 0; c < containers; ++c) {
      const int container = static_cast<int>(scenario.cgroups.size());
      scenario.cgroups.push_back({.path = absl::StrCat("/slice", s, "/c", c), .parent = slice});
      for (int n = random.Chance(0.25) ? 2 : 1; n > 0; --n) {
        scenario.services.push_back(DrawService(random, container, size.seconds));
        scenario.services.back().name = absl::StrCat("s", s, "c", c, ".", n);
      }
    }
  }
  DrawLimits(random, &scenario);
  DrawFaults(random, &scenario);
  return scenario;
}

}  // namespace memgov::sim
