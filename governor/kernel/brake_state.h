// The record of the memory.high values that are ours, so that a successor can undo what we could not.
//
// It has one line "PATH INODE VALUE" for each value that a knob may hold because of us, written before the
// knob is. A path has two lines while its brake moves: the old value is in the kernel until the write
// happened. The inode says which cgroup is meant: one that was made anew under the same path never had a
// brake of ours, so the value in it is its owner's, even an equal one. (Inode numbers start again with the
// machine. A record that outlives a reboot, in a --state-dir on a disk, still needs path and value to match.)

#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/base/state_directory.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"

namespace memgov::kernel {

struct BrakeMark {
  std::string path;  // below the memory mount
  std::uint64_t inode = 0;
  core::Bytes value = 0;  // a whole number of pages
  bool operator==(const BrakeMark&) const = default;
};

// Lines that are not understood are left out and named in `complaints` ("FILE:LINE: ...", state_lines.h).
std::vector<BrakeMark> ParseBrakeState(std::string_view text, const std::string& file,
                                       std::vector<std::string>* complaints);

// A file that is not there holds no marks. InvalidArgument when it is far larger than we write.
// FailedPrecondition when it cannot be believed (state_directory.h).
absl::StatusOr<std::vector<BrakeMark>> LoadBrakeState(base::StateFile& file,
                                                      std::vector<std::string>* complaints);
absl::StatusOr<std::vector<BrakeMark>> LoadBrakeState(const std::string& file,
                                                      std::vector<std::string>* complaints);

// Replaces the file at once (a new file is renamed over it), or removes it when there are no marks. Makes the
// directory when it is not there. ResourceExhausted, and nothing written, when it would come near the size
// that LoadBrakeState refuses.
absl::Status StoreBrakeState(base::StateFile& file, const std::vector<BrakeMark>& marks);
absl::Status StoreBrakeState(const std::string& file, const std::vector<BrakeMark>& marks);

// Writes "max" into the memory.high files that still hold a value of their mark; the others, and cgroups that
// are gone, are left alone. What could not be written comes back in `failed`, and the status names it.
absl::Status LetGoOfMarks(const CgroupLayout& layout, const std::vector<BrakeMark>& marks,
                          std::vector<BrakeMark>* failed);

// LetGoOfMarks for what the file names; keeps in it what failed. No thread, no lock: for start-up, for
// `memgovd --restore`, and for the guard. Broken lines are an error too (DataLoss), but not an obstacle.
absl::Status RestoreFromState(const CgroupLayout& layout, const std::string& file);

// Whether a failed restoring may succeed later by itself; not so where the file cannot be believed.
bool MayPass(const absl::Status& status);

// RestoreFromState, again and again with growing pauses, until it does not fail or `longest` has passed, or
// until it fails for good.
absl::Status RestorePatiently(const CgroupLayout& layout, const std::string& file,
                              std::chrono::milliseconds longest);

}  // namespace memgov::kernel
