#include "governor/core/explain.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace memgov::core {

std::string TextOf(const Reason& reason) {
  const auto held_ms = std::chrono::duration_cast<std::chrono::milliseconds>(reason.held).count();
  if (reason.signal == Signal::kTimeToLimit) {
    return absl::StrFormat("rule %s: %.2f s to the limit at the present growth, threshold %.2f s, for %d ms",
                           reason.rule, reason.observed, reason.threshold, held_ms);
  }
  if (reason.signal == Signal::kStall) {
    return absl::StrFormat("rule %s: stalled on memory %.0f %% of the time, threshold %g %%, for %d ms",
                           reason.rule, reason.observed, reason.threshold, held_ms);
  }
  if (reason.signal == Signal::kSoftLimit) {
    return absl::StrFormat("rule %s: soft limits take %g %% of the limit, usage is %.1f %%", reason.rule,
                           reason.threshold, reason.observed);
  }
  if (reason.signal == Signal::kCalm) {
    return absl::StrFormat("rule %s: usage %.1f %% of the limit, calm below %g %%", reason.rule,
                           reason.observed, reason.threshold);
  }
  return absl::StrFormat("rule %s: usage %.1f %% of the limit, threshold %g %%, for %d ms", reason.rule,
                         reason.observed, reason.threshold, held_ms);
}

std::string TextOf(const KillReport& report) {
  const std::string where =
      report.domain == "/" ? "out of the node's memory" : "at the limit of " + report.domain;
  if (!report.victim) {
    return absl::StrCat(report.count, " OOM kill", report.count == 1 ? "" : "s", " in ", report.cgroup,
                        report.domain == report.cgroup ? "" : ", " + where);
  }
  const KilledProcess& victim = *report.victim;
  std::string text =
      report.cgroup.empty()
          ? absl::StrFormat("OOM kill in a cgroup that was gone before it was seen: %s (pid %d)", victim.name,
                            victim.pid)
          : absl::StrFormat("OOM kill %s: %s (pid %d) in %s", where, victim.name, victim.pid, report.cgroup);
  const ProcessSize* next = nullptr;
  for (const ProcessSize& process : victim.processes) {
    if (process.pid == victim.pid) {
      absl::StrAppend(&text, "; it held ", TextOf(process.rss));
    } else if (next == nullptr) {
      next = &process;
    }
  }
  if (next != nullptr) {
    absl::StrAppendFormat(&text, "; the next largest: %s (pid %d) with %s", next->name, next->pid,
                          TextOf(next->rss));
  }
  return text;
}

std::string TextOf(Bytes bytes) {
  const double value = static_cast<double>(bytes);
  const double magnitude = value < 0 ? -value : value;
  if (magnitude >= static_cast<double>(10 * kGiB)) return absl::StrFormat("%.1f GiB", value / kGiB);
  if (magnitude >= static_cast<double>(kMiB)) return absl::StrFormat("%.1f MiB", value / kMiB);
  if (magnitude >= static_cast<double>(kKiB)) return absl::StrFormat("%.1f KiB", value / kKiB);
  return absl::StrCat(bytes, " B");
}

}  // namespace memgov::core
