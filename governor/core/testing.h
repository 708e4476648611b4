// A node made of numbers, for tests: usage over time and what clients say go in, decisions come out as short
// lines. It answers a tick's read_now like the daemon: reads, and ticks again.

#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "governor/core/engine.h"
#include "governor/core/explain.h"
#include "governor/core/serialised.h"
#include "governor/core/words.h"

namespace memgov::core::testing {

using std::chrono::milliseconds;
using std::chrono::seconds;

// An instant after an arbitrary start that is not zero.
inline Instant At(Duration since_start) { return Instant(std::chrono::hours(1)) + since_start; }

inline Policy PolicyOf(Rule rule) { return Policy{.rules = {std::move(rule)}}; }
// Without soft limits that follow: they would be sent before anything has happened.
inline Policy Enforcing() {
  return PolicyOf(
      Rule{.name = "test", .mode = Mode::kEnforce, .soft_limit = {.follow_percent = std::nullopt}});
}
inline Policy Observing() { return PolicyOf(Rule{.name = "test", .mode = Mode::kObserve}); }

inline constexpr Capabilities kReleases{.release = true, .release_in_chunks = true};
inline constexpr Capabilities kReleasesAll{.release = true};
inline constexpr Capabilities kCollects{.collect = true, .set_soft_limit = true};

class Node {
 public:
  explicit Node(Policy policy = Enforcing()) : engine_(std::move(policy)) {}

  Engine& engine() { return engine_; }
  Instant now() const { return now_; }
  void Pass(Duration time) { now_ += time; }

  // "/pod" or "/pod/a"; the parent comes first. Is announced with the next tick.
  CgroupId Add(const std::string& path, std::optional<Bytes> limit = std::nullopt, bool has_brake = false);
  void Remove(CgroupId id);
  // Is announced with the next tick.
  void Name(CgroupId id, WorkloadNames names) { changes_.named.push_back({id, std::move(names)}); }
  void SetLimit(CgroupId id, std::optional<Bytes> limit) { cgroups_.at(id).limit = limit; }
  void SetUsage(CgroupId id, Bytes usage) { cgroups_.at(id).usage = usage; }
  void SetMemoryHigh(CgroupId id, std::optional<Bytes> high) { cgroups_.at(id).memory_high = high; }
  // Is read by read_now, and with every reading once `often`.
  void SetStat(CgroupId id, const MemoryStat& stat, bool often = false) {
    cgroups_.at(id).stat = stat;
    cgroups_.at(id).stat_often = often;
  }
  void SetPressure(CgroupId id, PressureTotals pressure) { cgroups_.at(id).pressure = pressure; }
  void SetSwapLeft(CgroupId id, Bytes left) { cgroups_.at(id).swap_left = left; }
  // The lever is done, and so many bytes have left the cgroup.
  void Reclaimed(const Reclaim& request, Bytes bytes, std::uint64_t refaults = 0);
  // Usage of the cgroup and of all above it.
  void Charge(CgroupId id, Bytes bytes);
  // A cgroup that cannot be read gives no samples.
  void SetReadable(CgroupId id, bool readable) { cgroups_.at(id).readable = readable; }
  void Kill(CgroupId id) { ++cgroups_.at(id).oom_kills; }
  // With the next tick the daemon says that it could not freeze it.
  void FailFreeze(CgroupId id, std::string why) { changes_.freezes_failed.push_back({id, std::move(why)}); }
  // The kernel's log names a victim, with the next tick.
  void Log(KilledProcess victim) { changes_.kills.push_back(std::move(victim)); }
  Bytes usage(CgroupId id) const { return cgroups_.at(id).usage; }
  // What the engine has read last, and when.
  const CgroupSample& last_read(CgroupId id) const { return last_read_.at(id); }
  std::optional<Bytes> memory_high(CgroupId id) const { return cgroups_.at(id).memory_high; }

  ClientId Attach(CgroupId cgroup, const Capabilities& can = kReleases);
  void Detach(ClientId client) { events_.emplace_back(ClientDetached{client}); }
  void Report(ClientId client, Bytes retained, EstimateKind kind = EstimateKind::kExact, Bytes live = 0);
  // The outcome of `directive`: `claimed` bytes went, says the client. The cgroup is not touched.
  void Answer(const Directive& directive, Bytes claimed, OutcomeStatus status = OutcomeStatus::kDone);
  // The same, and the bytes have left the client's cgroup.
  void Deliver(const Directive& directive, Bytes bytes);
  void Say(ClientEvent event);

  // One tick with a reading of every cgroup, or of those named. Carries out brake writes. Decisions of the
  // rounds that read_now caused are joined.
  Decisions Tick();
  Decisions Tick(const std::vector<CgroupId>& read);

  // Sees every tick, those of read_now too.
  using Observer =
      std::function<void(Instant, const Snapshot&, const std::vector<ClientEvent>&, const Decisions&)>;
  void SetObserver(Observer observer) { observer_ = std::move(observer); }

  // "asked c1 release 270.0 MiB", "woke /pod", "brake_armed /pod 86.0 MiB", ...
  std::vector<std::string> Lines(const Decisions& decisions) const;
  // The same for some kinds of notes only.
  std::vector<std::string> Lines(const Decisions& decisions, std::vector<NoteKind> kinds) const;

 private:
  struct Cgroup {
    std::string path;
    CgroupId parent{};
    std::optional<Bytes> limit;
    std::optional<Bytes> memory_high;
    Bytes usage = 0;
    std::uint64_t oom_kills = 0;
    bool readable = true;
    std::optional<MemoryStat> stat;
    bool stat_often = false;
    std::optional<PressureTotals> pressure;
    std::optional<Bytes> swap_left;
  };

  CgroupSample SampleOf(CgroupId id, bool with_stat) const;

  Engine engine_;
  Observer observer_;
  Instant now_ = At(seconds(0));
  std::map<CgroupId, Cgroup> cgroups_;
  std::map<CgroupId, CgroupSample> last_read_;
  std::map<ClientId, CgroupId> clients_;
  std::uint32_t next_cgroup_ = 1;
  std::uint64_t next_client_ = 1;
  Snapshot changes_;
  std::vector<ClientEvent> events_;
};

}  // namespace memgov::core::testing
