#include "governor/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "governor/core/json.h"
#include "governor/core/printable.h"
#include "governor/event_log.h"

namespace memgov {
namespace {

constexpr std::size_t kWidth = 100;
constexpr std::size_t kNameWidth = 20;
constexpr std::size_t kStateWidth = 10;
constexpr std::size_t kLabelWidth = 8;

// `text` in lines that end before kWidth, each but the first behind `indent` blanks. A word too long for a
// line, such as a path, stands alone.
std::string Wrapped(std::string_view text, std::size_t indent) {
  std::string out;
  std::size_t column = indent;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (column > indent && column + 1 + word.size() > kWidth) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out;
}

std::string_view ColourOf(CheckState state) {
  constexpr std::array<std::string_view, 3> kColours = {"\x1b[32m", "\x1b[33m", "\x1b[31m"};
  return kColours[static_cast<std::size_t>(state)];
}

}  // namespace

std::string_view NameOf(CheckState state) {
  constexpr std::array<std::string_view, 3> kNames = {"ok", "degraded", "missing"};
  return kNames[static_cast<std::size_t>(state)];
}

std::string TableOf(const std::vector<Check>& checks, bool colours) {
  const std::size_t indent = kNameWidth + kStateWidth;
  std::string out;
  for (const Check& check : checks) {
    const std::string state = fmt::format("{:<{}}", NameOf(check.state), kStateWidth);
    fmt::format_to(std::back_inserter(out), "{:<{}}{}{}{}{}\n", check.name, kNameWidth,
                   colours ? ColourOf(check.state) : "", state, colours ? "\x1b[0m" : "",
                   Wrapped(core::Printable(check.found), indent));
    const auto add = [&](std::string_view label, const std::string& text) {
      if (text.empty()) return;
      const std::string padding(indent, ' ');
      fmt::format_to(std::back_inserter(out), "{}{:<{}}{}\n", padding, label, kLabelWidth,
                     Wrapped(core::Printable(text), indent + kLabelWidth));
    };
    add("lost:", check.lost);
    add("get it:", check.remedy);
  }
  return out;
}

std::string JsonOf(const std::vector<Check>& checks) {
  std::string out = "[";
  for (const Check& check : checks) {
    fmt::format_to(std::back_inserter(out),
                   "{}\n  {{\"check\": {}, \"state\": \"{}\", \"found\": {}, \"lost\": {}, \"remedy\": {}}}",
                   out.size() == 1 ? "" : ",", core::JsonString(check.name), NameOf(check.state),
                   core::JsonString(check.found), core::JsonString(check.lost),
                   core::JsonString(check.remedy));
  }
  return out + "\n]\n";
}

int ExitCodeOf(const std::vector<Check>& checks) {
  int code = 0;
  for (const Check& check : checks) {
    if (check.state != CheckState::kOk) code = std::max(code, check.essential ? 2 : 1);
  }
  return code;
}

}  // namespace memgov
