// The record of every memory.high that is ours, so that a successor can undo what its writer could not.
//
// One line "path value" for each value that a knob may hold because of us, written before the knob is. A path
// has two lines while its brake moves: the old value is still in the kernel until the write has happened.

#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"

namespace memgov::kernel {

struct BrakeMark {
  std::string path;       // below the memory mount
  core::Bytes value = 0;  // a whole number of pages
  bool operator==(const BrakeMark&) const = default;
};

// Lines that are not understood are left out and named in `complaints` ("FILE:LINE: ...").
std::vector<BrakeMark> ParseBrakeState(std::string_view text, const std::string& file,
                                       std::vector<std::string>* complaints);

// A file that is not there holds no marks.
absl::StatusOr<std::vector<BrakeMark>> LoadBrakeState(const std::string& file,
                                                      std::vector<std::string>* complaints);

// Replaces the file at once (a new file is renamed over it), or removes it when there are no marks. Makes the
// directory (one level) when it is not there.
absl::Status StoreBrakeState(const std::string& file, const std::vector<BrakeMark>& marks);

// Writes "max" into every memory.high that still holds a value the file names, and then removes the marks.
// Knobs that hold anything else, and cgroups that are gone, are left alone. A mark whose knob could not be
// written stays; the status then names it. No thread, no lock: for start-up, for `memgovd --restore`, and for
// the guard.
absl::Status RestoreFromState(const CgroupLayout& layout, const std::string& file);

}  // namespace memgov::kernel
