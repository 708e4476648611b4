// Decisions as text, every field of them: equal texts are equal decisions.

#pragma once

#include <string>

#include "governor/core/decision.h"

namespace memgov::core {

std::string Serialised(const Decisions& decisions);

}  // namespace memgov::core
