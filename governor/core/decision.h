// What the engine wants done, each with its reason. Decisions are values; the daemon carries them out.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "governor/core/client_event.h"
#include "governor/core/oom_kills.h"
#include "governor/core/policy.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"

namespace memgov::core {

enum class Level { kCalm, kWake, kCritical };
enum class Signal { kUsage, kTimeToLimit, kStall, kSoftLimit, kCalm };

// Which rule compared what with what, and for how long it had held. The same in log, wire and journal.
struct Reason {
  std::string rule;
  Signal signal = Signal::kUsage;
  // kUsage: percent of the limit; kTimeToLimit: seconds; kStall: percent of time; kSoftLimit: no crossing,
  // usage and the share that soft limits may take, percent of the limit; kCalm: none either, usage and what
  // it is calm below.
  double observed = 0;
  double threshold = 0;
  Duration held{};
};

struct SetReleaseMode {
  ReleaseMode mode = ReleaseMode::kUnknown;
};
struct Release {
  Bytes bytes = 0;
  Duration longest_stall{};
};
struct Collect {
  Bytes bytes = 0;
};
struct SetSoftLimit {
  Bytes bytes = 0;
};
struct Shed {
  Bytes bytes = 0;
};
using Action = std::variant<SetReleaseMode, SetSoftLimit, Release, Collect, Shed>;

// The rung that an action belongs to.
constexpr ActionKind KindOf(const Action& action) { return static_cast<ActionKind>(action.index()); }
static_assert(KindOf(SetReleaseMode{}) == ActionKind::kSetReleaseMode);
static_assert(KindOf(SetSoftLimit{}) == ActionKind::kSetSoftLimit);
static_assert(KindOf(Release{}) == ActionKind::kRelease);
static_assert(KindOf(Collect{}) == ActionKind::kCollect);
static_assert(KindOf(Shed{}) == ActionKind::kShed);

// The bytes of a request or of a soft limit; 0 for a mode.
constexpr Bytes BytesOf(const Action& action) {
  return std::visit(
      [](const auto& what) -> Bytes {
        if constexpr (requires { what.bytes; }) {
          return what.bytes;
        } else {
          return 0;
        }
      },
      action);
}

// Whether it asks for memory, as opposed to a setting.
constexpr bool GivesMemory(const Action& action) {
  const ActionKind kind = KindOf(action);
  return kind == ActionKind::kRelease || kind == ActionKind::kCollect || kind == ActionKind::kShed;
}

// One request to one client.
struct Directive {
  DirectiveId id{};
  ClientId client{};
  CgroupId domain{};  // the limit domain whose need it serves
  Level level = Level::kWake;
  Duration deadline{};
  Duration ttl{};
  Action action;
  Reason reason;
};

// What this node lets us do to programs that have no client (kernel/reclaimer.h).
struct KernelLevers {
  bool page_out = false;  // process_madvise(MADV_PAGEOUT) on confirmed lazily freed ranges
  bool reclaim = false;   // memory.reclaim
  friend bool operator==(const KernelLevers&, const KernelLevers&) = default;
};
enum class ReclaimLever { kPageOut, kReclaim };

// Collect so much lazily freed memory from the processes in and below `cgroup`.
struct Reclaim {
  ReclaimId id{};
  CgroupId cgroup{};
  CgroupId domain{};  // the limit domain whose need it serves
  ReclaimLever lever = ReclaimLever::kPageOut;
  Bytes bytes = 0;
  Duration longest{};  // then it stops with what it has
  Reason reason;
};

// Whether the kernel shall wake us when this cgroup's tasks wait for memory (PSI): only for domains at risk.
struct SetPressureAlarm {
  CgroupId cgroup{};
  bool on = false;
};

// Whether the processes of this cgroup, which has none below it, shall stand still (cgroup v1). Every "on" is
// followed by one "off", also when it failed or the cgroup has gone.
struct SetFreeze {
  CgroupId cgroup{};
  bool on = false;
};

// Where the kernel shall wake us for this cgroup: an eventfd (v1), or with `brake` memory.high (v2).
// Absent `at` disarms. A wire is below the limit and above the usage it was computed from.
struct SetWire {
  CgroupId cgroup{};
  std::optional<Bytes> at;
  bool brake = false;
};

// How often this cgroup shall be read from now on.
struct SetCadence {
  CgroupId cgroup{};
  Duration usage_every{};
  Duration stat_every{};
  bool may_rest = false;  // then read it less often while its usage stays the same
};

enum class NoteKind {
  kWoke,        // a domain crossed its wake threshold
  kCritical,    // ... its critical threshold
  kRelaxed,     // ... fell below its relax threshold
  kAsked,       // a directive was sent
  kWouldAsk,    // observe mode: it would have been sent
  kReturned,    // a directive closed: `bytes` really left the cgroup
  kDeclined,    // the client said no, or failed; `text` has its words
  kExpired,     // no outcome long after the deadline, or the client left
  kWithheld,    // a need that nobody was asked to meet; `text` says why
  kStalled,     // the domain thrashes: its pages are dropped and read again; `text` has the figures
  kBrakeArmed,  // memory.high set to `bytes`
  kBraking,     // usage reached the brake
  kBrakeReleased,
  kFrozen,     // `cgroup` stands still from now on; `text` says why
  kThawed,     // it goes on; `took` is how long it stood
  kOomKill,    // the kernel killed; `kill` has where and whom
  kUnsavable,  // what no release can free grows into the limit; `text` has the evidence
};

// How a domain stands, for whoever reads the record later.
struct DomainFacts {
  Bytes pressing = 0;               // usage less the page cache that the kernel takes back by itself
  std::optional<MemoryStat> stat;   // the last one
  Bytes lazily_freed_at_least = 0;  // as of stat
  Bytes lazily_freed_at_most = 0;
  double growth = 0;  // of pressing, bytes per second
  Bytes swap_left = 0;
  // What this limit and each one above leaves; the node last. The least of them is what can still be taken.
  struct Headroom {
    CgroupId domain{};
    Bytes bytes = 0;
  };
  std::vector<Headroom> headroom;
};

// One line of the record. Every change of a domain's state and every request leaves one.
struct Note {
  NoteKind kind = NoteKind::kWoke;
  Instant at;
  CgroupId domain{};
  std::optional<CgroupId> cgroup;  // the client's own, where it is not the domain
  std::optional<ClientId> client;
  std::optional<DirectiveId> directive;
  std::string action;  // "release", "collect", "reclaim", ...; empty where there is none
  Bytes bytes = 0;     // asked, or returned; see the kind
  Bytes usage = 0;     // of the domain at that moment
  std::optional<Bytes> limit;
  std::optional<Duration> took;  // from the sending of the directive to its closing
  Reason reason;
  std::optional<DomainFacts> facts;  // of a domain whose level rose
  std::string text;
  std::optional<KillReport> kill;  // kOomKill; by path, because its cgroups may be gone
};

struct Decisions {
  std::vector<Directive> directives;
  std::vector<Reclaim> reclaims;
  std::vector<SetWire> wires;
  std::vector<SetPressureAlarm> pressure_alarms;
  std::vector<SetFreeze> freezes;
  std::vector<SetCadence> cadences;
  std::vector<Note> notes;
  // Cgroups whose last reading is too old to judge, or to measure a request against. Read them with their
  // stat and tick again at once.
  std::vector<CgroupId> read_now;
  std::optional<Instant> next_tick;  // the engine has something to do then even if nothing is heard
};

}  // namespace memgov::core
