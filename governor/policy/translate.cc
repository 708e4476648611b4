#include "governor/policy/translate.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace memgov::policy {
namespace {

// oomd and koordlet release to a target below their trigger; 5 points is what their operators settled on.
constexpr double kRelaxBelowWake = 5;

core::Duration Nanoseconds(std::int64_t ns) { return std::chrono::nanoseconds(ns); }

// A threshold's 0 is the file's `never`.
std::optional<double> PercentOrNever(double percent) {
  return percent == 0 ? std::nullopt : std::optional(percent);
}
std::optional<core::Duration> DurationOrNever(std::int64_t ns) {
  return ns == 0 ? std::nullopt : std::optional(Nanoseconds(ns));
}

core::ActionKind ToCore(int action) {
  switch (action) {
    case v1::Rule::ACTION_SET_RELEASE_MODE:
      return core::ActionKind::kSetReleaseMode;
    case v1::Rule::ACTION_SET_SOFT_LIMIT:
      return core::ActionKind::kSetSoftLimit;
    case v1::Rule::ACTION_COLLECT:
      return core::ActionKind::kCollect;
    case v1::Rule::ACTION_SHED:
      return core::ActionKind::kShed;
    case v1::Rule::ACTION_RECLAIM:
      return core::ActionKind::kReclaim;
    default:
      return core::ActionKind::kRelease;
  }
}

core::QosClass ToCore(v1::Rule::Match::Qos qos) {
  switch (qos) {
    case v1::Rule::Match::QOS_BURSTABLE:
      return core::QosClass::kBurstable;
    case v1::Rule::Match::QOS_BESTEFFORT:
      return core::QosClass::kBestEffort;
    default:
      return core::QosClass::kGuaranteed;
  }
}

core::Runtime ToCore(v1::Rule::Match::Runtime runtime) {
  switch (runtime) {
    case v1::Rule::Match::RUNTIME_CONTAINERD:
      return core::Runtime::kContainerd;
    case v1::Rule::Match::RUNTIME_CRIO:
      return core::Runtime::kCrio;
    case v1::Rule::Match::RUNTIME_DOCKER:
      return core::Runtime::kDocker;
    case v1::Rule::Match::RUNTIME_PODMAN:
      return core::Runtime::kPodman;
    case v1::Rule::Match::RUNTIME_CTR:
      return core::Runtime::kCtr;
    case v1::Rule::Match::RUNTIME_SYSTEMD:
      return core::Runtime::kSystemd;
    default:
      return core::Runtime::kUnknown;
  }
}

void TranslateMatch(const v1::Rule::Match& match, core::Rule& rule) {
  if (match.has_cgroup()) rule.cgroup = match.cgroup();
  if (match.has_pod_namespace()) rule.names.pod_namespace = match.pod_namespace();
  if (match.has_pod()) rule.names.pod = match.pod();
  if (match.has_container()) rule.names.container = match.container();
  if (match.has_qos()) rule.names.qos = ToCore(match.qos());
  if (match.has_runtime()) rule.names.runtime = ToCore(match.runtime());
}

// Wake, critical, relax and brake: the thresholds on usage and time.
void TranslateThresholds(const v1::Rule& file, core::Rule& rule) {
  const v1::Rule::Wake& wake = file.wake();
  if (wake.has_usage_percent()) rule.wake.usage_percent = PercentOrNever(wake.usage_percent());
  if (wake.has_time_to_limit_ns()) rule.wake.time_to_limit = DurationOrNever(wake.time_to_limit_ns());
  if (wake.has_stall_percent()) rule.wake.stall_percent = PercentOrNever(wake.stall_percent());

  const v1::Rule::Critical& critical = file.critical();
  if (critical.has_usage_percent()) rule.critical.usage_percent = PercentOrNever(critical.usage_percent());
  if (critical.has_time_to_limit_ns()) {
    rule.critical.time_to_limit = DurationOrNever(critical.time_to_limit_ns());
  }
  if (critical.has_stall_percent()) rule.critical.stall_percent = PercentOrNever(critical.stall_percent());

  if (rule.wake.usage_percent) {
    rule.relax_percent = *rule.wake.usage_percent - kRelaxBelowWake;
    rule.brake.at_percent = *rule.wake.usage_percent;
  }
  if (file.relax().has_usage_percent()) rule.relax_percent = file.relax().usage_percent();
  const v1::Rule::Brake& brake = file.brake();
  if (brake.has_enabled()) rule.brake.enabled = brake.enabled();
  if (brake.has_at_percent()) rule.brake.at_percent = brake.at_percent();
  if (brake.has_longest_ns()) rule.brake.longest = Nanoseconds(brake.longest_ns());
  if (brake.has_freeze()) rule.brake.freeze = brake.freeze();
  if (brake.has_freeze_longest_ns()) rule.brake.freeze_longest = Nanoseconds(brake.freeze_longest_ns());
}

core::Rule Translate(const v1::Rule& file) {
  core::Rule rule;
  rule.name = file.name();
  TranslateMatch(file.match(), rule);
  if (file.has_mode()) {
    rule.mode = file.mode() == v1::Rule::MODE_ENFORCE ? core::Mode::kEnforce : core::Mode::kObserve;
  }
  if (file.protect().has_weight()) rule.protect_weight = file.protect().weight();
  TranslateThresholds(file, rule);
  if (file.actions_size() > 0) {
    rule.actions.clear();
    for (const int action : file.actions()) rule.actions.push_back(ToCore(action));
  }
  const v1::Rule::Pace& pace = file.pace();
  if (pace.has_cooldown_ns()) rule.pace.cooldown = Nanoseconds(pace.cooldown_ns());
  if (pace.has_longest_stall_ns()) rule.pace.longest_stall = Nanoseconds(pace.longest_stall_ns());
  if (pace.has_deadline_ns()) rule.pace.deadline = Nanoseconds(pace.deadline_ns());
  if (pace.has_ttl_ns()) rule.pace.ttl = Nanoseconds(pace.ttl_ns());
  if (pace.has_gc_cpu_percent()) rule.pace.gc_cpu_percent = pace.gc_cpu_percent();
  if (file.soft_limit().has_follow_percent()) {
    rule.soft_limit.follow_percent = PercentOrNever(file.soft_limit().follow_percent());
  }
  if (file.calm().has_release_mode()) {
    const bool lazy = file.calm().release_mode() == v1::Rule::Calm::RELEASE_MODE_LAZY;
    rule.calm.release_mode = lazy ? core::ReleaseMode::kLazy : core::ReleaseMode::kUnknown;
  }
  return rule;
}

// One key of a rule as the checks between keys see it.
struct Setting {
  std::string name;             // "wake.usage"
  std::string text;             // its value as an author would write it
  std::optional<double> value;  // nothing: never
  const Origin* written = nullptr;
  bool valid = true;
};

// The checks within one rule. `file` and `rule` are the same rule before and after translation.
class RuleChecks {
 public:
  RuleChecks(const v1::Rule& file, const core::Rule& rule, int index, const Origins& origins,
             ErrorList& errors)
      : file_(file),
        rule_(rule),
        place_(fmt::format("rules[{}].", index)),
        origins_(origins),
        errors_(errors) {}

