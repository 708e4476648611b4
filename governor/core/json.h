// Text inside JSON, always valid and without what a terminal would obey (printable.h): bytes that are no
// UTF-8 become U+FFFD.

#pragma once

#include <string>
#include <string_view>

namespace memgov::core {

// `text` as a JSON string, with its quotation marks.
std::string JsonString(std::string_view text);

}  // namespace memgov::core
