#include "governor/sim/process.h"

#include <algorithm>

namespace memgov::sim {
namespace {

// Less than a page is nothing.
constexpr double kNothing = kPage;
constexpr double kLeastSlope = 1;
constexpr double kGoalOfLive = 2;        // GOGC=100
constexpr double kFloorOfLive = 1.2;     // of a soft limit: below it a heap collects all the time
constexpr double kScavengedAbove = 1.1;  // of the goal
constexpr double kCacheFillSeconds = 30;
// The Go client's rule for what its numbers are worth (client/go/internal/heap/sample.go).
constexpr auto kStaleAfter = std::chrono::seconds(3);
constexpr double kFreshShare = 1.0 / 32;
constexpr double kStaleShare = 1.0 / 8;
constexpr double kStaleBytes = 16 * kMiBf;
// A cache that was shed costs so much of the work until it is full again.
constexpr double kCacheIsWorth = 0.1;

void Move(Part& part, double seconds) {
  part.bytes = std::max(part.bytes + part.slope * seconds, 0.0);
  if (part.slope < 0 && part.bytes < kNothing) part.bytes = 0;
}

double Take(Part& part, double bytes) {
  const double taken = std::clamp(bytes, 0.0, part.bytes);
  part.bytes -= taken;
  return taken;
}

}  // namespace

void Process::Begin(Instant now) {
  running_ = true;
  at_ = now;
  live_.bytes = Target();
  retained_.bytes = plan_->old_retained;
  needed_ = plan_->needed_file;
  file_most_ = plan_->file_most;
  if (plan_->heap == Heap::kCaches) cache_.bytes = plan_->cache_bytes;
  if (plan_->heap == Heap::kCollected && plan_->old_retained <= 0) retained_.bytes = Goal() - live_.bytes;
  MarkLive();
}

void Process::Restart(Instant now) {
  at_ = now;
  running_ = true;
  filling_ = true;
  started_ = progress_;
  needed_ = plan_->needed_file;
  file_most_ = plan_->file_most;
  MarkLive();
}

void Process::Die(Instant now) {
  at_ = now;
  running_ = false;
  filling_ = false;
  live_ = retained_ = lazy_ = cache_ = file_ = {};
  needed_ = 0;
  speed_ = 0;
  wanted_slope_ = 0;
  soft_limit_ = 0;
  soft_until_ = eager_until_ = {};
  next_.reset();
}

void Process::Settle(Instant now) {
  const double seconds = SecondsOf(now - at_);
  at_ = now;
  if (!running_ || seconds <= 0) return;
  progress_ += speed_ * seconds;
  for (Part* part : {&live_, &retained_, &lazy_, &cache_, &file_}) Move(*part, seconds);
  if (plan_->heap == Heap::kCollected) Allocate(seconds);
  if (soft_limit_ > 0 && now >= soft_until_) soft_limit_ = 0;
}

void Process::MarkLive() {
  marked_ = live_.bytes;
  allocated_ = 0;
  collected_at_ = at_;
}

// The program collects by itself whenever it has allocated what its goal leaves room for.
void Process::Allocate(double seconds) {
  allocated_ += (plan_->garbage_per_second * speed_ + std::max(live_.slope, 0.0)) * seconds;
  if (allocated_ >= std::max(Goal() - live_.bytes, kMiBf)) MarkLive();
}

core::EstimateKind Process::HeapEstimate() const {
  const bool stale = at_ - collected_at_ >= kStaleAfter;
  if (stale && unmarked() < marked() * kStaleShare && marked() >= kStaleBytes)
    return core::EstimateKind::kNone;
  if (!stale && allocated_ <= (live_.bytes + retained_.bytes) * kFreshShare)
    return core::EstimateKind::kExact;
  return core::EstimateKind::kBound;
}

void Process::Redraw(double speed, double growth_speed) {
  next_.reset();
  if (!running_) return;
  const double idle = std::max(1 - GcShare(), 0.0);
  double penalty = 1;
  if (plan_->heap == Heap::kCaches && plan_->cache_bytes > 0) {
    penalty = 1 - kCacheIsWorth * (1 - cache_.bytes / plan_->cache_bytes);
  }
  const auto draw = [&](double at) {
    next_.reset();
    speed_ = at * idle * penalty;
    DrawLive(speed_);
    if (plan_->heap == Heap::kCollected) {
      DrawCollected(speed_);
    } else {
      DrawKept(speed_);
    }
    return slope();
  };
  wanted_slope_ = draw(speed);
  if (wanted_slope_ > 0 && growth_speed < 1) draw(speed * growth_speed);
  if (soft_limit_ > 0) Propose(SecondsOf(soft_until_ - at_));
  if (eager_until_ > at_) Propose(SecondsOf(eager_until_ - at_));
}

void Process::Propose(double seconds) {
  seconds = std::max(seconds, 1e-6);
  if (!next_ || seconds < *next_) next_ = seconds;
}

// What the work asks for, the page cache it leaves behind, and an application's cache that fills again.
void Process::DrawLive(double speed) {
  const double at = age();
  const double wanted = plan_->demand.SlopeAfter(at) * speed;
  live_.slope = wanted;
  if (speed > 0) {
    if (const auto edge = plan_->demand.NextBreak(at)) Propose((*edge - at) / speed + 1e-9);
  }
  if (filling_) {
    const double gap = Target() - live_.bytes;
    if (gap <= kNothing) {
      filling_ = false;
    } else {
      live_.slope = std::max(plan_->start_speed * speed, 2 * wanted);
      if (live_.slope > wanted) Propose(gap / (live_.slope - wanted));
    }
  } else if (live_.bytes <= 0 && live_.slope < 0) {
    live_.slope = 0;
  }
  file_.slope = file_.bytes + kNothing < file_most_ ? plan_->file_per_second * speed : 0;
  if (file_.slope > 0) Propose((file_most_ - file_.bytes) / file_.slope);
  cache_.slope = 0;
  if (plan_->heap == Heap::kCaches && cache_.bytes + kNothing < plan_->cache_bytes) {
    cache_.slope = plan_->cache_bytes / kCacheFillSeconds * speed;
    if (cache_.slope > 0) Propose((plan_->cache_bytes - cache_.bytes) / cache_.slope);
  }
}

// Free memory is used again before new memory is taken.
void Process::DrawKept(double) {
  retained_.slope = lazy_.slope = 0;
  const double growth = live_.slope;
  if (growth >= 0) {
    Part* from = retained_.bytes > kNothing ? &retained_ : lazy_.bytes > kNothing ? &lazy_ : nullptr;
    if (from == nullptr || growth < kLeastSlope) return;
    from->slope = -growth;
    Propose(from->bytes / growth);
    return;
  }
  if (eager_until_ > at_) return;
  Part& kept = plan_->heap == Heap::kLazy ? lazy_ : retained_;
  if (plan_->heap != Heap::kPlain) kept.slope = -growth * plan_->keep;
}

double Process::Limit() const {
  if (soft_limit_ <= 0 || fixed_limit_ <= 0) return std::max(soft_limit_, fixed_limit_);
  return std::min(soft_limit_, fixed_limit_);
}

double Process::Goal() const {
  const double goal = kGoalOfLive * live_.bytes + 4 * kMiBf;
  if (Limit() <= 0) return goal;
  return std::max(std::min(goal, Limit()), kFloorOfLive * live_.bytes);
}

double Process::Spare() const {
  switch (plan_->heap) {
    case Heap::kCaches:
      return cache_.bytes;
    case Heap::kCollected:
      return std::max(retained_.bytes - (kFloorOfLive - 1) * live_.bytes, 0.0);
    default:
      return retained_.bytes;
  }
}

double Process::GcShare() const {
  if (plan_->heap != Heap::kCollected) return 0;
  const double room = std::max(Goal() - live_.bytes, kMiBf);
  const double collections = plan_->garbage_per_second / room;
  const double share = collections * live_.bytes / kGiBf * kMarkPerGiB * kGcShareOfCpus;
  return std::min(share, kMostGcShare);
}

// The heap's whole size follows its goal: garbage fills it up, then collections hold it there; what is above
// the goal goes back slowly.
void Process::DrawCollected(double speed) {
  lazy_.slope = 0;
  const double size = live_.bytes + retained_.bytes;
  const double goal = Goal();
  const bool limited = Limit() > 0 && goal < kGoalOfLive * live_.bytes;
  const double goal_slope = limited && goal > kFloorOfLive * live_.bytes + kNothing ? 0
                            : limited ? kFloorOfLive * live_.slope
                                      : kGoalOfLive * live_.slope;
  double growth = 0;
  if (size + kNothing < goal) {
    growth = std::max(plan_->garbage_per_second * speed, live_.slope);
    if (growth - goal_slope > kLeastSlope) Propose((goal - size) / (growth - goal_slope));
  } else if (size < goal + kMiBf) {
    growth = std::max(goal_slope, 0.0);
  } else {
    if (size > goal * kScavengedAbove) growth = -kScavengePerSecond;
    if (goal_slope - growth > kLeastSlope) Propose((size - goal) / (goal_slope - growth));
    if (growth < 0) Propose((size - goal * kScavengedAbove) / kScavengePerSecond + 0.05);
  }
  retained_.slope = growth - live_.slope;
  if (retained_.slope < 0) {
    if (retained_.bytes <= kNothing) {
      retained_.slope = 0;
    } else {
      Propose(retained_.bytes / -retained_.slope);
    }
  }
}

std::optional<double> Process::NextChange() const { return next_; }

std::optional<Bytes> Process::soft_limit() const {
  if (soft_limit_ <= 0) return std::nullopt;
  return static_cast<Bytes>(soft_limit_);
}

double Process::Release(double bytes) { return Take(retained_, bytes * plan_->worth); }

double Process::Shed(double bytes) { return Take(cache_, bytes); }

void Process::SetSoftLimit(double bytes, Instant until) {
  soft_limit_ = std::max(bytes, 1.0);
  soft_until_ = until;
}

void Process::SetEager(Instant until) { eager_until_ = std::max(eager_until_, until); }

double Process::TakeFile(double bytes) {
  const double taken = Take(file_, bytes);
  // Read once: it does not come again.
  file_most_ = std::max(file_most_ - taken, 0.0);
  return taken;
}

double Process::TakeLazy(double bytes) { return Take(lazy_, bytes); }

double Process::TakeNeeded(double bytes) {
  const double taken = std::clamp(bytes, 0.0, needed_);
  needed_ -= taken;
  return taken;
}

void Process::Refill(double bytes) { needed_ = std::min(needed_ + bytes, plan_->needed_file); }

}  // namespace memgov::sim
