#include "tests/workloads/code_pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace memgov::workloads {
namespace {

constexpr std::uint64_t kPage = 4096;

}  // namespace

CodePages::~CodePages() {
  if (data_ != nullptr) munmap(const_cast<unsigned char*>(data_), size_);
}

bool CodePages::Map(const char* path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  struct stat status {};
  void* mapped = MAP_FAILED;
  if (fstat(fd, &status) == 0 && status.st_size >= static_cast<off_t>(kPage)) {
    mapped = mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
  }
  close(fd);
  if (mapped == MAP_FAILED) return false;
  data_ = static_cast<const unsigned char*>(mapped);
  size_ = static_cast<std::uint64_t>(status.st_size);
  return true;
}

void CodePages::Touch(int pages) {
  if (data_ == nullptr) return;
  for (int i = 0; i < pages; ++i) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    last_ = data_[state_ % (size_ / kPage) * kPage];
  }
}

}  // namespace memgov::workloads