  void Run() {
    const Setting wake = Percent("wake", file_.wake(), "usage", rule_.wake.usage_percent);
    const Setting critical = Percent("critical", file_.critical(), "usage", rule_.critical.usage_percent);
    const Setting relax = Following(Percent("relax", file_.relax(), "usage", rule_.relax_percent), wake);
    const Setting brake = Following(Percent("brake", file_.brake(), "at", rule_.brake.at_percent), wake);
    MustBeBelow(relax, wake);
    MustBeBelow(wake, critical);
    if (!wake.value) MustBeBelow(relax, critical);
    if (rule_.brake.enabled) {
      // A brake that follows wake is where relax has been compared already.
      if (brake.written != nullptr || !wake.value) MustBeBelow(relax, brake);
      MustNotExceed(brake, wake);
    }

    const Setting wake_time = Time("wake", file_.wake(), "timeToLimit", rule_.wake.time_to_limit);
    MustBeBelow(Time("critical", file_.critical(), "timeToLimit", rule_.critical.time_to_limit), wake_time);
    const Setting stall = Percent("wake", file_.wake(), "stall", rule_.wake.stall_percent);
    MustBeBelow(stall, Percent("critical", file_.critical(), "stall", rule_.critical.stall_percent));
    if (wake.valid && wake_time.valid && stall.valid && !wake.value && !wake_time.value && !stall.value) {
      errors_.Add(wake_time.written->at,
                  fmt::format("{}wake: every part is never, so this rule never acts", place_));
    }

    const Setting deadline = Time("pace", file_.pace(), "deadline", rule_.pace.deadline);
    MustNotExceed(Time("pace", file_.pace(), "longestStall", rule_.pace.longest_stall), deadline);
    MustNotExceed(deadline, Time("pace", file_.pace(), "ttl", rule_.pace.ttl));
  }

