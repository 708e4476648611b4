// The simulated node: a cgroup tree with limits, programs whose memory moves along straight lines, and the
// kernel that reclaims, brakes, lets thrash and kills.
//
// Driven by events: nothing is computed between two instants at which a line bends, a threshold is crossed, a
// message arrives or the governor is due. So a calm node costs nothing, and a second of a busy one little.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <string>
#include <vector>

#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/snapshot.h"
#include "governor/sim/governor.h"
#include "governor/sim/process.h"
#include "governor/sim/random.h"
#include "governor/sim/scenario.h"

namespace memgov::sim {

struct Kill {
  Instant at;
  int service = 0;
  core::CgroupId domain{};
  double lacking = 0;  // bytes that the domain needed at once
  // Bytes that its programs that answer could still have given, also those whose connection was broken just
  // then.
  double spare = 0;
  double growth = 0;   // of the domain, bytes per second
  Duration noticed{};  // since the domain was at 85 % of its limit
};

struct Tally {
  std::vector<Kill> kills;
  double work = 0;      // seconds of work that all services have done
  double asked = 0;     // bytes
  double returned = 0;  // bytes that clients gave back
  int requests = 0;
  int collections = 0;  // that were forced
  double stalled = 0;   // seconds, over all domains
  double braked = 0;
};

class Machine {
 public:
  using Trace = std::function<void(Instant, const std::string&)>;

  // `scenario` and `governor` outlive the machine.
  Machine(const Scenario& scenario, Governor& governor, Trace trace = nullptr);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  void Run();
  // Complete after Run.
  const Tally& tally() const { return tally_; }

  static Instant Zero() { return Instant(std::chrono::hours(1)); }
  Instant now() const { return now_; }
  const Scenario& scenario() const { return scenario_; }

  // For governors: the tree. Ids are positions; kNodeId is the node.
  struct Cgroup {
    std::string path;
    core::CgroupId parent{};
    std::optional<double> limit;
    bool alive = true;
    std::vector<int> services;  // in it and below it
    // Usage along its line since `at`.
    double usage = 0, slope = 0;
    Instant at;
    std::uint64_t version = 0;  // of the crossing that waits in the queue
    std::uint64_t oom_kills = 0;
    // The governor's.
    std::optional<double> high, wire;
    bool wire_is_above = false;  // usage is: it has rung
    bool pressure_alarm = false;
    // The kernel's.
    std::optional<Instant> tight_since;
    bool braking = false, resuming = false, stalled = false;
    double growth_speed = 1;
    std::uint64_t episode = 0;  // the next step of its brake or stall; an earlier one is void
    Instant squeezed_at;        // since then the two totals run on
    double full_us = 0, refaults = 0;
    double full_rate = 0, refault_rate = 0;  // of the second
  };
  const std::vector<Cgroup>& cgroups() const { return cgroups_; }
  core::CgroupSample Read(core::CgroupId id, bool with_stat);
  core::CgroupAppeared Describe(core::CgroupId id) const;
  // For governors that know more than can be read.
  Process& Settled(int service);
  // Whether its client does what it is asked, soon or late.
  bool Answers(int service) const;
  // ... and is attached now.
  bool WouldGive(int service) const;
  int services() const { return static_cast<int>(processes_.size()); }
  core::CgroupId CgroupOf(int service) const {
    return core::CgroupId(static_cast<std::uint32_t>(scenario_.services[At(service)].cgroup) + 1);
  }
  void Redraw(int service);
  // The cgroup of an attached client, and its service's name; absent and empty when it has left.
  std::optional<core::CgroupId> HomeOf(core::ClientId client) const;
  std::string NameOf(core::ClientId client) const;

  // For governors: their hands.
  void Send(const core::Directive& directive);
  void Start(const core::Reclaim& request);
  void SetWire(const core::SetWire& wire);
  void SetPressureAlarm(const core::SetPressureAlarm& alarm);
  void SetLimit(core::CgroupId id, std::optional<double> limit);
  // At once, for one that knew long before: so many bytes leave, at the price that asking in time would have
  // had.
  double TakeSpare(int service, double bytes);
  void SetFixedLimit(int service, double bytes);

  void Say(const std::string& text) const {
    if (trace_) trace_(now_, text);
  }
  bool tracing() const { return static_cast<bool>(trace_); }

 private:
  static std::size_t At(int index) { return static_cast<std::size_t>(index); }
  static int IndexOf(core::CgroupId id) { return static_cast<int>(id); }
  Cgroup& Group(core::CgroupId id) { return cgroups_[static_cast<std::size_t>(id)]; }

