// The freeze of one limit domain (cgroup v1, where no memory.high slows anybody): the fastest grower stands
// still for a moment while somebody else's memory comes back.
//
// It is a loan like the brake (brake.h), and a dearer one: a service answers nobody meanwhile. So it is only
// for a policy that asks for it, and only while a client is at work on a request; it ends at once when that
// ends, at the latest after `freeze_longest`, and then the domain may not freeze anybody for ten times as
// long as it stood. Who is frozen is the engine's choice (engine_freeze.cc).

#pragma once

#include <optional>

#include "governor/core/snapshot.h"
#include "governor/core/units.h"

namespace memgov::core {

struct FreezeView {
  bool allowed = false;      // v1, and the policy enforces it
  bool in_need = false;      // the domain became critical and has not relaxed since
  bool help_coming = false;  // a request for memory is in flight to a client of the domain
  // Before an episode: whom to freeze, if anybody.
  std::optional<CgroupId> grower;
  // During one, of the frozen cgroup.
  bool gone = false;
  bool has_client = false;  // one has come that we may want to ask
  bool failed = false;      // it could not be frozen
};

struct FreezeChange {
  CgroupId cgroup{};
  bool on = false;
  Duration stood{};  // when off
  const char* why = "";
};

class Freeze {
 public:
  // `longest` bounds the episode that begins now; one that has begun keeps its own.
  std::optional<FreezeChange> Observe(Instant now, Duration longest, const FreezeView& view);

  bool MayBegin(Instant now) const { return !frozen_ && now >= again_at_; }
  // Who stands still.
  std::optional<CgroupId> frozen() const { return frozen_; }
  // When the episode must end, during one.
  std::optional<Instant> ends_at() const;

 private:
  const char* WhyEnd(Instant now, const FreezeView& view) const;

  std::optional<CgroupId> frozen_;
  Instant since_;
  Duration longest_{};
  Instant again_at_;
};

}  // namespace memgov::core
