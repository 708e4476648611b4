#include "governor/core/json.h"

#include "absl/strings/str_format.h"
#include "governor/core/printable.h"

namespace memgov::core {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

void AppendEscaped(char32_t code, std::string* out) {
  if (code > 0xFFFF) {  // as a pair of surrogates
    code -= 0x10000;
    absl::StrAppendFormat(out, "\\u%04x", static_cast<unsigned>(0xD800 + (code >> 10)));
    code = 0xDC00 + (code & 0x3FF);
  }
  absl::StrAppendFormat(out, "\\u%04x", static_cast<unsigned>(code));
}

}  // namespace

std::string JsonString(std::string_view text) {
  std::string out = "\"";
  out.reserve(text.size() + 2);
  while (!text.empty()) {
    const Character character = FrontOf(text);
    if (character.length == 0) {
      out += kReplacement;
      text.remove_prefix(1);
      continue;
    }
    if (character.code == '"' || character.code == '\\') {
      out += '\\';
      out += text.front();
    } else if (!IsVisible(character.code)) {
      AppendEscaped(character.code, &out);
    } else {
      out += text.substr(0, character.length);
    }
    text.remove_prefix(character.length);
  }
  return out + '"';
}

}  // namespace memgov::core
