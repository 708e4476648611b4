#include "governor/core/brake.h"

#include <algorithm>

#include "governor/core/range.h"

namespace memgov::core {
namespace {

constexpr Bytes kPage = 4096;
// The kernel charges and reclaims in batches of 64 pages a CPU; usage that it holds at memory.high hovers
// within a few of them.
constexpr Bytes kHover = kMiB;
// memory.high is read once a second and written by a worker, so a sample this soon after may show the value
// before ours.
constexpr auto kWriteSettles = std::chrono::seconds(3);
// Someone who keeps resetting memory.high is not fought: wait 1 s, 2 s, ... 64 s before it is armed again.
constexpr auto kArmAgain = std::chrono::seconds(1);
constexpr int kMostDoublings = 6;
// What could not be kept for a reason of ours (the guard has died, a read-only mount) is nobody's wish.
constexpr int kMostDoublingsOfOurs = 2;
// Usage that swings around the wire because cache comes and goes must not make us write all the time.
constexpr auto kArmBesideCache = std::chrono::seconds(10);
// Where need will follow so soon, page cache that has reached the brake gives way to it, for so long at most.
constexpr Duration kNeedIsNear = std::chrono::seconds(2);
// How long a braking domain waits for help to turn up before the brake is let go.
constexpr auto kHelpGrace = std::chrono::milliseconds(250);

Bytes PercentOf(Bytes limit, double percent) { return BytesOf(static_cast<double>(limit) * percent / 100); }

// The kernel rounds down to pages; so our value reads back as written.
Bytes PageAtOrAbove(Bytes bytes) { return (bytes + kPage - 1) / kPage * kPage; }

bool HasRelaxed(const Rule& rule, const BrakeView& view) {
  return view.pressing < PercentOf(view.limit, rule.relax_percent);
}

}  // namespace

double Brake::PercentFor(const Rule& rule) {
  // Below the wake threshold the brake would slow a domain for which nobody is asked.
  return std::max(rule.brake.at_percent, rule.wake.usage_percent.value_or(0));
}

Brake::Wire Brake::WireFor(const Rule& rule, Bytes limit) {
  const Bytes reached = PageAtOrAbove(PercentOf(limit, PercentFor(rule)));
  return {.reached = reached, .high = reached + kHover};
}

std::optional<Instant> Brake::ends_at() const {
  if (state_ != State::kBraking) return std::nullopt;
  return braking_since_ + longest_;
}

BrakeChange Brake::Arm(Instant now, const Wire& wire, const char* why) {
  state_ = State::kArmed;
  cache_since_.reset();
  wire_ = wire;
  written_at_ = now;
  return {.kind = NoteKind::kBrakeArmed, .write = true, .high = wire.high, .why = why};
}

BrakeChange Brake::LetGo(State next, const char* why) {
  state_ = next;
  return {.kind = NoteKind::kBrakeReleased, .write = true, .high = std::nullopt, .why = why};
}

std::optional<BrakeChange> Brake::WhileOff(Instant now, const BrakeView& view, const Wire& wire) {
  if (!view.allowed || !view.just_read || view.memory_high || now < arm_again_at_) return std::nullopt;
  if (view.usage >= wire.reached || wire.high >= view.limit) return std::nullopt;
  return Arm(now, wire, "armed above usage");
}

// Never written over: a foreign value stays, a reset one is armed again later. The write that LetGo asks for
// only takes away what is ours.
std::optional<BrakeChange> Brake::WhenLost(Instant now, const BrakeView& view) {
  const State next = state_ == State::kBraking ? State::kSpent : State::kOff;
  const bool settled = view.sampled_at - written_at_ >= kWriteSettles;
  if (!view.lost && (!settled || view.memory_high == wire_.high)) {
    if (settled) lost_ = 0;
    return std::nullopt;
  }
  const bool ours = view.lost && !view.lost->foreign;
  arm_again_at_ = now + kArmAgain * (1 << (ours ? std::min(lost_, kMostDoublingsOfOurs) : lost_));
  lost_ = std::min(lost_ + 1, kMostDoublings);
  if (ours) return LetGo(next, "the brake could not be kept");
  return LetGo(next, "memory.high does not hold our value: someone else sets it");
}

std::optional<BrakeChange> Brake::WhileArmed(Instant now, const Rule& rule, const BrakeView& view,
                                             const Wire& wire) {
  if (!view.allowed) return LetGo(State::kOff, "nobody can be asked here any more");
  if (auto lost = WhenLost(now, view)) return lost;
  if (view.usage >= wire_.reached && HasRelaxed(rule, view)) {
    if (CacheGivesWay(now, rule, view)) return std::nullopt;
    return MakeRoomForCache(now);
  }
  cache_since_.reset();
  if (view.usage >= wire_.reached) {
    state_ = State::kBraking;
    braking_since_ = now;
    help_seen_at_ = now;
    longest_ = rule.brake.longest;
    return BrakeChange{.kind = NoteKind::kBraking, .high = wire_.high, .why = "usage reached the brake"};
  }
  if (wire.high == wire_.high || !view.just_read) return std::nullopt;
  if (view.usage >= wire.reached) return LetGo(State::kSpent, "the limit fell, usage is above the new wire");
  if (wire.high >= view.limit) return LetGo(State::kOff, "the limit is too small for a brake");
  return Arm(now, wire, "the wire moved");
}

// Once let go for page cache, the brake could not be armed above usage again, and what grows as fast as a
// program that starts would find none. Held no longer than an episode may last.
bool Brake::CacheGivesWay(Instant now, const Rule& rule, const BrakeView& view) {
  if (!cache_since_) cache_since_ = now;
  return view.time_to_limit && *view.time_to_limit < kNeedIsNear &&
         now - *cache_since_ < std::min(kNeedIsNear, rule.brake.longest);
}

// Page cache alone reached the wire. The container may fill its limit with that: nothing is short.
BrakeChange Brake::MakeRoomForCache(Instant now) {
  arm_again_at_ = now + kArmBesideCache;
  return LetGo(State::kOff, "only page cache has reached it");
}

std::optional<BrakeChange> Brake::WhileBraking(Instant now, const Rule& rule, const BrakeView& view) {
  if (!view.allowed) return LetGo(State::kSpent, "nobody can be asked here any more");
  if (auto lost = WhenLost(now, view)) return lost;
  if (view.usage >= wire_.reached && HasRelaxed(rule, view)) return MakeRoomForCache(now);
  if (HasRelaxed(rule, view)) {
    state_ = State::kArmed;
    return BrakeChange{.kind = NoteKind::kBrakeArmed, .high = wire_.high, .why = "usage has relaxed"};
  }
  if (now - braking_since_ >= longest_) return LetGo(State::kSpent, "the longest episode is over");
  if (view.thrashes) return LetGo(State::kSpent, "it thrashes at the brake");
  if (view.help_coming) help_seen_at_ = now;
  if (now - help_seen_at_ >= kHelpGrace) return LetGo(State::kSpent, "no help is coming");
  return std::nullopt;
}

std::optional<BrakeChange> Brake::Observe(Instant now, const Rule& rule, const BrakeView& view) {
  switch (state_) {
    case State::kOff:
      return WhileOff(now, view, WireFor(rule, view.limit));
    case State::kArmed:
      return WhileArmed(now, rule, view, WireFor(rule, view.limit));
    case State::kBraking:
      return WhileBraking(now, rule, view);
    case State::kSpent:
      if (HasRelaxed(rule, view)) state_ = State::kOff;
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace memgov::core
