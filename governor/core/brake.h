// The brake of one limit domain (cgroup v2): memory.high at the wire slows a fast grower for the moment that
// others need to give memory back, and its event is our alarm.
//
// A brake is a loan from the container, so it has rules: only where somebody can be asked, armed above usage,
// never over a value that someone else set, let go when help is not coming or an episode has lasted
// `longest`, and not armed again before usage has relaxed. Without the brake a grower at full speed is killed
// before the first alarm; braked for too long it would be worse off than killed.

#pragma once

#include <optional>

#include "governor/core/decision.h"
#include "governor/core/policy.h"
#include "governor/core/units.h"

namespace memgov::core {

struct BrakeView {
  bool allowed = false;      // v2, enforced by policy, and the subtree has a client that can give memory
  bool help_coming = false;  // a request is in flight or can be sent now
  Bytes usage = 0;
  Bytes limit = 0;
  std::optional<Bytes> memory_high;  // as last sampled
  Instant sampled_at;
};

struct BrakeChange {
  NoteKind kind = NoteKind::kBrakeArmed;  // or kBraking, kBrakeReleased
  bool write = false;                     // `high` is to be written (absent: max)
  std::optional<Bytes> high;
  const char* why = "";
};

class Brake {
 public:
  std::optional<BrakeChange> Observe(Instant now, const Rule& rule, const BrakeView& view);

  // Ours to restore: armed or braking.
  bool holds() const { return state_ == State::kArmed || state_ == State::kBraking; }
  bool braking() const { return state_ == State::kBraking; }
  // When the episode must end, while braking.
  std::optional<Instant> ends_at() const;

 private:
  enum class State { kOff, kArmed, kBraking, kSpent };

  std::optional<BrakeChange> WhileOff(Instant now, const BrakeView& view, Bytes at);
  std::optional<BrakeChange> WhileArmed(Instant now, const Rule& rule, const BrakeView& view, Bytes at);
  std::optional<BrakeChange> WhileBraking(Instant now, const Rule& rule, const BrakeView& view);
  BrakeChange LetGo(State next, const char* why);

  State state_ = State::kOff;
  Bytes high_ = 0;  // what we wrote
  Instant written_at_;
  Instant braking_since_;
  Instant help_seen_at_;
  Duration longest_{};
};

}  // namespace memgov::core
