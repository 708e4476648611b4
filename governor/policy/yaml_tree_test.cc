// What reaches the schema from a YAML text, and what is refused before.

#include "governor/policy/yaml_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace memgov::policy {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Refusal(const std::string& text) {
  ErrorList errors("f");
  const YamlTree tree = ReadYaml(text, errors);
  EXPECT_EQ(tree.root(), nullptr);
  return std::string(errors.ToStatus().message());
}

std::string Repeat(const std::string& unit, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += unit;
  return text;
}

TEST(ATree, KeepsOrderPlacesAndDuplicates) {
  ErrorList errors("f");
  const YamlTree tree = ReadYaml("b: 1\na: [x, ~]\nb: {}\n", errors);
  ASSERT_NE(tree.root(), nullptr);
  const auto& entries = tree.root()->entries;
  ASSERT_EQ(entries.size(), 3);
  EXPECT_EQ(entries[0].key->text, "b");
  EXPECT_EQ(entries[0].value->text, "1");
  EXPECT_EQ(entries[1].value->kind, YamlNode::Kind::kList);
  EXPECT_EQ(entries[1].value->items[1]->kind, YamlNode::Kind::kNull);
  EXPECT_EQ(entries[2].key->at.line, 3);
  EXPECT_EQ(entries[2].value->at.column, 4);
  EXPECT_EQ(tree.root()->values, 9);
}

TEST(ATree, SharesWhatAnAliasNames) {
  ErrorList errors("f");
  const YamlTree tree = ReadYaml("a: &x [1, 2]\nb: *x\n", errors);
  ASSERT_NE(tree.root(), nullptr);
  EXPECT_EQ(tree.root()->entries[0].value, tree.root()->entries[1].value);
  EXPECT_EQ(tree.root()->values, 9) << "the alias counts as what it stands for";
}

TEST(Text, MustBeUtf8) {
  EXPECT_EQ(Refusal("a: \xff\n"), "f:1:4: byte 0xff is not UTF-8; a policy is UTF-8 text");
  EXPECT_EQ(Refusal("a: 1\nb: \xc3\n"), "f:2:4: byte 0xc3 is not UTF-8; a policy is UTF-8 text");
  EXPECT_EQ(Refusal("a: \xc0\xaf"), "f:1:4: byte 0xc0 is not UTF-8; a policy is UTF-8 text") << "overlong";
  EXPECT_EQ(Refusal("a: \xed\xa0\x80"), "f:1:4: byte 0xed is not UTF-8; a policy is UTF-8 text")
      << "surrogate";
  EXPECT_EQ(Refusal(std::string("\xff\xfe"
                                "a\0",
                                4)),
            "f:1:1: byte 0xff is not UTF-8; a policy is UTF-8 text")
      << "UTF-16";
}

TEST(Text, MustBePlain) {
  EXPECT_EQ(Refusal(std::string("a: \0b", 5)), "f:1:4: control character U+0000; a policy is plain text");
  EXPECT_EQ(Refusal("\x7f"
                    "ELF"),
            "f:1:1: control character U+007F; a policy is plain text");
  EXPECT_EQ(Refusal("a: \x1b[31m"), "f:1:4: control character U+001B; a policy is plain text");
  EXPECT_EQ(Refusal("\xc3\xa9: \xc2\x85"), "f:1:5: control character U+0085; a policy is plain text");
}

TEST(ASecondDocument, IsRefused) {
  EXPECT_EQ(Refusal("a: 1\n---\nb: 2\n"), "f:2:1: a second document; a file holds one policy");
  EXPECT_THAT(Refusal("---\n---\n"), HasSubstr("a second document; a file holds one policy"));
  EXPECT_THAT(Refusal(",,,"), HasSubstr("a second document")) << "yaml-cpp sees documents without end here";
}

TEST(Tags, AreRefused) {
  EXPECT_THAT(Refusal("a: !!binary aGk=\n"), StartsWith("f:1:4: tag \"tag:yaml.org,2002:binary\"; a policy"));
  EXPECT_EQ(Refusal("a: !env HOME\n"), "f:1:4: tag \"!env\"; a policy needs no tags");
}

TEST(SyntaxErrors, CarryThePlaceAndTheParsersWords) {
  EXPECT_EQ(Refusal("a: 1\nb: [1, 2\n"), "f:3:1: not YAML: end of sequence flow not found");
  EXPECT_EQ(Refusal("a: b: c\n"), "f:1:5: not YAML: illegal map value");
  EXPECT_EQ(Refusal("a: \"\\\xc3\xa9\"\n"), "f:1:7: not YAML: unknown escape character: \\xc3");
  EXPECT_EQ(Refusal("a: *x\n"), "f:1:4: not YAML: the referenced anchor is not defined");
}

TEST(Depth, HasABound) {
  ErrorList errors("f");
  EXPECT_NE(ReadYaml(Repeat("[", 32) + Repeat("]", 32), errors).root(), nullptr);
  EXPECT_EQ(Refusal(Repeat("[", 33) + Repeat("]", 33)), "f:1:33: nested deeper than 32 levels");
  EXPECT_THAT(Refusal(Repeat("[", 1 << 16)), HasSubstr("nested deeper than 32 levels"));
  EXPECT_THAT(Refusal(Repeat("{", 1 << 16)), HasSubstr("nested deeper than 32 levels"));
  EXPECT_THAT(Refusal(Repeat("- ", 1 << 15)), HasSubstr("nested deeper than 32 levels"));
  EXPECT_THAT(Refusal(Repeat("? ", 1 << 15)), HasSubstr("nested deeper than 32 levels"));
}

TEST(Size, HasABoundWithAliasesWrittenOut) {
  EXPECT_THAT(Refusal("[" + Repeat("[],", 300'000) + "]"), HasSubstr("more than 20000 values"));
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    const std::string name = "a" + std::to_string(i);
    bomb.append(name).append(": &").append(name).append(" [").append(Repeat(before + ", ", 9)).append("]\n");
  }
  EXPECT_THAT(Refusal(bomb), StartsWith("f:5:")) << bomb;
  EXPECT_THAT(Refusal(bomb), HasSubstr("more than 20000 values, with aliases written out"));
}

TEST(AnAnchorWithinItself, IsRefused) {
  EXPECT_EQ(Refusal("a: &x [1, *x]\n"), "f:1:11: an alias within its own anchor");
  EXPECT_EQ(Refusal("&x {a: {b: *x}}\n"), "f:1:12: an alias within its own anchor");
}

}  // namespace
}  // namespace memgov::policy
