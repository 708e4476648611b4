// The memory files of one cgroup, kept open where they are read often.
//
// A pread on a kept descriptor costs a fifth of open, read and close (shared by every sample of every
// cgroup), but descriptors are bounded; so a budget decides which are kept, and without budget the same reads
// still work, only dearer.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/mounts.h"
#include "governor/kernel/parse.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

// How many descriptors all CgroupFiles of one tree may keep open together.
struct FdBudget {
  std::size_t most = 0;
  std::size_t kept = 0;
  bool ran_out = false;    // something was read without keeping it, for want of budget
  bool exhausted = false;  // the process had no descriptor left at all: a read was lost
};

// The outcome of one reading. `value` is absent when the file is not there, cannot be read now, or holds
// something that is not understood; `gone` says that it is absent because the whole cgroup is.
template <typename T>
struct Reading {
  std::optional<T> value;
  bool gone = false;
};

// Not thread-safe. `layout` and `budget` outlive it.
class CgroupFiles {
 public:
  // `path` is below the memory mount ("/a/b"). Opens nothing yet.
  CgroupFiles(const CgroupLayout& layout, FdBudget& budget) : layout_(&layout), budget_(&budget) {}
  CgroupFiles(CgroupFiles&&) = delete;
  ~CgroupFiles() { CloseAll(); }

  Reading<core::Bytes> Usage(std::string_view path);
  Reading<Limit> OwnLimit(std::string_view path);
  Reading<Limit> High(std::string_view path);  // v1: always absent
  // What is left of its swap allowance; v1 (memory and swap together) subtracts what memory may still take.
  // Absent without a bound of its own, and where swap is not accounted.
  std::optional<core::Bytes> SwapLeft(std::string_view path, std::optional<core::Bytes> memory_left);
  Reading<std::uint64_t> OomKills(std::string_view path);
  // `keep`: the file will be read again soon, so keep it open. Otherwise it is closed after the reading.
  Reading<core::MemoryStat> Stat(std::string_view path, bool keep);
  Reading<core::PressureTotals> Pressure(std::string_view path, bool keep);

  void CloseAll();

 private:
  enum File : std::size_t { kUsage, kLimit, kHigh, kEvents, kStat, kPressure, kSwap, kSwapLimit, kFileCount };

  template <typename T, typename Parser>
  Reading<T> ReadAs(File file, std::string_view path, bool keep, Parser parse);
  void Close(File file);

  const CgroupLayout* layout_;
  FdBudget* budget_;
  std::array<UniqueFd, kFileCount> fds_;
};

}  // namespace memgov::kernel
