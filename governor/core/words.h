// The one name of each enumerator: in events, on the wire, in the journal and for people. (Policies have
// theirs in policy.proto.) A value without a name is not valid: NameOf gives "" for it, so a reader can tell;
// a new enumerator without a name here does not compile.

#pragma once

#include <string_view>

#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/policy.h"

namespace memgov::core {

std::string_view NameOf(Mode mode);
std::string_view NameOf(ActionKind kind);
std::string_view NameOf(Level level);
std::string_view NameOf(Signal signal);
std::string_view NameOf(Runtime runtime);
std::string_view NameOf(QosClass qos);
std::string_view NameOf(ReclaimLever lever);
std::string_view NameOf(ReleaseMode mode);
std::string_view NameOf(StallClass stall);
std::string_view NameOf(EstimateKind kind);
std::string_view NameOf(OutcomeStatus status);
// "woke", "asked", "returned", ...: the names of events.
std::string_view NameOf(NoteKind kind);
// "release", "collect", "set_release_mode", "set_soft_limit", "shed".
std::string_view NameOf(const Action& action);

}  // namespace memgov::core
