// Between the protocol's messages and the core's values. Pure. Everything that comes from a client is checked
// here, once, so that nothing behind this file meets an absurd value.

#pragma once

#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/session/server.h"
#include "memgov/v1/session.pb.h"

namespace memgov::session {

// Limits of what a client may claim.
inline constexpr std::size_t kMaxText = 256;                        // bytes of any string
inline constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 50;  // 1 PiB
inline constexpr core::Duration kMaxDuration = std::chrono::hours(24);

// What a client said. AttachRequest has neither client nor ticket yet, the others neither client nor
// received_at: those are not the client's to say.
using ClientSaid = std::variant<AttachRequest, core::ClientReport, core::ClientOutcome>;

// INVALID_ARGUMENT with the field's name and value: no known body, a value over its limit, a fraction outside
// of 0 to 1, an outcome without a status. Control characters are stripped from text. What a newer client may
// mean by an unknown enum value is taken as "not known", and bytes of kind NONE as none.
absl::StatusOr<ClientSaid> FromWire(const v1::ClientMessage& message);

v1::GovernorMessage WelcomeToWire(const WelcomeInfo& info, absl::string_view version);

// `reason_text` is the reason as one sentence. Durations are rounded up to milliseconds, negative ones and
// negative bytes become 0.
v1::GovernorMessage DirectiveToWire(const core::Directive& directive, absl::string_view reason_text);

}  // namespace memgov::session
