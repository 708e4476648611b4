#include "governor/core/printable.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "governor/core/json.h"

namespace memgov::core {
namespace {

TEST(Printable, KeepsWhatIsSeen) {
  for (const char* text : {"", "/kubepods/größe-日本 \"x\"", "machine-qemu\\x2d1.scope", "😀", "a b"}) {
    EXPECT_EQ(Printable(text), text);
  }
}

TEST(Printable, WritesOutWhatForgesLinesAndCommandsTerminals) {
  EXPECT_EQ(Printable("x\n9.9 stopped"), "x\\n9.9 stopped");
  EXPECT_EQ(Printable("a\r\t\x1b[2K\x7f"), "a\\r\\t\\x1b[2K\\x7f");
  EXPECT_EQ(Printable(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(Printable("u\u009b31m"), "u\\u{9b}31m");
  EXPECT_EQ(Printable("rtl\u202e, \u2066, \u200f, \u061c"), "rtl\\u{202e}, \\u{2066}, \\u{200f}, \\u{61c}");
  EXPECT_EQ(Printable("a\u2028b\u200bc\ufeff\U000e0041"), "a\\u{2028}b\\u{200b}c\\u{feff}\\u{e0041}");
}

TEST(Printable, WritesOutBytesThatAreNoText) {
  EXPECT_EQ(Printable("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(Printable("\xc2"), "\\xc2") << "cut off";
  EXPECT_EQ(Printable("\xc0\x8a"), "\\xc0\\x8a") << "an overlong newline";
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "a surrogate";
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80") << "above U+10FFFF";
  EXPECT_EQ(Printable("\x9b"
                      "31m"),
            "\\x9b31m")
      << "C1 as a single byte";
}

TEST(Printable, MayKeepLines) {
  EXPECT_EQ(PrintableLines("a\n\x1b\n\nb"), "a\n\\x1b\n\nb");
  EXPECT_EQ(PrintableLines("a\r\n"), "a\\r\n");
}

TEST(Printable, ChangesNothingTwice) {
  const std::string once = Printable("a\n\xff\u202e\\");
  EXPECT_EQ(Printable(once), once);
}

// All that can stand in a name: no output has a control character or a byte that is no text.
TEST(Printable, HoldsForAnyBytesAndAllCharacters) {
  const auto check = [](const std::string& out) {
    for (std::string_view rest = out; !rest.empty();) {
      const Character character = FrontOf(rest);
      ASSERT_GT(character.length, 0u);
      ASSERT_TRUE(IsVisible(character.code)) << static_cast<unsigned>(character.code);
      rest.remove_prefix(character.length);
    }
  };
  std::mt19937 random(11);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes(random() % 12, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    check(Printable(bytes));
    check(JsonString(bytes));
  }
  for (unsigned code = 0; code < 0x110000; ++code) {
    std::string text;
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else if (code < 0x800) {
      text += static_cast<char>(0xC0 | code >> 6);
    } else if (code < 0x10000) {
      text += static_cast<char>(0xE0 | code >> 12);
      text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    } else {
      text += static_cast<char>(0xF0 | code >> 18);
      text += static_cast<char>(0x80 | (code >> 12 & 0x3F));
      text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    }
    if (code >= 0x80) text += static_cast<char>(0x80 | (code & 0x3F));
    check(Printable(text));
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    ASSERT_EQ(FrontOf(text).code, code);
    ASSERT_EQ(Printable(text) == text, IsVisible(code)) << code;
  }
}

}  // namespace
}  // namespace memgov::core
