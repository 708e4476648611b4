// What this node offers memgovd, judged: for each thing whether it is there, what is lost without it, and how
// to get it.
//
// Each check is a pure function of kernel::NodeFacts, so `memgovd doctor` and a running daemon say the same.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "governor/kernel/probe.h"

namespace memgov {

enum class CheckState { kOk, kDegraded, kMissing };

struct Check {
  std::string name;
  CheckState state = CheckState::kOk;
  std::string found;
  std::string lost;        // empty when all is well
  std::string remedy;      // how to get it; empty where there is no way, or no need
  bool essential = false;  // without it memgovd cannot do its work at all
};

// In the order of the table: the node, cgroups, pressure, levers, rights, limits, places.
std::vector<Check> Examine(const kernel::NodeFacts& facts);

// "ok", "degraded", "missing".
std::string_view NameOf(CheckState state);

// For people, in lines of at most 100 columns.
std::string TableOf(const std::vector<Check>& checks, bool colours);

// An array of {check, state, found, lost, remedy}.
std::string JsonOf(const std::vector<Check>& checks);

// 0: nothing is degraded or missing; 1: something is; 2: and it is essential.
int ExitCodeOf(const std::vector<Check>& checks);

}  // namespace memgov
