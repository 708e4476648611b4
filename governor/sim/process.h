// One program's memory between two events: every part grows or shrinks along a straight line, and the program
// knows when the next line begins.
//
// The parts: live (used), retained (free, kept by its allocator or not yet collected), lazy (freed lazily),
// cache (an application's own), file (page cache left behind), needed (file pages it runs through).

#pragma once

#include <algorithm>
#include <optional>

#include "governor/core/client_event.h"
#include "governor/sim/scenario.h"

namespace memgov::sim {

struct Part {
  double bytes = 0;
  double slope = 0;  // bytes per second
};

class Process {
 public:
  Process() = default;
  // `plan` must outlive the process. Nothing is running yet.
  explicit Process(const ServicePlan* plan) : plan_(plan) {}

  // Begins the story: full of what the demand says.
  void Begin(Instant now);
  // Starts after a kill: empty, and filling up.
  void Restart(Instant now);
  // All memory goes; work stands still.
  void Die(Instant now);

  // Brings all parts to `now` along their lines.
  void Settle(Instant now);
  // Draws the lines anew: the program runs at `speed` (0 to 1), its growth at `growth_speed` if it grows.
  // Call after Settle and after every change.
  void Redraw(double speed, double growth_speed);
  // Seconds from now until the lines must be drawn anew; absent: never.
  std::optional<double> NextChange() const;

  bool running() const { return running_; }
  double usage() const {
    return live_.bytes + retained_.bytes + lazy_.bytes + cache_.bytes + file_.bytes + needed_;
  }
  double slope() const { return live_.slope + retained_.slope + lazy_.slope + cache_.slope + file_.slope; }
  // What it would grow by if nothing held it up.
  double wanted_slope() const { return wanted_slope_; }
  double live() const { return live_.bytes; }
  double retained() const { return retained_.bytes; }
  // What the runtime of a collected heap knows: what was live at its last collection. All else in the heap
  // counts as free, what has grown since then too; what has died since then counts as live.
  double marked() const { return std::min(marked_, live_.bytes + retained_.bytes); }
  double unmarked() const { return live_.bytes + retained_.bytes - marked(); }
  core::EstimateKind HeapEstimate() const;
  // A collection was made on request, just now.
  void MarkLive();
  double lazy() const { return lazy_.bytes; }
  double cache() const { return cache_.bytes; }
  double file() const { return file_.bytes; }
  double needed() const { return needed_; }
  double needed_missing() const { return running_ ? plan_->needed_file - needed_ : 0; }
  double anon() const { return live_.bytes + retained_.bytes + lazy_.bytes + cache_.bytes; }
  double work() const { return progress_ - lost_; }
  std::optional<Bytes> soft_limit() const;
  const ServicePlan& plan() const { return *plan_; }

  // What a client can do; each returns the bytes that left, after Settle. The caller draws anew.
  double Release(double bytes);  // retained memory
  double Shed(double bytes);     // the application's cache
  void SetSoftLimit(double bytes, Instant until);
  void SetEager(Instant until);
  // As GOMEMLIMIT does: for good, and again after a restart.
  void SetFixedLimit(double bytes) { fixed_limit_ = bytes; }
  // What the kernel can take.
  double TakeFile(double bytes);
  double TakeLazy(double bytes);
  double TakeNeeded(double bytes);
  void Refill(double bytes);
  void Lose(double seconds) { lost_ += seconds; }

  // What is free and what could be asked for at most: of a collected heap so much that it need not collect
  // all the time afterwards.
  double Spare() const;

 private:
  void DrawLive(double speed);
  void DrawKept(double speed);
  void DrawCollected(double speed);
  void Allocate(double seconds);
  void Propose(double seconds);
  double Goal() const;
  double Limit() const;  // of a collected heap; 0: none
  double GcShare() const;
  double Target() const { return plan_->demand.At(age()); }
  double age() const { return plan_->starts_afresh ? progress_ - started_ : progress_; }

  const ServicePlan* plan_ = nullptr;
  bool running_ = false;
  bool filling_ = false;  // up to what the demand says
  Instant at_;
  double progress_ = 0;  // seconds of work
  double started_ = 0;   // the progress when it started last
  double speed_ = 0;
  double marked_ = 0;
  double allocated_ = 0;  // since the last collection
  Instant collected_at_;
  double lost_ = 0;
  Part live_, retained_, lazy_, cache_, file_;
  double needed_ = 0;
  double file_most_ = 0;
  double wanted_slope_ = 0;
  double soft_limit_ = 0;  // 0: none
  double fixed_limit_ = 0;
  Instant soft_until_, eager_until_;
  std::optional<double> next_;
};

}  // namespace memgov::sim
