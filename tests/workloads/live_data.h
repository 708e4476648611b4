// Blocks of mixed sizes on the heap, each filled so that its content can be verified to the last byte.

#pragma once

#include <cstdint>
#include <vector>

namespace memgov::workloads {

// Which blocks survive the freeing.
enum class Pattern {
  kRuns,       // the last of every run of blocks: the free space is contiguous
  kScattered,  // each by chance: the free space is in holes between live blocks
};

// The caller's resident memory in bytes, from /proc/self/statm; 0 when it cannot be read. Allocates nothing.
std::uint64_t ResidentBytes();

inline double Mib(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// Not thread-safe. Frees what it holds at its end.
class LiveData {
 public:
  LiveData() = default;
  LiveData(const LiveData&) = delete;
  LiveData& operator=(const LiveData&) = delete;
  ~LiveData();

  // Allocates until the process is `resident` bytes large. Sizes of 128 B to 128 KiB, the same sequence every
  // time: what services allocate most, and below the size from which allocators map each block by itself and
  // so keep nothing of it.
  void Grow(std::uint64_t resident);

  // Frees blocks until about `keep` (0 to 1) of the bytes are left.
  void Free(double keep, Pattern pattern);

  // Where a slice-wise verification stands.
  class Cursor {
   public:
    bool at_end() const { return at_end_; }

   private:
    friend class LiveData;
    std::size_t block_ = 0;
    bool at_end_ = false;
  };

  // Verifies about `bytes` from the cursor on and moves it. Returns the number of blocks that were wrong.
  // Allocates nothing.
  std::uint64_t Verify(std::uint64_t bytes, Cursor* cursor) const;
  std::uint64_t VerifyAll() const;

  std::uint64_t live_bytes() const { return live_bytes_; }

 private:
  struct Block {
    std::uint64_t* words = nullptr;
    std::uint32_t count = 0;  // of words
    std::uint32_t seed = 0;
  };
  static std::uint64_t WordAt(const Block& block, std::uint32_t i);
  static bool Right(const Block& block);

  std::vector<Block> blocks_;
  std::uint64_t live_bytes_ = 0;
};

}  // namespace memgov::workloads
