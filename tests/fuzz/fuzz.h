// What the fuzz targets share.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace memgov::fuzz {

inline std::string_view Text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// A broken promise ends the run, and libFuzzer keeps the input.
inline void Require(bool held, const char* promise) {
  if (held) return;
  std::fprintf(stderr, "broken: %s\n", promise);
  std::abort();
}

// Cuts the input at what its own bytes say, so that the pieces are the fuzzer's to choose as well.
class Pieces {
 public:
  explicit Pieces(std::string_view input) : left_(input) {}

  bool empty() const { return left_.empty(); }
  std::size_t left() const { return left_.size(); }

  // One byte as a number; 0 at the end.
  unsigned Number() {
    if (left_.empty()) return 0;
    const auto number = static_cast<unsigned char>(left_.front());
    left_.remove_prefix(1);
    return number;
  }

  std::string_view Take(std::size_t size) {
    const std::string_view piece = left_.substr(0, size);
    left_.remove_prefix(piece.size());
    return piece;
  }

 private:
  std::string_view left_;
};

}  // namespace memgov::fuzz
