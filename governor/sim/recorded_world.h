// A node as it was recorded, made into a world that can be played again under another governor or another
// policy: its cgroups with their limits, one program in each that has none below it, and what that program
// really needed.
//
// Needed is what was charged less what its clients said they kept free and what the kernel could take back by
// itself: about the same whoever governed. What the programs keep free from then on follows the simulator's
// laws. Left out are page cache, caches that applications could shed, and what a program would have needed
// after the moment in which the kernel killed it.

#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "governor/core/client_event.h"
#include "governor/core/snapshot.h"
#include "governor/sim/scenario.h"

namespace memgov::sim {

class RecordedWorld {
 public:
  // The inputs of one tick, in their order.
  void Take(Instant now, const core::Snapshot& snapshot, std::span<const core::ClientEvent> events);

  // Absent: nothing that takes time was recorded.
  std::optional<Scenario> ToScenario() const;

 private:
  struct Program {
    core::Capabilities can;
    bool tells = false;               // it has told how much it keeps free
    double kept = 0;                  // free at the beginning
    double grown = 0;                 // all growth of what it kept free
    std::vector<Demand::Point> need;  // seconds since the beginning
    std::optional<Demand::Point> skipped;
  };
  struct Cgroup {
    core::CgroupAppeared appeared;
    int parent = -1;
    bool has_children = false;
    std::optional<Bytes> first_limit, limit;
    bool sampled = false;
    Bytes usage = 0;
    Bytes cache = 0;  // inactive_file, as of the last stat; lazily freed memory is in it
    double stat_at = 0;
    double reported_at = -kSilent;
    std::set<core::ClientId> clients;
    Program program;
  };
  struct Client {
    int home = 0;
    bool reported = false;
    double since = 0;  // what a collection finds has died after that
    double retained = 0;
    double lazily_freed = 0;
  };

  // A client that has said nothing for so long is not waited for (seconds; reports come once a second).
  static constexpr double kSilent = 3;

  double At(Instant now) const { return SecondsOf(now - *begin_); }
  int IndexOf(core::CgroupId id) const;
  void Appear(const core::CgroupAppeared& appeared);
  void Sample(const core::CgroupSample& sample);
  void SampleNode(const core::CgroupSample& sample);
  void Attach(const core::ClientAttached& attached);
  void Report(const core::ClientReport& report);
  void Outcome(const core::ClientOutcome& outcome);
  static void WasFree(Program& program, double free, double since);
  static void CorrectForCache(Cgroup& cgroup, double at, Bytes cache);
  void Detach(core::ClientId client);
  void Vanish(core::CgroupId id, double at);
  void SetLimit(int index, double at, std::optional<Bytes> limit);
  void Need(Cgroup& cgroup, double at) const;
  static void AddPoint(Program& program, Demand::Point point);
  static Heap HeapOf(const Program& program);

  std::optional<Instant> begin_, end_;
  std::vector<Cgroup> cgroups_;
  std::map<core::CgroupId, int> index_;
  std::map<core::ClientId, Client> clients_;
  std::vector<Fault> faults_;
  double node_total_ = 0;
  std::optional<double> node_usage_;
  bool v2_ = false;
  bool has_psi_ = false;
};

}  // namespace memgov::sim
