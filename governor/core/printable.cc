#include "governor/core/printable.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_format.h"

namespace memgov::core {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

// Unicode's categories Cc, Cf, Zl and Zp, and what is no character at all.
constexpr Range kInvisible[] = {
    {0x0000, 0x001F},    // C0
    {0x007F, 0x009F},    // DEL, C1
    {0x00AD, 0x00AD},    // soft hyphen
    {0x0600, 0x0605},    // signs that reach over what follows
    {0x061C, 0x061C},    // Arabic letter mark
    {0x06DD, 0x06DD},    //
    {0x070F, 0x070F},    //
    {0x0890, 0x0891},    //
    {0x08E2, 0x08E2},    //
    {0x115F, 0x1160},    // fillers
    {0x180E, 0x180E},    // Mongolian vowel separator
    {0x200B, 0x200F},    // no width, and marks of direction
    {0x2028, 0x202E},    // line and paragraph separators, embeddings and overrides
    {0x2060, 0x206F},    // word joiner, isolates
    {0x3164, 0x3164},    // filler
    {0xFDD0, 0xFDEF},    // no characters
    {0xFEFF, 0xFEFF},    // byte order mark
    {0xFFA0, 0xFFA0},    // filler
    {0xFFF0, 0xFFFB},    // annotations
    {0xFFFE, 0xFFFF},    // no characters
    {0x110BD, 0x110CD},  // Kaithi number signs
    {0x13430, 0x13455},  // joiners of hieroglyphs
    {0x1BCA0, 0x1BCA3},  // of shorthand
    {0x1D173, 0x1D17A},  // of music
    {0xE0000, 0xE0FFF},  // tags, variation selectors
};

}  // namespace

Character FrontOf(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return {};
  char32_t code = first & (0x7F >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3F);
  }
  // Overlong forms, surrogates and what lies above U+10FFFF.
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  if (overlong || (code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF) return {};
  return {code, length};
}

bool IsVisible(char32_t code) {
  const auto* after = std::upper_bound(std::begin(kInvisible), std::end(kInvisible), code,
                                       [](char32_t c, const Range& range) { return c < range.first; });
  return after == std::begin(kInvisible) || code > std::prev(after)->last;
}

std::string Printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character character = FrontOf(text);
    const std::size_t length = std::max<std::size_t>(character.length, 1);
    if (character.length > 0 && IsVisible(character.code)) {
      out += text.substr(0, length);
    } else if (character.length > 1) {
      absl::StrAppendFormat(&out, "\\u{%x}", static_cast<unsigned>(character.code));
    } else if (text.front() == '\n') {
      out += "\\n";
    } else if (text.front() == '\r') {
      out += "\\r";
    } else if (text.front() == '\t') {
      out += "\\t";
    } else {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(text.front()));
    }
    text.remove_prefix(length);
  }
  return out;
}

std::string PrintableLines(std::string_view text) {
  std::string out;
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    out += Printable(text.substr(0, end)) + '\n';
    text.remove_prefix(end + 1);
  }
  return out + Printable(text);
}

}  // namespace memgov::core