 private:
  Setting Find(std::string_view section, const google::protobuf::Message& message, std::string_view key) {
    Setting setting{.name = fmt::format("{}.{}", section, key)};
    setting.written = origins_.Find(message, key);
    const Origin* whole = origins_.Find(file_, section);
    setting.valid =
        (setting.written == nullptr || setting.written->valid) && (whole == nullptr || whole->valid);
    return setting;
  }

  Setting Percent(std::string_view section, const google::protobuf::Message& message, std::string_view key,
                  std::optional<double> value) {
    Setting setting = Find(section, message, key);
    setting.value = value;
    if (value) setting.text = fmt::format("{}%", *value);
    return setting;
  }

  Setting Time(std::string_view section, const google::protobuf::Message& message, std::string_view key,
               std::optional<core::Duration> value) {
    Setting setting = Find(section, message, key);
    if (value) {
      setting.value = static_cast<double>(value->count());
      setting.text = absl::FormatDuration(absl::FromChrono(*value));
    }
    return setting;
  }

  // A setting that was not written and took its value from `other` is as good as that.
  static Setting Following(Setting setting, const Setting& other) {
    if (setting.written == nullptr && !other.valid) setting.valid = false;
    return setting;
  }

  void MustBeBelow(const Setting& low, const Setting& high) {
    if (Comparable(low, high) && *low.value >= *high.value) Report(low, high, "below", "above");
  }
  void MustNotExceed(const Setting& low, const Setting& high) {
    if (Comparable(low, high) && *low.value > *high.value) Report(low, high, "at most", "at least");
  }

  static bool Comparable(const Setting& low, const Setting& high) {
    return low.valid && high.valid && low.value && high.value;
  }

  // At the one that was written; `low` if both were. The defaults are in order, so one was.
  void Report(const Setting& low, const Setting& high, std::string_view low_must_be,
              std::string_view high_must_be) {
    const bool at_low = low.written != nullptr;
    const Setting& here = at_low ? low : high;
    const Setting& other = at_low ? high : low;
    errors_.Add(here.written->at, fmt::format("{}{}: {} must be {} {}, which is {}{}", place_, here.name,
                                              here.text, at_low ? low_must_be : high_must_be, other.name,
                                              other.text, other.written == nullptr ? " by default" : ""));
  }

  const v1::Rule& file_;
  const core::Rule& rule_;
  const std::string place_;
  const Origins& origins_;
  ErrorList& errors_;
};

}  // namespace

core::Policy ToCore(std::deque<Document>& documents) {
  core::Policy policy;
  PolicyChecks checks;
  for (Document& document : documents) {
    const v1::Policy& file = document.file;
    if (file.node().has_reserve_bytes()) policy.node.reserve = file.node().reserve_bytes();
    checks.AddNode(document);
    for (int i = 0; i < file.rules_size(); ++i) {
      const core::Rule& rule = policy.rules.emplace_back(Translate(file.rules(i)));
      RuleChecks(file.rules(i), rule, i, document.origins, document.errors).Run();
      checks.AddRule(document, rule, i);
    }
  }
  return policy;
}

}  // namespace memgov::policy
