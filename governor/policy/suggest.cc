#include "governor/policy/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "governor/policy/error_list.h"

namespace memgov::policy {
namespace {

// No key is as long; the distance costs the product of the lengths.
constexpr std::size_t kLongest = 64;

}  // namespace

int EditDistance(std::string_view from, std::string_view to) {
  // Rows of the usual table (optimal string alignment): the one being filled and the two before it.
  std::vector<int> before(to.size() + 1), last(to.size() + 1), row(to.size() + 1);
  for (std::size_t t = 0; t <= to.size(); ++t) row[t] = static_cast<int>(t);
  for (std::size_t f = 1; f <= from.size(); ++f) {
    std::swap(before, last);
    std::swap(last, row);
    row[0] = static_cast<int>(f);
    for (std::size_t t = 1; t <= to.size(); ++t) {
      const int change = last[t - 1] + (from[f - 1] == to[t - 1] ? 0 : 1);
      row[t] = std::min({change, last[t] + 1, row[t - 1] + 1});
      if (f > 1 && t > 1 && from[f - 1] == to[t - 2] && from[f - 2] == to[t - 1]) {
        row[t] = std::min(row[t], before[t - 2] + 1);
      }
    }
  }
  return row[to.size()];
}

std::string DidYouMean(std::string_view written, const std::vector<std::string>& known) {
  if (written.size() > kLongest) return "";
  const std::string lower = absl::AsciiStrToLower(std::string(written));
  std::string_view nearest;
  int least = 0;
  for (const std::string& word : known) {
    const int distance = EditDistance(lower, absl::AsciiStrToLower(word));
    // A third of the word may be wrong; more is another word.
    if (distance > static_cast<int>(std::max(written.size(), word.size())) / 3) continue;
    if (nearest.empty() || distance < least) {
      nearest = word;
      least = distance;
    }
  }
  return nearest.empty() ? "" : DidYouMean(nearest);
}

std::string DidYouMean(std::string_view suggestion) {
  return fmt::format(" (did you mean {}?)", Quoted(suggestion));
}

}  // namespace memgov::policy
