// The brake of one limit domain (cgroup v2): memory.high at the wire slows a fast grower for the moment that
// others need to give memory back, and its event is our alarm.
//
// A brake is a loan from the container, so it has rules: only where somebody can be asked, armed above usage,
// never over a value that someone else set, let go when help is not coming, when the domain thrashes under it
// or when an episode has lasted `longest`, and not armed again before usage has relaxed. Without the brake a
// grower at full speed is killed before the first alarm; braked for too long it would be worse off than
// killed.
//
// The kernel reclaims back to memory.high and a little below, so usage that hovers there never reads above
// it. Therefore memory.high stands a little above the threshold at which the episode, and the domain's need,
// begin.

#pragma once

#include <optional>

#include "governor/core/decision.h"
#include "governor/core/policy.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"

namespace memgov::core {

struct BrakeView {
  bool allowed = false;      // v2, enforced by policy, and the subtree has a client that can give memory
  bool help_coming = false;  // a request is in flight, or soon will be
  bool thrashes = false;     // its own code is read again and again: who is to help cannot
  Bytes usage = 0;
  Bytes pressing = 0;                     // usage less what the kernel takes back by itself (world.h)
  Bytes limit = 0;                        // 0: none
  std::optional<Duration> time_to_limit;  // forecast of pressing usage
  std::optional<Bytes> memory_high;       // as last sampled
  Instant sampled_at;
  bool just_read = false;         // sampled_at is so near to now that usage has hardly moved
  std::optional<BrakeLost> lost;  // since the last Observe
};

struct BrakeChange {
  NoteKind kind = NoteKind::kBrakeArmed;  // or kBraking, kBrakeReleased
  bool write = false;                     // `high` is to be written (absent: ours is to be taken away)
  std::optional<Bytes> high;
  const char* why = "";
};

class Brake {
 public:
  // The wire of `rule` in a domain with this limit, whole pages.
  struct Wire {
    Bytes reached = 0;  // usage from here on is an episode
    Bytes high = 0;     // what memory.high is set to
  };
  static Wire WireFor(const Rule& rule, Bytes limit);
  // Where it stands, in percent of the limit.
  static double PercentFor(const Rule& rule);

  std::optional<BrakeChange> Observe(Instant now, const Rule& rule, const BrakeView& view);

  // Ours to restore: armed or braking.
  bool holds() const { return state_ == State::kArmed || state_ == State::kBraking; }
  bool braking() const { return state_ == State::kBraking; }
  // When the episode must end, while braking.
  std::optional<Instant> ends_at() const;

 private:
  enum class State { kOff, kArmed, kBraking, kSpent };

  std::optional<BrakeChange> WhileOff(Instant now, const BrakeView& view, const Wire& wire);
  std::optional<BrakeChange> WhileArmed(Instant now, const Rule& rule, const BrakeView& view,
                                        const Wire& wire);
  std::optional<BrakeChange> WhileBraking(Instant now, const Rule& rule, const BrakeView& view);
  BrakeChange Arm(Instant now, const Wire& wire, const char* why);
  bool CacheGivesWay(Instant now, const Rule& rule, const BrakeView& view);
  BrakeChange MakeRoomForCache(Instant now);
  BrakeChange LetGo(State next, const char* why);
  std::optional<BrakeChange> WhenLost(Instant now, const BrakeView& view);

  State state_ = State::kOff;
  Wire wire_;  // of what we wrote
  Instant written_at_;
  int lost_ = 0;  // how often in a row memory.high did not hold what we wrote
  Instant arm_again_at_;
  std::optional<Instant> cache_since_;  // page cache alone has reached it
  Instant braking_since_;
  Instant help_seen_at_;
  Duration longest_{};
};

}  // namespace memgov::core
