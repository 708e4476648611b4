// A world before it runs: who lives in it, what each will do, and what goes wrong. Plain data, drawn from a
// seed or written down.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "governor/core/client_event.h"
#include "governor/core/workload.h"
#include "governor/sim/demand.h"
#include "governor/sim/kernel_law.h"

namespace memgov::sim {

// How a program keeps what it has freed.
enum class Heap {
  kPlain,      // returns at once
  kAllocator,  // keeps free pages, knows how many
  kTrim,       // keeps free pages, cannot tell how many (glibc)
  kLazy,       // frees lazily (MADV_FREE): charged until the kernel is short
  kCollected,  // a collected heap, as Go's: garbage up to a goal, and what the scavenger has not returned
  kCaches,     // fills an application's cache that it could shed
};

// How its client behaves.
enum class Manner { kNone, kHonest, kSlow, kSilent, kLying, kDying, kRefusing };

struct CgroupPlan {
  std::string path;
  int parent = -1;  // index of a plan before it; -1: below the root
  std::optional<Bytes> limit;
  core::WorkloadNames names = {};
};

struct ServicePlan {
  int cgroup = 0;
  std::string name;
  Heap heap = Heap::kPlain;
  Manner manner = Manner::kNone;
  Demand demand;
  bool starts_afresh = false;  // after a restart its demand begins anew: a leak
  double keep = 0;             // share of what it frees that it keeps
  double worth = 1;            // bytes it can return / bytes it says it could
  core::EstimateKind estimate = core::EstimateKind::kExact;
  bool in_chunks = false;
  double garbage_per_second = 0;  // kCollected
  double cache_bytes = 0;         // kCaches: of the application
  double file_per_second = 0;     // page cache it leaves behind
  double file_most = 0;
  double needed_file = 0;            // code and maps: file pages it runs through all the time
  double start_speed = 200 * kMiBf;  // bytes per second, when it starts anew
  double old_retained = 0;           // kept free already when the story begins (starts_full)
};

struct Fault {
  enum class Kind { kSetLimit, kRemove, kLate, kReconnect };
  double at = 0;  // seconds
  Kind kind = Kind::kLate;
  int target = 0;      // cgroup of kSetLimit and kRemove, service of kReconnect
  double bytes = 0;    // kSetLimit
  double seconds = 0;  // kLate: the governor does not run for so long
};

struct Scenario {
  std::uint64_t seed = 0;
  double seconds = 120;
  bool v2 = true;
  bool has_psi = true;
  bool has_stat = true;
  bool has_page_out = true;
  bool starts_full = false;  // otherwise its services start one by one within the first seconds
  double node_total = 64 * kGiBf;
  double node_base = 512 * kMiBf;  // the kernel's and what is in no cgroup
  std::vector<CgroupPlan> cgroups;
  std::vector<ServicePlan> services;
  std::vector<Fault> faults;
};

struct ScenarioSize {
  int slices_most = 3;
  int containers_most = 5;  // in a slice
  bool exact = false;       // as many as the two say
  double seconds = 120;
};

Scenario DrawScenario(std::uint64_t seed, const ScenarioSize& size = {});

// The demo's stage (tests/demo/scene.py): three services that keep what they freed, and after kSettle seconds
// one that is filled.
inline constexpr double kSettle = 1;
Scenario DemoScenario(bool v2);

}  // namespace memgov::sim
