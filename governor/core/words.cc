#include "governor/core/words.h"

namespace memgov::core {

std::string_view NameOf(Mode mode) {
  switch (mode) {
    case Mode::kObserve:
      return "observe";
    case Mode::kEnforce:
      return "enforce";
  }
  return "";
}

std::string_view NameOf(ActionKind kind) {
  switch (kind) {
    case ActionKind::kSetReleaseMode:
      return "set_release_mode";
    case ActionKind::kSetSoftLimit:
      return "set_soft_limit";
    case ActionKind::kRelease:
      return "release";
    case ActionKind::kCollect:
      return "collect";
    case ActionKind::kShed:
      return "shed";
    case ActionKind::kReclaim:
      return "reclaim";
  }
  return "";
}

std::string_view NameOf(Runtime runtime) {
  switch (runtime) {
    case Runtime::kUnknown:
      return "unknown";
    case Runtime::kContainerd:
      return "containerd";
    case Runtime::kCrio:
      return "cri-o";
    case Runtime::kDocker:
      return "docker";
    case Runtime::kPodman:
      return "podman";
    case Runtime::kCtr:
      return "ctr";
    case Runtime::kSystemd:
      return "systemd";
  }
  return "";
}

std::string_view NameOf(QosClass qos) {
  switch (qos) {
    case QosClass::kGuaranteed:
      return "guaranteed";
    case QosClass::kBurstable:
      return "burstable";
    case QosClass::kBestEffort:
      return "besteffort";
  }
  return "";
}

std::string_view NameOf(Level level) {
  switch (level) {
    case Level::kCalm:
      return "calm";
    case Level::kWake:
      return "wake";
    case Level::kCritical:
      return "critical";
  }
  return "";
}

std::string_view NameOf(Signal signal) {
  switch (signal) {
    case Signal::kUsage:
      return "usage";
    case Signal::kTimeToLimit:
      return "time_to_limit";
    case Signal::kStall:
      return "stall";
    case Signal::kSoftLimit:
      return "soft_limit";
    case Signal::kCalm:
      return "calm";
  }
  return "";
}

std::string_view NameOf(ReclaimLever lever) {
  switch (lever) {
    case ReclaimLever::kPageOut:
      return "page_out";
    case ReclaimLever::kReclaim:
      return "reclaim";
  }
  return "";
}

std::string_view NameOf(ReleaseMode mode) {
  switch (mode) {
    case ReleaseMode::kUnknown:
      return "unknown";
    case ReleaseMode::kLazy:
      return "lazy";
    case ReleaseMode::kEager:
      return "eager";
  }
  return "";
}

std::string_view NameOf(StallClass stall) {
  switch (stall) {
    case StallClass::kUnknown:
      return "unknown";
    case StallClass::kShort:
      return "short";
    case StallClass::kMedium:
      return "medium";
    case StallClass::kLong:
      return "long";
  }
  return "";
}

std::string_view NameOf(EstimateKind kind) {
  switch (kind) {
    case EstimateKind::kNone:
      return "none";
    case EstimateKind::kBound:
      return "bound";
    case EstimateKind::kExact:
      return "exact";
  }
  return "";
}

std::string_view NameOf(OutcomeStatus status) {
  switch (status) {
    case OutcomeStatus::kDone:
      return "done";
    case OutcomeStatus::kDeclined:
      return "declined";
    case OutcomeStatus::kFailed:
      return "failed";
  }
  return "";
}

std::string_view NameOf(NoteKind kind) {
  switch (kind) {
    case NoteKind::kWoke:
      return "woke";
    case NoteKind::kCritical:
      return "critical";
    case NoteKind::kRelaxed:
      return "relaxed";
    case NoteKind::kAsked:
      return "asked";
    case NoteKind::kWouldAsk:
      return "would_ask";
    case NoteKind::kReturned:
      return "returned";
    case NoteKind::kDeclined:
      return "declined";
    case NoteKind::kExpired:
      return "expired";
    case NoteKind::kWithheld:
      return "withheld";
    case NoteKind::kStalled:
      return "stalled";
    case NoteKind::kBrakeArmed:
      return "brake_armed";
    case NoteKind::kBraking:
      return "braking";
    case NoteKind::kBrakeReleased:
      return "brake_released";
    case NoteKind::kFrozen:
      return "frozen";
    case NoteKind::kThawed:
      return "thawed";
    case NoteKind::kOomKill:
      return "oom_kill";
    case NoteKind::kUnsavable:
      return "unsavable";
  }
  return "";
}

std::string_view NameOf(const Action& action) { return NameOf(KindOf(action)); }

}  // namespace memgov::core
