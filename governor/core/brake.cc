#include "governor/core/brake.h"

namespace memgov::core {
namespace {

constexpr Bytes kPage = 4096;
// A sample taken this soon after a write may still show the value before it.
constexpr auto kWriteSettles = std::chrono::seconds(1);
// How long a braking domain waits for help to turn up before the brake is let go.
constexpr auto kHelpGrace = std::chrono::milliseconds(250);

Bytes PercentOf(Bytes limit, double percent) {
  const auto bytes = static_cast<Bytes>(static_cast<double>(limit) * percent / 100);
  return bytes / kPage * kPage;  // the kernel rounds to pages; so our value reads back as written
}

}  // namespace

std::optional<Instant> Brake::ends_at() const {
  if (state_ != State::kBraking) return std::nullopt;
  return braking_since_ + longest_;
}

BrakeChange Brake::LetGo(State next, const char* why) {
  state_ = next;
  return {.kind = NoteKind::kBrakeReleased, .write = true, .high = std::nullopt, .why = why};
}

std::optional<BrakeChange> Brake::WhileOff(Instant now, const BrakeView& view, Bytes at) {
  if (!view.allowed || view.memory_high || view.usage >= at) return std::nullopt;
  state_ = State::kArmed;
  high_ = at;
  written_at_ = now;
  return BrakeChange{.kind = NoteKind::kBrakeArmed, .write = true, .high = at, .why = "armed above usage"};
}

std::optional<BrakeChange> Brake::WhileArmed(Instant now, const Rule& rule, const BrakeView& view, Bytes at) {
  if (!view.allowed) return LetGo(State::kOff, "nobody can be asked here any more");
  if (view.sampled_at - written_at_ >= kWriteSettles && view.memory_high != high_) {
    // Someone else wrote: a foreign value stays, a reset one is armed again from kOff.
    state_ = State::kOff;
    return BrakeChange{.kind = NoteKind::kBrakeReleased, .why = "memory.high was changed by someone else"};
  }
  if (view.usage >= high_) {
    state_ = State::kBraking;
    braking_since_ = now;
    help_seen_at_ = now;
    longest_ = rule.brake.longest;
    return BrakeChange{.kind = NoteKind::kBraking, .why = "usage reached memory.high"};
  }
  if (at == high_) return std::nullopt;
  if (view.usage >= at) return LetGo(State::kSpent, "the limit fell, usage is above the new wire");
  high_ = at;
  written_at_ = now;
  return BrakeChange{.kind = NoteKind::kBrakeArmed, .write = true, .high = at, .why = "the wire moved"};
}

std::optional<BrakeChange> Brake::WhileBraking(Instant now, const Rule& rule, const BrakeView& view) {
  if (!view.allowed) return LetGo(State::kSpent, "nobody can be asked here any more");
  if (view.usage < PercentOf(view.limit, rule.relax_percent)) {
    state_ = State::kArmed;
    return std::nullopt;
  }
  if (now - braking_since_ >= longest_) return LetGo(State::kSpent, "the longest episode is over");
  if (view.help_coming) help_seen_at_ = now;
  if (now - help_seen_at_ >= kHelpGrace) return LetGo(State::kSpent, "no help is coming");
  return std::nullopt;
}

std::optional<BrakeChange> Brake::Observe(Instant now, const Rule& rule, const BrakeView& view) {
  const Bytes at = PercentOf(view.limit, rule.brake.at_percent);
  switch (state_) {
    case State::kOff:
      return WhileOff(now, view, at);
    case State::kArmed:
      return WhileArmed(now, rule, view, at);
    case State::kBraking:
      return WhileBraking(now, rule, view);
    case State::kSpent:
      if (view.usage < PercentOf(view.limit, rule.relax_percent)) state_ = State::kOff;
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace memgov::core
