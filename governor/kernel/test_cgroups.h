// For this room's tests: directories that look like a hierarchy, and cgroups that are real.

#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "governor/core/units.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/unique_fd.h"
#include "tests/cpp/temporary_directory.h"

namespace memgov::kernel {

// "" when it cannot be read.
std::string ReadFile(const std::string& file);
void WriteFile(const std::string& file, std::string_view text);

// A memory.stat with recognisable numbers: anon 1 MiB, file 2 MiB, shmem 3 MiB, ... pgmajfault 9, refaults
// 10, and on v2 slab 11 MiB.
std::string StatText(MemoryVersion version);

// A directory of plain files with the kernel's names, removed at the end.
class FakeHierarchy {
 public:
  explicit FakeHierarchy(MemoryVersion version);

  const CgroupLayout& layout() const { return layout_; }
  std::string Directory(const std::string& path) const { return layout_.memory_mount + path; }

  // A cgroup (with the missing ones above it) that uses `usage`, without a limit.
  void Add(const std::string& path, core::Bytes usage = 0);
  void Remove(const std::string& path);
  void SetUsage(const std::string& path, core::Bytes usage);
  void SetLimit(const std::string& path, std::string_view text);
  void SetOomKills(const std::string& path, int kills);

 private:
  const TemporaryDirectory directory_;
  CgroupLayout layout_;
};

// The layout of this machine where its memory hierarchy can be written; otherwise why not.
struct RealHierarchy {
  std::optional<CgroupLayout> layout;
  std::string why_not;
};
RealHierarchy FindRealHierarchy();

// A cgroup of our own below the memory mount, with +memory for its children (v2); removed at the end.
class RealCgroup {
 public:
  // Below the mount itself, or below another.
  explicit RealCgroup(const CgroupLayout& layout, const RealCgroup* parent = nullptr);
  ~RealCgroup();
  RealCgroup(const RealCgroup&) = delete;
  RealCgroup& operator=(const RealCgroup&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const;
  void SetLimit(core::Bytes limit);
  void LetChildrenHaveMemory();  // v2; a cgroup with children can hold no process then
  bool Remove();                 // true when it is gone
  void Make();

 private:
  const CgroupLayout layout_;
  std::string path_;
};

// A process inside a cgroup that takes memory when told to.
class Hog {
 public:
  explicit Hog(const RealCgroup& cgroup);
  ~Hog();
  Hog(const Hog&) = delete;
  Hog& operator=(const Hog&) = delete;

  // Touches that much more. False when the process died of it.
  bool Take(core::Bytes bytes);
  // Tells it without waiting: where a brake would make it slow.
  void TakeUnwatched(core::Bytes bytes);
  // Waits for its end; the signal that it died of, 0 for none.
  int Died();

 private:
  pid_t pid_ = -1;
  UniqueFd orders_;
  UniqueFd answers_;
};

}  // namespace memgov::kernel
