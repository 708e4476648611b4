#include "governor/session/wire.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "governor/core/explain.h"
#include "governor/core/words.h"

namespace memgov::session {
namespace {

// Remembers the first field that is wrong, so that a message is translated in one pass without branches.
class Checker {
 public:
  core::Bytes Bytes(absl::string_view field, std::uint64_t value) {
    if (value > kMaxBytes) Fail(field, absl::StrCat(value, " bytes are more than 1 PiB"));
    return static_cast<core::Bytes>(std::min(value, kMaxBytes));
  }

  core::Duration Microseconds(absl::string_view field, std::uint64_t value) {
    constexpr std::uint64_t kMax =
        std::chrono::duration_cast<std::chrono::microseconds>(kMaxDuration).count();
    if (value > kMax) Fail(field, absl::StrCat(value, " us are more than 24 h"));
    return std::chrono::microseconds(std::min(value, kMax));
  }

  double Fraction(absl::string_view field, double value) {
    if (!(value >= 0 && value <= 1)) Fail(field, absl::StrCat(value, " is not between 0 and 1"));  // nor NaN
    return value;
  }

  // Terminals obey C0 and C1 control characters; a name is shown on them.
  std::string Text(absl::string_view field, const std::string& value) {
    if (value.size() > kMaxText) {
      Fail(field, absl::StrCat(value.size(), " bytes are more than ", kMaxText));
      return {};
    }
    std::string clean;
    for (std::size_t i = 0; i < value.size(); ++i) {
      const auto byte = static_cast<unsigned char>(value[i]);
      const auto next = i + 1 < value.size() ? static_cast<unsigned char>(value[i + 1]) : 0;
      if (byte == 0xC2 && next >= 0x80 && next <= 0x9F) {
        ++i;  // C1 in UTF-8
      } else if (byte >= 0x20 && byte != 0x7F) {
        clean.push_back(value[i]);
      }
    }
    return clean;
  }

