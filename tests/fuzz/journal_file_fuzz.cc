// A segment of a journal as it lies on a disk: cut off, damaged, written by somebody else. Reading ends, says
// what is wrong, and takes no more memory than the file justifies.

#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "governor/journal/reader.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using memgov::fuzz::Require;
  const int fd = memfd_create("journal", MFD_CLOEXEC);
  Require(fd >= 0 && write(fd, data, size) == static_cast<ssize_t>(size), "a file in memory");
  auto reader = memgov::journal::Reader::Open("/proc/self/fd/" + std::to_string(fd));
  if (reader.ok()) {
    std::size_t entries = 0;
    while (reader->Next()) ++entries;
    Require(entries <= size, "a record takes bytes");
  }
  close(fd);
  return 0;
}
