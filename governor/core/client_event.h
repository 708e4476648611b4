// What clients said, in the core's words. session/ translates from the wire, so that no protobuf type gets
// here.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "governor/core/snapshot.h"
#include "governor/core/units.h"

namespace memgov::core {

// Names one attached stream for the life of the daemon; never reused.
enum class ClientId : std::uint64_t {};
enum class DirectiveId : std::uint64_t {};

enum class ReleaseMode { kUnknown, kLazy, kEager };
enum class StallClass { kUnknown, kShort, kMedium, kLong };
enum class EstimateKind { kNone, kBound, kExact };

struct Capabilities {
  bool set_release_mode = false;
  bool release = false;
  bool release_in_chunks = false;
  bool collect = false;
  bool set_soft_limit = false;
  bool shed = false;
  bool retroactive = false;
  bool needs_owner_thread = false;
  StallClass stall_class = StallClass::kUnknown;
};

// An attested process said Hello and was welcomed.
struct ClientAttached {
  ClientId client{};
  CgroupId cgroup{};  // the innermost known cgroup that holds the process
  int pid = 0;        // in our pid namespace, as the kernel said it
  std::string name;   // for people; chosen by the peer
  std::string runtime;
  Capabilities capabilities;
  ReleaseMode startup_release_mode = ReleaseMode::kUnknown;
};

struct ClientReport {
  ClientId client{};
  Instant received_at;
  Bytes live = 0;
  Bytes retained = 0;
  EstimateKind retained_kind = EstimateKind::kNone;
  Bytes lazily_freed = 0;
  Bytes non_heap = 0;
  std::optional<Bytes> soft_limit;
  std::optional<double> gc_cpu_fraction;
  ReleaseMode release_mode = ReleaseMode::kUnknown;
};

enum class OutcomeStatus { kDone, kDeclined, kFailed };

struct ClientOutcome {
  ClientId client{};
  DirectiveId directive{};
  Instant received_at;
  OutcomeStatus status = OutcomeStatus::kFailed;
  std::string why;
  Bytes before = 0;
  Bytes after = 0;
  Duration wall{};
  Duration cpu{};
};

struct ClientDetached {
  ClientId client{};
};

using ClientEvent = std::variant<ClientAttached, ClientReport, ClientOutcome, ClientDetached>;

}  // namespace memgov::core