  void Fail(absl::string_view field, absl::string_view why) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(field, ": ", why));
  }

  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

core::ReleaseMode ModeFromWire(v1::ReleaseMode mode) {
  switch (mode) {
    case v1::RELEASE_MODE_LAZY:
      return core::ReleaseMode::kLazy;
    case v1::RELEASE_MODE_EAGER:
      return core::ReleaseMode::kEager;
    default:
      return core::ReleaseMode::kUnknown;
  }
}

v1::ReleaseMode ModeToWire(core::ReleaseMode mode) {
  switch (mode) {
    case core::ReleaseMode::kLazy:
      return v1::RELEASE_MODE_LAZY;
    case core::ReleaseMode::kEager:
      return v1::RELEASE_MODE_EAGER;
    case core::ReleaseMode::kUnknown:
      break;
  }
  return v1::RELEASE_MODE_UNSPECIFIED;
}

core::StallClass StallFromWire(v1::StallClass stall) {
  switch (stall) {
    case v1::STALL_CLASS_SHORT:
      return core::StallClass::kShort;
    case v1::STALL_CLASS_MEDIUM:
      return core::StallClass::kMedium;
    case v1::STALL_CLASS_LONG:
      return core::StallClass::kLong;
    default:
      return core::StallClass::kUnknown;
  }
}

core::EstimateKind EstimateFromWire(v1::EstimateKind kind) {
  switch (kind) {
    case v1::ESTIMATE_KIND_EXACT:
      return core::EstimateKind::kExact;
    case v1::ESTIMATE_KIND_BOUND:
      return core::EstimateKind::kBound;
    default:
      return core::EstimateKind::kNone;
  }
}

AttachRequest HelloFromWire(const v1::Hello& hello, Checker& check) {
  const v1::Capabilities& can = hello.capabilities();
  AttachRequest request;
  request.name = check.Text("hello.name", hello.name());
  request.runtime = check.Text("hello.runtime", hello.runtime());
  request.library = check.Text("hello.client", hello.client());
  request.capabilities = {.set_release_mode = can.set_release_mode(),
                          .release = can.release(),
                          .release_in_chunks = can.release_in_chunks(),
                          .collect = can.collect(),
                          .set_soft_limit = can.set_soft_limit(),
                          .shed = can.shed(),
                          .retroactive = can.retroactive(),
                          .needs_owner_thread = can.needs_owner_thread(),
                          .stall_class = StallFromWire(can.stall_class())};
  request.startup_release_mode = ModeFromWire(hello.startup_release_mode());
  return request;
}

core::ClientReport ReportFromWire(const v1::Report& report, Checker& check) {
  core::ClientReport result;
  result.live = check.Bytes("report.live_bytes", report.live_bytes());
  result.retained = check.Bytes("report.retained_bytes", report.retained_bytes());
  result.retained_kind = EstimateFromWire(report.retained_kind());
  if (result.retained_kind == core::EstimateKind::kNone) result.retained = 0;
  result.lazily_freed = check.Bytes("report.lazily_freed_bytes", report.lazily_freed_bytes());
  result.non_heap = check.Bytes("report.non_heap_bytes", report.non_heap_bytes());
  if (report.has_soft_limit_bytes()) {
    result.soft_limit = check.Bytes("report.soft_limit_bytes", report.soft_limit_bytes());
  }
  if (report.has_gc_cpu_fraction()) {
    result.gc_cpu_fraction = check.Fraction("report.gc_cpu_fraction", report.gc_cpu_fraction());
  }
  result.release_mode = ModeFromWire(report.release_mode());
  return result;
}

core::ClientOutcome OutcomeFromWire(const v1::Outcome& outcome, Checker& check) {
  core::ClientOutcome result;
  result.directive = core::DirectiveId{outcome.id()};
  switch (outcome.status()) {
    case v1::Outcome::STATUS_DONE:
      result.status = core::OutcomeStatus::kDone;
      break;
    case v1::Outcome::STATUS_DECLINED:
      result.status = core::OutcomeStatus::kDeclined;
      break;
    case v1::Outcome::STATUS_FAILED:
      result.status = core::OutcomeStatus::kFailed;
      break;
    default:
      check.Fail("outcome.status", absl::StrCat(outcome.status(), " is not done, declined or failed"));
  }
  result.why = check.Text("outcome.why", outcome.why());
  result.before = check.Bytes("outcome.before_bytes", outcome.before_bytes());
  result.after = check.Bytes("outcome.after_bytes", outcome.after_bytes());
  result.wall = check.Microseconds("outcome.wall_us", outcome.wall_us());
  result.cpu = check.Microseconds("outcome.cpu_us", outcome.cpu_us());
  return result;
}

bool IsUtf8(absl::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned char lead = at(i);
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xC2 ? 0  // a continuation, or a longer form than necessary
                               : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3
                               : lead < 0xF5 ? 4
                                             : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (std::size_t k = 1; k < length; ++k) {
      if ((at(i + k) & 0xC0) != 0x80) return false;
    }
    if (lead == 0xE0 && at(i + 1) < 0xA0) return false;  // longer than necessary
    if (lead == 0xED && at(i + 1) > 0x9F) return false;  // surrogates
    if (lead == 0xF0 && at(i + 1) < 0x90) return false;  // longer than necessary
    if (lead == 0xF4 && at(i + 1) > 0x8F) return false;  // beyond U+10FFFF
    i += length;
  }
  return true;
}

// A cgroup may be named with any bytes, but a client that gets a string which is not UTF-8 drops the message.
std::string TextToWire(absl::string_view text) {
  return IsUtf8(text) ? std::string(text) : absl::CHexEscape(text);
}

std::uint64_t BytesToWire(core::Bytes bytes) { return bytes < 0 ? 0 : static_cast<std::uint64_t>(bytes); }

std::uint64_t MillisecondsToWire(core::Duration duration) {
  if (duration <= core::Duration::zero()) return 0;
  return static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(duration).count());
}

