// A mapped file that is read here and there all the time, as a program's code and tables are.

#pragma once

#include <cstdint>

namespace memgov::workloads {

// Stands in for the code of a program much larger than ours: its pages are charged to whoever reads them
// first, and under pressure the kernel drops them and reads them again. Not thread-safe.
class CodePages {
 public:
  CodePages() = default;
  CodePages(const CodePages&) = delete;
  CodePages& operator=(const CodePages&) = delete;
  ~CodePages();

  // Maps `path` read-only. False with errno when that fails.
  bool Map(const char* path);

  // Reads one word in each of `pages` pages by chance. Without a mapping it does nothing.
  void Touch(int pages);

 private:
  const unsigned char* data_ = nullptr;
  std::uint64_t size_ = 0;
  std::uint64_t state_ = 88172645463325252;
  volatile unsigned char last_ = 0;  // makes the reads happen
};

}  // namespace memgov::workloads
