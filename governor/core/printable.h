// Text of others, such as the names of cgroups and processes, on its way to a log or a terminal. What is not
// seen there, but does something, is written out: control characters (a newline forges a line, ESC and the C1
// set command the terminal), what turns the direction of text around or has no width, and bytes that are no
// UTF-8.

#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace memgov::core {

// What stands at the front of a text that is not empty.
struct Character {
  char32_t code = 0;
  std::size_t length = 0;  // bytes; 0: no UTF-8
};
Character FrontOf(std::string_view text);

// Whether a reader sees it for what it is.
bool IsVisible(char32_t code);

// One line: what is not visible becomes \n, \r, \t, \x1b or \u{202e}. Text that has been through it stays as
// it is, so that it may be given to whole sentences. A backslash is left alone: systemd's names have many.
std::string Printable(std::string_view text);

// The same where newlines are ours, such as those of a list of errors.
std::string PrintableLines(std::string_view text);

}  // namespace memgov::core
