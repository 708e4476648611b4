// What is said of the lines of a state file that are not understood. Whoever can write one must not be able
// to fill the log or the memory with it: only the first are named, cut short and without control characters.

#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace memgov::kernel {

// Calls `parse` with each line; one for which it returns false is named in `complaints` ("FILE:LINE: ...") as
// not being `form`.
template <typename Parse>
void ForEachLine(std::string_view text, const std::string& file, const char* form,
                 std::vector<std::string>* complaints, Parse parse) {
  constexpr std::size_t kMostComplaints = 16;
  constexpr std::size_t kMostShown = 100;
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (parse(line) || complaints->size() > kMostComplaints) continue;
    if (complaints->size() == kMostComplaints) {
      complaints->push_back(absl::StrCat(file, ": and more"));
      continue;
    }
    complaints->push_back(absl::StrCat(file, ":", number, ": \"", absl::CEscape(line.substr(0, kMostShown)),
                                       line.size() > kMostShown ? "..." : "", "\" is not \"", form, "\""));
  }
}

}  // namespace memgov::kernel
