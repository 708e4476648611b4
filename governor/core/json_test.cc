#include "governor/core/json.h"

#include <gtest/gtest.h>

namespace memgov::core {
namespace {

TEST(JsonString, EscapesWhatJsonReserves) {
  EXPECT_EQ(JsonString("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000ad\"");
  EXPECT_EQ(JsonString(""), "\"\"");
}

TEST(JsonString, EscapesWhatIsNotSeen) {
  EXPECT_EQ(JsonString("\u009b\u202e\x7f"), "\"\\u009b\\u202e\\u007f\"");
  EXPECT_EQ(JsonString("\U000e0041"), "\"\\udb40\\udc41\"") << "a pair";
}

TEST(JsonString, KeepsText) { EXPECT_EQ(JsonString("/kubepods/größe-日本"), "\"/kubepods/größe-日本\""); }

TEST(JsonString, ReplacesBytesThatAreNoText) {
  EXPECT_EQ(JsonString("a\xFF"), "\"a\xEF\xBF\xBD\"");
  EXPECT_EQ(JsonString("\xC3"), "\"\xEF\xBF\xBD\"") << "cut off";
  EXPECT_EQ(JsonString("\xED\xA0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"") << "a surrogate";
}

}  // namespace
}  // namespace memgov::core
