// From the file's schema to the policy that the engine reads, with the checks that need more than one key:
// thresholds in order, names unique, every rule reachable.

#pragma once

#include "governor/core/policy.h"
#include "governor/policy/error_list.h"
#include "governor/policy/schema_walk.h"
#include "memgov/v1/policy.pb.h"

namespace memgov::policy {

// Keys that were not written keep core's defaults, except two that follow another key: `relax.usage` (5
// points below `wake.usage`) and `brake.at` (`wake.usage`). A check is skipped when one of its keys was
// written but is not valid: that has been said already. `origins` must be of `file`.
core::Policy ToCore(const v1::Policy& file, const Origins& origins, ErrorList& errors);

// Whether every path that `later` matches is sure to be matched by `earlier` too. True only when certain: two
// different globs with `**` in the middle count as not covered.
bool Covers(std::string_view earlier, std::string_view later);

}  // namespace memgov::policy
