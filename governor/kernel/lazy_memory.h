// Which pages of a process are lazily freed: the confirmation behind the hint of core/lazily_freed.h.
//
// smaps tells it from the page tables themselves, so the answer is exact: a page that was written again after
// MADV_FREE is not counted. The price is a walk over all mapped pages, 20 ms CPU for each resident GiB
// (LazilyFreedRealTest.PrintsThePriceOfConfirmation), with the process's mmap_lock held for reading; so it is
// done on demand and on a worker, never by a sampler.
//
// What a process calls its mappings is its own choice and may look like anything. The kernel keeps such a
// name within the header's line (a line end in it is written as \012), so the parser believes nothing but the
// first characters of a line, whatever the line's length.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/core/units.h"

namespace memgov::kernel {

// A mapping with lazily freed pages in it, as of when it was read.
struct LazyRange {
  std::uint64_t start = 0;  // address in that process
  core::Bytes length = 0;
  core::Bytes lazy = 0;
  core::Bytes anon = 0;  // resident, `lazy` included
  core::Bytes huge = 0;  // of `anon`, in huge pages
  bool operator==(const LazyRange&) const = default;
};

struct LazyMap {
  std::vector<LazyRange> ranges;  // those with lazy > 0, in the order of their addresses
  core::Bytes lazy = 0;           // of all mappings, also those left out
  core::Bytes anon = 0;
  bool more = false;  // `ranges` had to leave some out; the largest are there
};

// Reads smaps or smaps_rollup (one mapping, "[rollup]") piece by piece. Memory is bounded by `most_ranges`.
class SmapsParser {
 public:
  explicit SmapsParser(std::size_t most_ranges) : most_ranges_(most_ranges) {}

  // DataLoss, with the offending text, for what the kernel would not write; stop feeding then.
  absl::Status Feed(std::string_view piece);
  // After the last piece. DataLoss when the text was cut off within a line or a mapping; Unimplemented when
  // the kernel does not tell LazyFree (before Linux 4.12). No text at all is a process without memory.
  absl::StatusOr<LazyMap> Finish();

 private:
  absl::Status TakeLine();
  absl::Status TakeHeader(std::string_view line);
  absl::Status EndMapping();
  void KeepLargest(std::size_t count);

  const std::size_t most_ranges_;
  // The beginning of the present line; the rest of a longer one is not needed.
  std::array<char, 128> line_;
  std::size_t line_length_ = 0;
  bool in_line_ = false;
  bool in_mapping_ = false;
  LazyRange mapping_;
  std::optional<core::Bytes> lazy_;
  std::optional<core::Bytes> anon_;
  std::optional<core::Bytes> huge_;
  std::optional<core::Bytes> locked_;
  LazyMap map_;
};

// Reads "smaps_rollup" in `process` (a descriptor of /proc/PID): bytes lazily freed in all. The kernel walks
// all pages within one read: mind the size of the process. NotFound: the process is gone, or has no
// smaps_rollup (before Linux 4.14). PermissionDenied: SYS_PTRACE is missing.
absl::StatusOr<core::Bytes> ReadLazyTotal(int process);

// Reads "smaps" in `process`; a few mappings a read. `go_on` is asked between reads: Cancelled when it says
// no. At most `most_ranges` are kept. Errors as ReadLazyTotal, and those of SmapsParser.
absl::StatusOr<LazyMap> ReadLazyMap(
    int process, std::size_t most_ranges, const std::function<bool()>& go_on = [] { return true; });

}  // namespace memgov::kernel
