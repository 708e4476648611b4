// From the files' schema to the policy that the engine reads, with the checks that need more than one key:
// thresholds in order, and those of policy_checks.h.

#pragma once

#include <deque>

#include "governor/core/policy.h"
#include "governor/policy/policy_checks.h"

namespace memgov::policy {

// One policy from all documents, their rules in that order. Keys that were not written keep core's defaults,
// except two that follow another key: `relax.usage` (5 points below `wake.usage`) and `brake.at`
// (`wake.usage`). A check is skipped when one of its keys was written but is not valid: that has been said
// already. Mistakes go to the document in which they stand.
core::Policy ToCore(std::deque<Document>& documents);

}  // namespace memgov::policy
