#include "governor/policy/schema_values.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "governor/policy/error_list.h"
#include "governor/policy/forms.h"
#include "governor/policy/suggest.h"

namespace memgov::policy {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

absl::Status SetEnum(const FieldDescriptor& field, const std::string& text, Message& message) {
  const EnumDescriptor& type = *field.enum_type();
  std::vector<std::string> words;
  const EnumValueDescriptor* value = nullptr;
  // The zero value stands for "not written" and cannot be.
  for (int i = 1; i < type.value_count(); ++i) {
    words.push_back(EnumWord(*type.value(i)));
    if (words.back() == text) value = type.value(i);
  }
  if (value == nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("{} is not one of: {}{}", Quoted(text), fmt::join(words, ", "), DidYouMean(text, words)));
  }
  const Reflection& reflection = *message.GetReflection();
  if (!field.is_repeated()) {
    reflection.SetEnum(&message, &field, value);
    return absl::OkStatus();
  }
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    if (reflection.GetRepeatedEnum(message, &field, i) == value) {
      return absl::InvalidArgumentError(fmt::format("{} is listed twice", Quoted(text)));
    }
  }
  reflection.AddEnum(&message, &field, value);
  return absl::OkStatus();
}

absl::Status SetBool(const FieldDescriptor& field, const std::string& text, Message& message) {
  if (text != "true" && text != "false") {
    // YAML 1.1 had more words for it, and Norway.
    const std::string lower = absl::AsciiStrToLower(text);
    const bool yes = lower == "yes" || lower == "on" || lower == "true";
    const bool no = lower == "no" || lower == "off" || lower == "false";
    return absl::InvalidArgumentError(fmt::format("{} is neither true nor false{}", Quoted(text),
                                                  yes || no ? DidYouMean(yes ? "true" : "false") : ""));
  }
  message.GetReflection()->SetBool(&message, &field, text == "true");
  return absl::OkStatus();
}

absl::Status SetText(const FieldDescriptor& field, const std::string& text, Message& message) {
  const v1::KeyOptions& options = OptionsOf(field);
  if (!options.constant().empty() && text != options.constant()) {
    return absl::InvalidArgumentError(fmt::format("{} must be \"{}\"", Quoted(text), options.constant()));
  }
  absl::Status status = CheckForm(options.form(), text);
  if (status.ok()) message.GetReflection()->SetString(&message, &field, text);
  return status;
}

absl::StatusOr<double> QuantityInRange(const v1::KeyOptions& options, const std::string& text) {
  if (options.can_be_never() && text == "never") return 0;
  const auto value = ParseQuantity(options.form(), text);
  if (!value.ok()) {
    // Whoever wrote a word (off, none) looks for this one.
    const bool word = !text.empty() && absl::ascii_isalpha(static_cast<unsigned char>(text.front()));
    if (!options.can_be_never() || !word) return value.status();
    return absl::InvalidArgumentError(fmt::format("{}, or never", std::string(value.status().message())));
  }
  // The bounds are the schema's own words; a test reads them all.
  if (*value < ParseQuantity(options.form(), options.minimum()).value() ||
      *value > ParseQuantity(options.form(), options.maximum()).value()) {
    return absl::InvalidArgumentError(
        fmt::format("{} is out of range: {} to {}", Quoted(text), options.minimum(), options.maximum()));
  }
  return *value;
}

absl::Status SetQuantity(const FieldDescriptor& field, const std::string& text, Message& message) {
  const auto value = QuantityInRange(OptionsOf(field), text);
  if (!value.ok()) return value.status();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
    message.GetReflection()->SetDouble(&message, &field, *value);
  } else {
    message.GetReflection()->SetInt64(&message, &field, std::llround(*value));
  }
  return absl::OkStatus();
}

}  // namespace

std::string EnumWord(const EnumValueDescriptor& value) {
  if (const std::string& word = value.options().GetExtension(v1::word); !word.empty()) return word;
  std::string_view prefix = value.type()->value(0)->name();
  prefix.remove_suffix(std::string_view("UNSPECIFIED").size());
  return absl::AsciiStrToLower(value.name().substr(prefix.size()));
}

const v1::KeyOptions& OptionsOf(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::key);
}

absl::Status SetField(const FieldDescriptor& field, const std::string& text, Message& message) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM:
      return SetEnum(field, text, message);
    case FieldDescriptor::CPPTYPE_BOOL:
      return SetBool(field, text, message);
    case FieldDescriptor::CPPTYPE_STRING:
      return SetText(field, text, message);
    default:
      return SetQuantity(field, text, message);
  }
}

}  // namespace memgov::policy
