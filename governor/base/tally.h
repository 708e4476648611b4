// What happens too often to be told each time: counted for each tenant, and told once in a while. What can be
// remembered and told is bounded, however many tenants there are.
//
// Pure; the caller brings the time. Not thread-safe.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "governor/core/units.h"

namespace memgov::base {

class Tally {
 public:
  struct Line {
    std::string who;  // empty: others, who were too many to be named
    std::uint64_t count = 0;
    core::Duration over{};  // since the first of them
  };

  // A line for each tenant `every` so often; at most `most` tenants are named in that time.
  explicit Tally(core::Duration every = std::chrono::seconds(10), std::size_t most = 32)
      : every_(every), most_(most) {}

  void Count(std::string_view who, core::Instant now) {
    auto found = counts_.find(who);
    if (found == counts_.end() && counts_.size() >= most_) found = counts_.find(std::string_view());
    if (found == counts_.end()) {
      // The place of the others is beside those that are named.
      found = counts_.emplace(counts_.size() >= most_ ? std::string_view() : who, Entry{now, 0}).first;
    }
    ++found->second.count;
  }

  // What is to be told by now; it is forgotten here.
  std::vector<Line> Due(core::Instant now) {
    std::vector<Line> lines;
    for (auto entry = counts_.begin(); entry != counts_.end();) {
      if (now - entry->second.since < every_) {
        ++entry;
        continue;
      }
      lines.push_back({.who = entry->first, .count = entry->second.count, .over = now - entry->second.since});
      entry = counts_.erase(entry);
    }
    return lines;
  }

 private:
  struct Entry {
    core::Instant since;
    std::uint64_t count;
  };

  core::Duration every_;
  std::size_t most_;
  std::map<std::string, Entry, std::less<>> counts_;
};

}  // namespace memgov::base
