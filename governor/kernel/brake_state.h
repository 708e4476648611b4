// memory.high files, and the record of those that are ours, so that a successor can undo what we could not.
//
// The record has one line "path value" for each value that a knob may hold because of us, written before the
// knob is. A path has two lines while its brake moves: the old value is in the kernel until the write
// happened.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/parse.h"

namespace memgov::kernel {

struct BrakeMark {
  std::string path;       // below the memory mount
  core::Bytes value = 0;  // a whole number of pages
  bool operator==(const BrakeMark&) const = default;
};

// The kernel counts in pages and rounds down; only rounded values can be recognised again.
core::Bytes RoundToPages(core::Bytes bytes);

// The file `name` of a cgroup. NotFound when it, or the cgroup, is gone.
absl::StatusOr<Limit> ReadLimit(const CgroupLayout& layout, const std::string& path, const char* name);

// Writes memory.high; absent: "max". Never waits for reclaim where the kernel can avoid it (O_NONBLOCK, 6.15
// and newer). NotFound when it is gone.
absl::Status WriteHigh(const CgroupLayout& layout, const std::string& path, std::optional<core::Bytes> bytes);

// Lines that are not understood are left out and named in `complaints` ("FILE:LINE: ...").
std::vector<BrakeMark> ParseBrakeState(std::string_view text, const std::string& file,
                                       std::vector<std::string>* complaints);

// A file that is not there holds no marks.
absl::StatusOr<std::vector<BrakeMark>> LoadBrakeState(const std::string& file,
                                                      std::vector<std::string>* complaints);

// Replaces the file at once (a new file is renamed over it), or removes it when there are no marks. Makes the
// directory (one level) when it is not there.
absl::Status StoreBrakeState(const std::string& file, const std::vector<BrakeMark>& marks);

// Writes "max" into the memory.high files that still hold a value of their mark; the others, and cgroups that
// are gone, are left alone. What could not be written comes back in `failed`, and the status names it.
absl::Status LetGoOfMarks(const CgroupLayout& layout, const std::vector<BrakeMark>& marks,
                          std::vector<BrakeMark>* failed);

// LetGoOfMarks for what the file names; keeps in it what failed. No thread, no lock: for start-up, for
// `memgovd --restore`, and for the guard. Broken lines are an error too, but not an obstacle.
absl::Status RestoreFromState(const CgroupLayout& layout, const std::string& file);

}  // namespace memgov::kernel