  enum class What {
    kService,
    kCrossing,
    kSqueeze,
    kResume,
    kAlarm,
    kArrival,
    kJob,
    kReport,
    kRestart,
    kReclaim,
    kFault,
    kAttach
  };
  struct Event {
    Instant at;
    std::uint64_t order = 0;  // of two at the same instant, the one that was put first
    What what = What::kService;
    int index = 0;
    std::uint64_t version = 0;
    bool operator>(const Event& other) const { return at != other.at ? at > other.at : order > other.order; }
  };
  void Put(Instant at, What what, int index, std::uint64_t version = 0);
  void Handle(const Event& event);

  // machine.cc: lines.
  void Build();
  void Charge(core::CgroupId id, double bytes, double slope);
  void SettleGroup(Cgroup& cgroup) const;
  void AwaitCrossing(core::CgroupId id);
  void RedrawBelow(core::CgroupId id);
  // Every change of a program goes through here: settles, changes, draws anew, charges its cgroups.
  template <typename Change>
  void Alter(int service, Change change);
  double Delay(const Range& range) { return random_.Between(range.low, range.high); }
  template <typename Visit>
  void Upwards(core::CgroupId id, Visit visit);

  // machine_limits.cc: what the kernel does at its thresholds.
  void OnCrossing(core::CgroupId id);
  void AtLimit(core::CgroupId id);
  double TakeBack(core::CgroupId id, double bytes);
  void BeginBraking(core::CgroupId id);
  void StepBrake(core::CgroupId id);
  void EndBraking(core::CgroupId id, const Range& delay);
  void BeginStall(core::CgroupId id);
  void StepStall(core::CgroupId id);
  void SetPressure(Cgroup& cgroup, double full_rate, double refault_rate);
  void KillIn(core::CgroupId domain, double lacking);
  void Remove(core::CgroupId id);
  void OnFault(const Fault& fault);
  void Alarm(core::CgroupId id, const Range& delay);

  // machine_clients.cc: what clients do.
  struct Client {
    core::ClientId id{};
    int service = 0;
    bool attached = false;
    std::uint64_t life = 0;  // messages from an earlier one are void
    std::vector<core::Directive> waiting;
    bool busy = false;
  };
  struct Job {
    core::Directive directive;
    int service = 0;
    std::uint64_t life = 0;
    double before = 0, asked = 0, left = 0;
    Instant began;
  };
  void AttachSoon(int service);
  void Attach(int service);
  void Detach(int service);
  void Report(int service);
  void OnArrival(int job);
  void StepJob(int job);
  void EndJob(int job, core::OutcomeStatus status, double claimed, const std::string& why);
  void Begin(int job);
  void FinishReclaim(int index);

  const Scenario& scenario_;
  Governor& governor_;
  Trace trace_;
  Random random_;
  Instant now_ = Zero();
  Instant end_;
  Instant governor_sleeps_until_;
  std::uint64_t next_order_ = 0;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> queue_;
  std::vector<Cgroup> cgroups_;
  std::vector<Process> processes_;
  std::vector<std::uint64_t> versions_;  // of the processes' events
  std::vector<Client> clients_;          // by service
  std::vector<Job> jobs_;
  std::vector<int> free_jobs_;
  std::vector<core::Reclaim> reclaims_;
  std::map<core::ClientId, int> service_of_;
  std::uint64_t next_client_ = 1;
  Tally tally_;
};

template <typename Visit>
void Machine::Upwards(core::CgroupId id, Visit visit) {
  for (;;) {
    visit(id);
    if (id == core::kNodeId) return;
    id = Group(id).parent;
  }
}

template <typename Change>
void Machine::Alter(int service, Change change) {
  Process& process = processes_[At(service)];
  process.Settle(now_);
  const double before = process.usage();
  const double slope = process.slope();
  change(process);
  double speed = 1, growth_speed = 1;
  const core::CgroupId home = CgroupOf(service);
  Upwards(home, [&](core::CgroupId id) {
    if (Group(id).stalled) speed = kStallSpeed;
    growth_speed = std::min(growth_speed, Group(id).growth_speed);
  });
  process.Redraw(speed, growth_speed);
  const std::uint64_t version = ++versions_[At(service)];
  if (const auto next = process.NextChange()) {
    if (*next < 1e6) Put(now_ + Seconds(*next) + Duration(1), What::kService, service, version);
  }
  Charge(home, process.usage() - before, process.slope() - slope);
}

}  // namespace memgov::sim
