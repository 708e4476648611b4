// STATE_DIR/status.json: how a running memgovd is, for `memgovd doctor` and for people who look.
//
// It is replaced as a whole, so a reader sees the old state or the new one, never half of either.

#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "governor/doctor.h"

namespace memgov {

// Whether the policy that lies there is the one in force.
struct PolicyStatus {
  std::string source;          // file or directory; empty: the built-in one
  std::string degraded;        // why what lies there was refused; empty: it was not
  std::string degraded_since;  // UTC, as 2026-01-31T12:00:00Z
};

struct DaemonStatus {
  int pid = 0;
  std::vector<Check> checks;          // at its start
  std::vector<std::string> degraded;  // what has not worked since, in words for people
  PolicyStatus policy;
};

// The file's text. Pure.
std::string TextOf(const DaemonStatus& status);

// Replaces the file; may wait for the disk. Errors name the file; also where others may write in the
// directory (base/state_directory.h).
absl::Status WriteStatusText(const std::string& state_dir, const std::string& text);

inline absl::Status WriteStatus(const std::string& state_dir, const DaemonStatus& status) {
  return WriteStatusText(state_dir, TextOf(status));
}

// Puts what the memgovd with this pid has said of itself behind `checks`; nothing when it has said nothing.
void AddRunningDaemon(const std::string& state_dir, int pid, std::vector<Check>* checks);

}  // namespace memgov
