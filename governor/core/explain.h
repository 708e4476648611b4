// The one place where decisions become words: log, wire and demo print the same sentence.

#pragma once

#include <string>
#include <string_view>

#include "governor/core/decision.h"

namespace memgov::core {

// "rule default: usage 86.2 % of the limit, threshold 85 %, for 12 ms".
std::string TextOf(const Reason& reason);

// "OOM kill at the limit of /a: holder (pid 123) in /a/b; it held 480.0 MiB, the next largest was ...".
std::string TextOf(const KillReport& report);

// Bytes for people: "61.4 MiB".
std::string TextOf(Bytes bytes);

}  // namespace memgov::core
