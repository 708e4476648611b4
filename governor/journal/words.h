// The names of enumerators in the journal. A value without a name is not valid: WordOf gives "" for it, so a
// reader can tell; a new enumerator without a name here does not compile.

#pragma once

#include <string_view>

#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/policy.h"

// The functions stand where argument-dependent look-up finds them.
namespace memgov::core {

std::string_view WordOf(Mode mode);
std::string_view WordOf(ActionKind kind);
std::string_view WordOf(Level level);
std::string_view WordOf(Signal signal);
std::string_view WordOf(Runtime runtime);
std::string_view WordOf(QosClass qos);
std::string_view WordOf(ReclaimLever lever);
std::string_view WordOf(ReleaseMode mode);
std::string_view WordOf(StallClass stall);
std::string_view WordOf(EstimateKind kind);
std::string_view WordOf(OutcomeStatus status);
std::string_view WordOf(NoteKind kind);

}  // namespace memgov::core
