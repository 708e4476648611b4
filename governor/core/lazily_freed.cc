#include "governor/core/lazily_freed.h"

#include <algorithm>

namespace memgov::core {

LazyBounds LazilyFreedBounds(const MemoryStat& stat) {
  const Bytes on_file_lists = (stat.inactive_file + stat.active_file) - (stat.file - stat.shmem);
  const Bytes off_anon_lists = stat.anon - (stat.inactive_anon + stat.active_anon - stat.shmem);
  // Pages between two lists can put the one a little above the other, or either below zero.
  const auto [low, high] = std::minmax(on_file_lists, off_anon_lists);
  return {.at_least = std::max(low, Bytes{0}), .at_most = std::max(high, Bytes{0})};
}

}  // namespace memgov::core
