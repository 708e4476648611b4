// The demo's stage in numbers: those of tests/demo/scene.py, and what its programs were seen to hold.

#include "governor/sim/scenario.h"

namespace memgov::sim {
namespace {

constexpr double kLimit = 1228 * kMiBf;
constexpr double kFill = 650 * kMiBf;  // of values, into redis
constexpr double kRate = 80 * kMiBf;   // per second
// Seen: redis is charged 104.5 MiB for 80 MiB of 4 KiB values (allocations of 5 KiB, keys, entries), and each
// service stands at 292 to 298 MiB after it has freed nine tenths of 300.
constexpr double kChargedPerByte = 1.306;
constexpr double kRedis = 3 * kMiBf;  // before it is filled
constexpr double kSurvives = 30 * kMiBf;
constexpr double kTail = 5;  // seconds

ServicePlan Holder(int cgroup, const char* name, Heap heap, double holds) {
  ServicePlan plan{.cgroup = cgroup, .name = name, .heap = heap, .manner = Manner::kHonest};
  plan.demand = Demand::Steady(kSurvives);
  plan.old_retained = holds - kSurvives;
  plan.in_chunks = name == std::string("jemalloc");
  return plan;
}

}  // namespace

Scenario DemoScenario(bool v2) {
  Scenario scenario{.seconds = kSettle + kFill / kRate + kTail, .v2 = v2, .starts_full = true};
  scenario.cgroups.push_back({.path = "/demo", .limit = static_cast<Bytes>(kLimit)});
  for (const char* name : {"jemalloc", "glibc", "go", "redis"}) {
    scenario.cgroups.push_back({.path = std::string("/demo/") + name, .parent = 0});
  }
  scenario.services = {Holder(1, "jemalloc", Heap::kAllocator, 298 * kMiBf),
                       Holder(2, "glibc", Heap::kAllocator, 298 * kMiBf),
                       Holder(3, "go", Heap::kCollected, 292 * kMiBf)};
  ServicePlan redis{.cgroup = 4, .name = "redis"};
  redis.demand = Demand::Ramp(kRedis, kRedis + kFill * kChargedPerByte, kSettle, kFill / kRate);
  scenario.services.push_back(redis);
  return scenario;
}

}  // namespace memgov::sim
