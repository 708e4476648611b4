// What is said once and not again, of texts that name tenants and files: remembered up to a bound, however
// many of those come and go in a year. Beyond it the text that was first said is forgotten, and may be said
// again.
//
// Not thread-safe.

#pragma once

#include <cstddef>
#include <deque>
#include <set>
#include <string>
#include <utility>

namespace memgov {

class SaidOnce {
 public:
  explicit SaidOnce(std::size_t most = 1024) : most_(most) {}

  // True: it has not been said yet, as far as is known. From now on it has.
  bool Say(std::string text) {
    const auto [said, is_new] = texts_.insert(std::move(text));
    if (!is_new) return false;
    order_.push_back(said);
    if (order_.size() > most_) {
      texts_.erase(order_.front());
      order_.pop_front();
    }
    return true;
  }

  std::size_t size() const { return texts_.size(); }

 private:
  const std::size_t most_;
  std::set<std::string> texts_;
  std::deque<std::set<std::string>::iterator> order_;  // the first said first
};

}  // namespace memgov
