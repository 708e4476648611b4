// The forms of values, one by one: what they mean, and what is said about those that are wrong.

#include "governor/policy/forms.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <string>

#include "memgov/v1/policy.pb.h"

namespace memgov::policy {
namespace {

using v1::KeyOptions;

double Value(Form form, const std::string& text) {
  const auto value = ParseQuantity(form, text);
  EXPECT_TRUE(value.ok()) << value.status();
  return value.value_or(-1);
}

std::string Refusal(Form form, const std::string& text) {
  return std::string(ParseQuantity(form, text).status().message());
}

std::string FormRefusal(Form form, const std::string& text) {
  return std::string(CheckForm(form, text).message());
}

TEST(Bytes, AreBinaryUnits) {
  EXPECT_EQ(Value(KeyOptions::FORM_BYTES, "0"), 0);
  EXPECT_EQ(Value(KeyOptions::FORM_BYTES, "17B"), 17);
  EXPECT_EQ(Value(KeyOptions::FORM_BYTES, "64KiB"), 65536);
  EXPECT_EQ(Value(KeyOptions::FORM_BYTES, "256MiB"), 268435456);
  EXPECT_EQ(Value(KeyOptions::FORM_BYTES, "1.5GiB"), 1610612736);
  EXPECT_EQ(Value(KeyOptions::FORM_BYTES, "2TiB"), 2199023255552);
}

TEST(Bytes, OfOtherUnitsAreRefusedWithTheLikelyOne) {
  for (const char* text : {"256MB", "256Mi", "256M", "256m", "256mib"}) {
    EXPECT_EQ(Refusal(KeyOptions::FORM_BYTES, text),
              "\"" + std::string(text) + "\" is not a size such as 256MiB (did you mean \"256MiB\"?)");
  }
  EXPECT_EQ(Refusal(KeyOptions::FORM_BYTES, "256"), "\"256\" has no unit; write for example 256MiB");
  for (const char* text : {"", "MiB", "-1MiB", "+1MiB", "1e9B", "0x10MiB", "1 MiB", "1.2.3GiB", ".5GiB",
                           "infB", "5 apples", "1,5GiB"}) {
    EXPECT_EQ(Refusal(KeyOptions::FORM_BYTES, text),
              "\"" + std::string(text) + "\" is not a size such as 256MiB");
  }
}

TEST(Percentages, NeedTheirSign) {
  EXPECT_EQ(Value(KeyOptions::FORM_PERCENT, "85%"), 85);
  EXPECT_EQ(Value(KeyOptions::FORM_PERCENT, "92.5%"), 92.5);
  EXPECT_EQ(Refusal(KeyOptions::FORM_PERCENT, "85"), "\"85\" has no unit (did you mean \"85%\"?)");
  for (const char* text : {"", "%", "-5%", "8O%", "85 %", "85%%", "nan%", "1e1%"}) {
    EXPECT_EQ(Refusal(KeyOptions::FORM_PERCENT, text),
              "\"" + std::string(text) + "\" is not a percentage such as 85%");
  }
}

TEST(Durations, MayBeSums) {
  EXPECT_EQ(Value(KeyOptions::FORM_DURATION, "250ms"), 250e6);
  EXPECT_EQ(Value(KeyOptions::FORM_DURATION, "1.5s"), 1.5e9);
  EXPECT_EQ(Value(KeyOptions::FORM_DURATION, "1m30s"), 90e9);
  EXPECT_EQ(Value(KeyOptions::FORM_DURATION, "1h"), 3600e9);
  EXPECT_EQ(Refusal(KeyOptions::FORM_DURATION, "30"),
            "\"30\" has no unit; write for example 250ms, 30s or 5m");
  EXPECT_EQ(Refusal(KeyOptions::FORM_DURATION, "0"), "\"0\" has no unit; write for example 250ms, 30s or 5m");
  for (const char* text : {"", "s", "-5s", "inf", "-inf", "5 s", "5sec", "1d", "99999999999999999999h"}) {
    EXPECT_EQ(Refusal(KeyOptions::FORM_DURATION, text),
              "\"" + std::string(text) + "\" is not a duration such as 250ms, 30s or 5m");
  }
}

TEST(Numbers, ArePlainDecimals) {
  EXPECT_EQ(Value(KeyOptions::FORM_NUMBER, "2"), 2);
  EXPECT_EQ(Value(KeyOptions::FORM_NUMBER, "0.25"), 0.25);
  for (const std::string& text :
       {std::string("two"), std::string("1e3"), std::string("-1"), std::string("")}) {
    EXPECT_EQ(Refusal(KeyOptions::FORM_NUMBER, text), "\"" + text + "\" is not a number such as 2 or 0.5");
  }
  EXPECT_FALSE(ParseQuantity(KeyOptions::FORM_NUMBER, std::string(400, '9')).ok());
}

TEST(Globs, AreAbsolutePathsWithStars) {
  for (const char* text : {"/", "/**", "**", "**/db", "/a/*/b", "/kubepods.slice/**/cri-*.scope",
                           "/system.slice/a\\x2db.service"}) {
    EXPECT_TRUE(CheckForm(KeyOptions::FORM_GLOB, text).ok()) << text;
  }
}

TEST(Globs, ThatCanMatchNothingAreRefused) {
  EXPECT_EQ(FormRefusal(KeyOptions::FORM_GLOB, ""), "the glob is empty; write \"/**\" for every cgroup");
  EXPECT_EQ(FormRefusal(KeyOptions::FORM_GLOB, "kubepods/**"),
            "\"kubepods/**\" must begin with / or ** (did you mean \"/kubepods/**\"?)");
  EXPECT_EQ(FormRefusal(KeyOptions::FORM_GLOB, "/kubepods/"),
            "\"/kubepods/\" ends with a slash, so no path matches it (did you mean \"/kubepods/**\"?)");
  EXPECT_EQ(FormRefusal(KeyOptions::FORM_GLOB, "/a//b"), "\"/a//b\" has an empty name between slashes");
  EXPECT_EQ(FormRefusal(KeyOptions::FORM_GLOB, "/a/***"), "\"/a/***\" has more than two stars in a row");
  EXPECT_EQ(FormRefusal(KeyOptions::FORM_GLOB, "/pod?"), "\"/pod?\" has a ?; only * and ** are wild");
  EXPECT_EQ(FormRefusal(KeyOptions::FORM_GLOB, "/pod[0-9]"), "\"/pod[0-9]\" has a [; only * and ** are wild");
  EXPECT_TRUE(CheckForm(KeyOptions::FORM_GLOB, "/" + std::string(255, 'a')).ok());
  EXPECT_FALSE(CheckForm(KeyOptions::FORM_GLOB, "/" + std::string(256, 'a')).ok());
}

TEST(Names, AreShortWordsForLogsAndMetrics) {
  for (const std::string& text : {std::string("a"), std::string("Batch-2.x_y"), std::string(63, 'a')}) {
    EXPECT_TRUE(CheckForm(KeyOptions::FORM_NAME, text).ok()) << text;
  }
  EXPECT_EQ(FormRefusal(KeyOptions::FORM_NAME, ""), "the name is empty");
  for (const char* text : {"two words", "-a", "a\n", "caf\xc3\xa9", "a/b"}) {
    EXPECT_FALSE(CheckForm(KeyOptions::FORM_NAME, text).ok()) << text;
  }
  EXPECT_FALSE(CheckForm(KeyOptions::FORM_NAME, std::string(64, 'a')).ok());
}

// Reads every annotation below `type`; how many quantities there were.
int CheckAnnotations(const google::protobuf::Descriptor& type) {
  int quantities = 0;
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *type.field(i);
    if (field.message_type() != nullptr) {
      quantities += CheckAnnotations(*field.message_type());
      continue;
    }
    if (field.enum_type() != nullptr) {
      EXPECT_THAT(field.enum_type()->value(0)->name(), ::testing::EndsWith("_UNSPECIFIED"));
    }
    const bool number = field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_DOUBLE ||
                        field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT64;
    if (!number) continue;
    ++quantities;
    const KeyOptions& options = field.options().GetExtension(v1::key);
    EXPECT_LT(Value(options.form(), options.minimum()), Value(options.form(), options.maximum()))
        << field.full_name();
    EXPECT_TRUE(options.default_value().empty() != options.default_text().empty()) << field.full_name();
    if (options.can_be_never()) {
      EXPECT_GT(Value(options.form(), options.minimum()), 0) << field.full_name();
    }
  }
  return quantities;
}

TEST(TheSchema, StatesAUnitARangeAndADefaultForEveryQuantity) {
  EXPECT_GE(CheckAnnotations(*v1::Policy::descriptor()), 13);
}

}  // namespace
}  // namespace memgov::policy
