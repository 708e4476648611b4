// The operator's wishes as the engine reads them. policy/ fills this from a file; the defaults here are the
// defaults of the file, and each says where it comes from.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "governor/core/client_event.h"
#include "governor/core/units.h"
#include "governor/core/workload.h"

namespace memgov::core {

enum class Mode {
  kObserve,  // decide and say, but write and send nothing
  kEnforce,
};

// A threshold is crossed when any of its set parts is.
struct Threshold {
  std::optional<double> usage_percent;    // of the domain's limit
  std::optional<Duration> time_to_limit;  // forecast, at the present growth
  // Of the last second in which all its tasks waited for memory while pages came back (stall.h).
  std::optional<double> stall_percent;
};

// v2: memory.high at `at_percent`, so that a fast grower is slowed while others give memory back.
struct BrakePolicy {
  bool enabled = true;
  double at_percent = 85;  // of the limit; alarm and brake are one wire (measured: event 0.3-17 ms after)
  Duration longest = std::chrono::seconds(10);  // one episode; then let go until usage has relaxed
  // v1 only: the fastest grower without a client stands still instead (freeze.h). A service that answers
  // nobody for longer than half a second is taken for dead by many a probe.
  bool freeze = false;
  Duration freeze_longest = std::chrono::milliseconds(500);
};

// The rungs of the ladder, in the order in which they are tried.
// kReclaim is the kernel's: it collects lazily freed memory, also of programs that have no client.
enum class ActionKind { kSetReleaseMode, kSetSoftLimit, kRelease, kCollect, kShed, kReclaim };

struct Pace {
  // At most this lies between two askings of one client; less, down to a tenth, when the request took the
  // client less than 1/20 of it; where time is short down to a fiftieth and 1/4. Doubled each time that
  // nothing came back.
  Duration cooldown = std::chrono::seconds(5);
  Duration longest_stall = std::chrono::milliseconds(100);
  Duration deadline = std::chrono::seconds(2);  // for the client to act
  Duration ttl = std::chrono::seconds(30);      // of release modes and soft limits
  // Of one CPU, that the collections we ask of one client may cost it; a critical need goes before. M3 caps
  // the duty of a Go client at 10 %.
  double gc_cpu_percent = 10;
};

// What is set while nothing is needed.
struct CalmPolicy {
  ReleaseMode release_mode = ReleaseMode::kUnknown;  // kLazy, or else the program's own
};

// Soft limits of runtimes (Go: GOMEMLIMIT) that follow the limit of the cgroup.
struct SoftLimitPolicy {
  // So much of the limit, less what others in it use, is shared out. Absent: none are set but after a
  // collection. automemlimit takes the same share, once.
  std::optional<double> follow_percent = 90;
};

// The names that a rule asks for: globs, or absent for "whatever it is called". A part that is present
// matches no cgroup that has no such name.
struct NameMatch {
  std::optional<std::string> pod_namespace;
  std::optional<std::string> pod;
  std::optional<std::string> container;
  std::optional<QosClass> qos;
  std::optional<Runtime> runtime;

  bool operator==(const NameMatch&) const = default;
};

// Whether it depends on names that have to be looked for (WorkloadNames::pending).
bool AsksForNames(const NameMatch& match);

struct Rule {
  std::string name = "default";
  std::string cgroup = "/**";  // glob over the path: * within a name, ** over names
  NameMatch names = {};
  Mode mode = Mode::kObserve;
  double protect_weight = 1;  // a client with weight 2 is asked for half as much
  // The forecast's part is what releases take (measured: 80 to 280 ms for 1 GiB): it asks before the wire
  // only when growth is so fast that the wire would be too late.
  Threshold wake{.usage_percent = 85, .time_to_limit = std::chrono::milliseconds(300), .stall_percent = 10};
  Threshold critical{
      .usage_percent = 95, .time_to_limit = std::chrono::milliseconds(100), .stall_percent = 40};
  double relax_percent = 80;  // below this the domain is calm again (oomd, koordlet: target below trigger)
  BrakePolicy brake;
  std::vector<ActionKind> actions{ActionKind::kReclaim,      ActionKind::kSetReleaseMode,
                                  ActionKind::kSetSoftLimit, ActionKind::kRelease,
                                  ActionKind::kCollect,      ActionKind::kShed};
  Pace pace;
  SoftLimitPolicy soft_limit;
  CalmPolicy calm;
};

struct NodePolicy {
  Bytes reserve = 256 * kMiB;  // the node's limit is MemTotal less this
};

// Ordered rules; the first whose `cgroup` and `names` match governs a cgroup. No match: the built-in default
// rule, which observes.
struct Policy {
  std::vector<Rule> rules;
  NodePolicy node;
};

// Whether `path` ("/a/b") matches `glob`: `*` any run of characters but '/', `**` any run of characters, and
// a trailing "/**" also the directory itself. At most glob x path steps.
bool GlobMatches(std::string_view glob, std::string_view path);

// The rule that governs the cgroup at `path`. While its names are pending and an earlier rule depends on
// them, that is the built-in rule: what may turn out to be protected is left alone until it is known. The
// reference lives as long as the policy.
const Rule& RuleFor(const Policy& policy, std::string_view path, const WorkloadNames& names = {});

}  // namespace memgov::core
