#include "governor/core/freeze.h"

namespace memgov::core {
namespace {

// At most one part in eleven of its time does a service stand still.
constexpr int kPauses = 10;

}  // namespace

std::optional<Instant> Freeze::ends_at() const {
  if (!frozen_) return std::nullopt;
  return since_ + longest_;
}

std::optional<FreezeChange> Freeze::Observe(Instant now, Duration longest, const FreezeView& view) {
  if (!frozen_) {
    const bool wanted = view.allowed && view.in_need && view.help_coming && view.grower;
    if (!wanted || !MayBegin(now)) return std::nullopt;
    frozen_ = view.grower;
    since_ = now;
    longest_ = longest;
    return FreezeChange{.cgroup = *frozen_, .on = true, .why = "it grows fastest, and help is coming"};
  }
  const char* const why = WhyEnd(now, view);
  if (why == nullptr) return std::nullopt;
  const FreezeChange end{.cgroup = *frozen_, .on = false, .stood = now - since_, .why = why};
  // What failed once is likely to fail again: the longest pause.
  again_at_ = now + kPauses * (view.failed ? longest_ : end.stood);
  frozen_.reset();
  return end;
}

const char* Freeze::WhyEnd(Instant now, const FreezeView& view) const {
  if (view.failed) return "it could not be frozen";
  if (view.gone) return "its cgroup is gone";
  if (!view.allowed) return "the policy does not allow it any more";
  if (view.has_client) return "a client has come in it";
  if (!view.in_need) return "the need is over";
  if (!view.help_coming) return "no help is coming any more";
  if (now - since_ >= longest_) return "the longest freeze is over";
  return nullptr;
}

}  // namespace memgov::core