std::uint32_t Milliseconds32ToWire(core::Duration duration) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint32_t>::max();
  return static_cast<std::uint32_t>(std::min(MillisecondsToWire(duration), kMax));
}

v1::Level LevelToWire(core::Level level) {
  switch (level) {
    case core::Level::kCalm:
      return v1::LEVEL_CALM;
    case core::Level::kWake:
      return v1::LEVEL_WAKE;
    case core::Level::kCritical:
      return v1::LEVEL_CRITICAL;
  }
  return v1::LEVEL_UNSPECIFIED;
}

void ActionToWire(const core::Directive& directive, v1::Directive& out) {
  std::visit(
      [&](const auto& action) {
        using Action = std::decay_t<decltype(action)>;
        if constexpr (std::is_same_v<Action, core::SetReleaseMode>) {
          out.mutable_set_release_mode()->set_mode(ModeToWire(action.mode));
        } else if constexpr (std::is_same_v<Action, core::SetSoftLimit>) {
          out.mutable_set_soft_limit()->set_bytes(BytesToWire(action.bytes));
        } else if constexpr (std::is_same_v<Action, core::Release>) {
          out.mutable_release()->set_bytes(BytesToWire(action.bytes));
          out.mutable_release()->set_longest_stall_ms(Milliseconds32ToWire(action.longest_stall));
        } else if constexpr (std::is_same_v<Action, core::Collect>) {
          out.mutable_collect()->set_bytes(BytesToWire(action.bytes));
        } else {
          static_assert(std::is_same_v<Action, core::Shed>);
          out.mutable_shed()->set_level(LevelToWire(directive.level));
          out.mutable_shed()->set_bytes(BytesToWire(action.bytes));
        }
      },
      directive.action);
}

}  // namespace

absl::StatusOr<ClientSaid> FromWire(const v1::ClientMessage& message) {
  Checker check;
  std::optional<ClientSaid> said;
  switch (message.body_case()) {
    case v1::ClientMessage::kHello:
      said = HelloFromWire(message.hello(), check);
      break;
    case v1::ClientMessage::kReport:
      said = ReportFromWire(message.report(), check);
      break;
    case v1::ClientMessage::kOutcome:
      said = OutcomeFromWire(message.outcome(), check);
      break;
    case v1::ClientMessage::BODY_NOT_SET:
      return absl::InvalidArgumentError("body: neither hello, report nor outcome");
  }
  if (!check.status().ok()) return check.status();
  return *std::move(said);
}

v1::GovernorMessage WelcomeToWire(const WelcomeInfo& info, absl::string_view version) {
  v1::GovernorMessage message;
  v1::Welcome& welcome = *message.mutable_welcome();
  welcome.set_cgroup(TextToWire(info.cgroup));
  welcome.set_container(TextToWire(info.container));
  welcome.set_enforcing(info.enforcing);
  welcome.set_report_every_ms(Milliseconds32ToWire(info.report_every));
  welcome.set_governor(TextToWire(version));
  return message;
}

v1::GovernorMessage DirectiveToWire(const core::Directive& directive, absl::string_view reason_text) {
  v1::GovernorMessage message;
  v1::Directive& out = *message.mutable_directive();
  out.set_id(static_cast<std::uint64_t>(directive.id));
  out.set_deadline_ms(Milliseconds32ToWire(directive.deadline));
  out.set_ttl_ms(Milliseconds32ToWire(directive.ttl));
  out.set_level(LevelToWire(directive.level));
  v1::Reason& reason = *out.mutable_reason();
  reason.set_rule(TextToWire(directive.reason.rule));
  reason.set_signal(std::string(core::NameOf(directive.reason.signal)));
  reason.set_observed(directive.reason.observed);
  reason.set_threshold(directive.reason.threshold);
  reason.set_held_ms(MillisecondsToWire(directive.reason.held));
  reason.set_text(TextToWire(reason_text));
  ActionToWire(directive, out);
  return message;
}

}  // namespace memgov::session
