// The trials of probe.h: what only doing tells.

#pragma once

#include "governor/kernel/probe.h"

namespace memgov::kernel {

// Fills what is to be tried in a cgroup of our own. Needs facts->layout and facts->roots.
void ProbeCgroups(NodeFacts* facts);

// What looking alone tells of the same.
void LookAtCgroups(NodeFacts* facts);

// On ourselves: MADV_COLD on a page of our own.
Trial TryProcessMadvise();

}  // namespace memgov::kernel
