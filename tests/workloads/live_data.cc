#include "tests/workloads/live_data.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>

namespace memgov::workloads {
namespace {

// A run of blocks whose tail survives: long enough that what is freed before it spans many pages.
constexpr std::uint64_t kRunBytes = 4 << 20;

// xorshift64*: a fixed sequence, so that every run of every allocator sees the same sizes.
class Sequence {
 public:
  explicit Sequence(std::uint64_t seed) : state_(seed | 1) {}
  std::uint64_t Next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1D;
  }
  double Share() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

 private:
  std::uint64_t state_;
};

// 128 B to 128 KiB. Every power of two gets about as many bytes, so most blocks are small, as in most heaps:
// that is what makes scattered survivors hold on to pages.
std::uint32_t NextWords(Sequence& sequence) {
  const int power = std::min(std::countr_zero(sequence.Next() >> 20), 9);
  const std::uint32_t base = 16u << power;
  return base + static_cast<std::uint32_t>(sequence.Next() % base);
}

}  // namespace

std::uint64_t ResidentBytes() {
  char text[128];
  const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return 0;
  text[length] = '\0';
  unsigned long long total = 0, resident = 0;
  if (std::sscanf(text, "%llu %llu", &total, &resident) != 2) return 0;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

LiveData::~LiveData() {
  for (const Block& block : blocks_) std::free(block.words);
}

void LiveData::Grow(std::uint64_t resident) {
  Sequence sequence(20240229);
  blocks_.reserve(resident / 1024);
  std::uint64_t since_look = kRunBytes;
  while (true) {
    if (since_look >= kRunBytes / 8) {
      if (ResidentBytes() >= resident) break;
      since_look = 0;
    }
    Block block{
        .words = nullptr, .count = NextWords(sequence), .seed = static_cast<std::uint32_t>(sequence.Next())};
    block.words = static_cast<std::uint64_t*>(std::malloc(block.count * sizeof(std::uint64_t)));
    if (block.words == nullptr) {
      std::fprintf(stderr, "retain_service: out of memory while growing\n");
      std::exit(3);
    }
    for (std::uint32_t i = 0; i < block.count; ++i) block.words[i] = WordAt(block, i);
    blocks_.push_back(block);
    live_bytes_ += block.count * sizeof(std::uint64_t);
    since_look += block.count * sizeof(std::uint64_t);
  }
}

void LiveData::Free(double keep, Pattern pattern) {
  Sequence sequence(7);
  std::uint64_t in_run = 0;
  std::size_t kept = 0;
  for (Block& block : blocks_) {
    const std::uint64_t size = block.count * sizeof(std::uint64_t);
    bool survives = false;
    if (pattern == Pattern::kScattered) {
      survives = sequence.Share() < keep;
    } else {
      survives = static_cast<double>(in_run) >= (1 - keep) * static_cast<double>(kRunBytes);
      in_run = in_run + size >= kRunBytes ? 0 : in_run + size;
    }
    if (survives) {
      blocks_[kept++] = block;
    } else {
      std::free(block.words);
      live_bytes_ -= size;
    }
  }
  blocks_.resize(kept);
}

std::uint64_t LiveData::WordAt(const Block& block, std::uint32_t i) {
  return (std::uint64_t{block.seed} << 32) + i;
}

bool LiveData::Right(const Block& block) {
  std::uint64_t wrong = 0;
  for (std::uint32_t i = 0; i < block.count; ++i) wrong |= block.words[i] ^ WordAt(block, i);
  return wrong == 0;
}

std::uint64_t LiveData::Verify(std::uint64_t bytes, Cursor* cursor) const {
  std::uint64_t read = 0, errors = 0;
  while (read < bytes && cursor->block_ < blocks_.size()) {
    const Block& block = blocks_[cursor->block_++];
    if (!Right(block)) ++errors;
    read += block.count * sizeof(std::uint64_t);
  }
  cursor->at_end_ = cursor->block_ >= blocks_.size();
  return errors;
}

std::uint64_t LiveData::VerifyAll() const {
  Cursor cursor;
  return Verify(UINT64_MAX, &cursor);
}

}  // namespace memgov::workloads
