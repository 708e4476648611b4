// The files of one cgroup that the brake reads and writes, held by its directory.
//
// A name can be given to another cgroup at any time: the old one is removed, a new one made under the same
// path. What is recognised, read and written here is one and the same cgroup, whatever its name means by
// then. kernfs gives every cgroup an inode number that is not used again while the kernel runs.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/parse.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

// Thread-compatible. Every error names the file.
class BrakeFile {
 public:
  // NotFound when no cgroup has this path.
  static absl::StatusOr<BrakeFile> Open(const CgroupLayout& layout, const std::string& path);

  std::uint64_t inode() const { return inode_; }
  // Opens memory.high for good, so that from now on it is read and written without a new descriptor, also
  // when none is left. One thread at a time then: the kernel lets a write wait for another on the same
  // descriptor.
  absl::Status KeepHigh();
  // memory.high or memory.current. NotFound when the cgroup, or the file, is gone.
  absl::StatusOr<Limit> Read(const char* name) const;
  // Writes memory.high; absent: "max". Never waits for reclaim where the kernel can avoid it (O_NONBLOCK,
  // 6.15 and newer). NotFound when it is gone.
  absl::Status WriteHigh(std::optional<core::Bytes> bytes) const;

 private:
  BrakeFile(std::string directory, UniqueFd fd, std::uint64_t inode)
      : directory_(std::move(directory)), fd_(std::move(fd)), inode_(inode) {}

  std::string directory_;
  UniqueFd fd_;
  std::uint64_t inode_;
  UniqueFd high_;  // when kept
};

// The kernel counts in pages and rounds down; only rounded values can be recognised again.
core::Bytes RoundToPages(core::Bytes bytes);

// `doing` `file`: what errno says. A file of a cgroup that was removed says ENODEV: NotFound here.
absl::Status FileError(int error, std::string_view doing, const std::string& file);

// The whole of `file` (relative to `directory`, an open one or AT_FDCWD); InvalidArgument above `most` bytes.
absl::StatusOr<std::string> ReadAll(int directory, const std::string& file, std::size_t most,
                                    const std::string& name);
absl::Status WriteAll(int fd, std::string_view text, const std::string& name);

}  // namespace memgov::kernel
