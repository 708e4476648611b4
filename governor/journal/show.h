// Records for people and their tools: JSON from the same tables that write them, and what differs between two
// values as lines.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "governor/core/decision.h"
#include "governor/journal/records.h"

namespace memgov::journal {

// One object on one line: {"now": 12.000000001, "tick": {...}}. Instants and durations in seconds with all
// nine digits; 64-bit numbers as they are.
std::string JsonOf(const Record& record);

// "notes[0].bytes: recorded 5, replayed 6" for each member that differs, the first `most`.
std::vector<std::string> DifferenceOf(const core::Decisions& recorded, const core::Decisions& replayed,
                                      std::size_t most);

}  // namespace memgov::journal
