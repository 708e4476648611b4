#include "governor/policy/error_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"

namespace memgov::policy {
namespace {

constexpr std::size_t kMostShown = 100;
constexpr std::size_t kLongestQuote = 64;

}  // namespace

void ErrorList::Add(Position at, std::string message) { errors_.push_back({at, std::move(message)}); }

absl::Status ErrorList::ToStatus() const {
  if (errors_.empty()) return absl::OkStatus();
  const auto key = [](const Error& error) { return std::tie(error.at.line, error.at.column, error.message); };
  std::vector<Error> sorted = errors_;
  std::sort(sorted.begin(), sorted.end(),
            [&](const Error& left, const Error& right) { return key(left) < key(right); });
  sorted.erase(std::unique(sorted.begin(), sorted.end(),
                           [&](const Error& left, const Error& right) { return key(left) == key(right); }),
               sorted.end());

  std::vector<std::string> lines;
  for (const Error& error : sorted) {
    if (lines.size() == kMostShown) {
      lines.push_back(fmt::format("{}: and {} more", file_, sorted.size() - kMostShown));
      break;
    }
    lines.push_back(fmt::format("{}:{}:{}: {}", file_, error.at.line, error.at.column, error.message));
  }
  return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
}

std::string Quoted(std::string_view text) {
  std::size_t length = text.size();
  if (length > kLongestQuote) {
    length = kLongestQuote;
    // Not in the middle of a character: UTF-8 continuation bytes are 10xxxxxx.
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
  }
  return fmt::format("\"{}{}\"", absl::Utf8SafeCEscape(std::string(text.substr(0, length))),
                     length < text.size() ? "…" : "");
}

}  // namespace memgov::policy
