#include "governor/policy/schema_walk.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/strings/ascii.h"
#include "governor/policy/forms.h"
#include "governor/policy/suggest.h"
#include "memgov/v1/options.pb.h"

namespace memgov::policy {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

const v1::KeyOptions& OptionsOf(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::key);
}

std::vector<std::string> KeysOf(const Descriptor& message) {
  std::vector<std::string> keys;
  for (int i = 0; i < message.field_count(); ++i) keys.push_back(message.field(i)->json_name());
  return keys;
}

const FieldDescriptor* FieldCalled(const Descriptor& message, std::string_view key) {
  for (int i = 0; i < message.field_count(); ++i) {
    if (message.field(i)->json_name() == key) return message.field(i);
  }
  return nullptr;
}

std::vector<std::string> WordsOf(const EnumDescriptor& type) {
  std::vector<std::string> words;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) words.push_back(EnumWord(*type.value(i)));
  }
  return words;
}

const EnumValueDescriptor* ValueCalled(const EnumDescriptor& type, std::string_view word) {
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0 && EnumWord(*type.value(i)) == word) return type.value(i);
  }
  return nullptr;
}

// Visits nodes and message together. `path` names the place in messages: "rules[0].wake.usage".
class Walker {
 public:
  Walker(Origins& origins, ErrorList& errors) : origins_(origins), errors_(errors) {}

  void FillMap(const YamlNode& node, const std::string& path, Message& message);

 private:
  void Error(Position at, const std::string& path, std::string_view what) {
    errors_.Add(at, path.empty() ? std::string(what) : fmt::format("{}: {}", path, what));
  }

  void CheckRequired(const YamlNode& node, const std::string& path,
                     const std::map<std::string_view, Position>& written, const Message& message);
  // These return false after an error.
  bool FillField(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                 Message& message);
  bool FillList(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                Message& message);
  bool FillValue(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                 Message& message);
  bool FillEnum(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                Message& message);
  bool FillBool(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                Message& message);
  bool FillText(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                Message& message);
  bool FillQuantity(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                    Message& message);

  Origins& origins_;
  ErrorList& errors_;
};

void Walker::FillMap(const YamlNode& node, const std::string& path, Message& message) {
  const Descriptor& type = *message.GetDescriptor();
  std::map<std::string_view, Position> written;
  for (const YamlNode::Entry& entry : node.entries) {
    if (entry.key->kind != YamlNode::Kind::kScalar) {
      Error(entry.key->at, path, fmt::format("a key must be a word, but is {}", KindName(entry.key->kind)));
      continue;
    }
    const std::string& key = entry.key->text;
    const auto [first, fresh] = written.emplace(key, entry.key->at);
    if (!fresh) {
      Error(entry.key->at, path,
            fmt::format("duplicate key {}, first on line {}", Quoted(key), first->second.line));
      continue;
    }
    const FieldDescriptor* field = FieldCalled(type, key);
    if (field == nullptr) {
      const std::string hint = DidYouMean(key, KeysOf(type));
      Error(entry.key->at, path,
            fmt::format("unknown key {}{}", Quoted(key),
                        hint.empty() ? fmt::format("; known: {}", fmt::join(KeysOf(type), ", ")) : hint));
      continue;
    }
    const std::string place = path.empty() ? key : fmt::format("{}.{}", path, key);
    // yaml-cpp places a value that is not there at whatever follows.
    const bool absent = entry.value->kind == YamlNode::Kind::kNull;
    const Position at = absent ? entry.key->at : entry.value->at;
    const bool is_section = field->message_type() != nullptr;
    bool valid = true;
    if (absent && !is_section) {
      Error(at, place, "no value; give one, or leave the key out");
      valid = false;
    } else if (!absent) {
      valid = FillField(*entry.value, place, *field, message);
    }
    origins_.Set(message, *field, {at, valid});
  }
  CheckRequired(node, path, written, message);
}

void Walker::CheckRequired(const YamlNode& node, const std::string& path,
                           const std::map<std::string_view, Position>& written, const Message& message) {
  const Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const v1::KeyOptions& options = OptionsOf(field);
    if (!options.required() || written.contains(field.json_name())) continue;
    const std::string hint = options.constant().empty()
                                 ? ""
                                 : fmt::format("; write {}: {}", field.json_name(), options.constant());
    Error(node.at, path, fmt::format("\"{}\" is missing{}", field.json_name(), hint));
  }
}

bool Walker::FillField(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                       Message& message) {
  if (field.is_repeated()) return FillList(node, path, field, message);
  if (field.message_type() != nullptr) {
    if (node.kind != YamlNode::Kind::kMap) {
      Error(node.at, path, fmt::format("must be a map, but is {}", KindName(node.kind)));
      return false;
    }
    FillMap(node, path, *message.GetReflection()->MutableMessage(&message, &field));
    return true;
  }
  return FillValue(node, path, field, message);
}

bool Walker::FillList(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                      Message& message) {
  if (node.kind != YamlNode::Kind::kList) {
    Error(node.at, path, fmt::format("must be a list, but is {}", KindName(node.kind)));
    return false;
  }
  const bool of_maps = field.message_type() != nullptr;
  // Protobuf cannot tell an empty list from none, and none means the default: the opposite of what an author
  // of [] wants.
  if (node.items.empty() && !of_maps) {
    Error(node.at, path, "an empty list; leave the key out for the default");
    return false;
  }
  const std::int32_t most = OptionsOf(field).most_items();
  if (most > 0 && node.items.size() > static_cast<std::size_t>(most)) {
    Error(node.at, path, fmt::format("{} are too many; at most {}", node.items.size(), most));
    return false;
  }
  bool valid = true;
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const YamlNode& item = *node.items[i];
    const std::string place = fmt::format("{}[{}]", path, i);
    if (!of_maps) {
      valid = FillValue(item, place, field, message) && valid;
    } else if (item.kind != YamlNode::Kind::kMap) {
      Error(item.at, place, fmt::format("must be a map, but is {}", KindName(item.kind)));
      valid = false;
    } else {
      Message* added = message.GetReflection()->AddMessage(&message, &field);
      FillMap(item, place, *added);
    }
  }
  return valid;
}

bool Walker::FillValue(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                       Message& message) {
  if (node.kind != YamlNode::Kind::kScalar) {
    Error(node.at, path, fmt::format("must be one value, but is {}", KindName(node.kind)));
    return false;
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM:
      return FillEnum(node, path, field, message);
    case FieldDescriptor::CPPTYPE_BOOL:
      return FillBool(node, path, field, message);
    case FieldDescriptor::CPPTYPE_STRING:
      return FillText(node, path, field, message);
    default:
      return FillQuantity(node, path, field, message);
  }
}

bool Walker::FillEnum(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                      Message& message) {
  const EnumDescriptor& type = *field.enum_type();
  const EnumValueDescriptor* value = ValueCalled(type, node.text);
  if (value == nullptr) {
    const std::vector<std::string> words = WordsOf(type);
    Error(node.at, path,
          fmt::format("{} is not one of: {}{}", Quoted(node.text), fmt::join(words, ", "),
                      DidYouMean(node.text, words)));
    return false;
  }
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  if (!field.is_repeated()) {
    reflection.SetEnum(&message, &field, value);
    return true;
  }
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    if (reflection.GetRepeatedEnum(message, &field, i) == value) {
      Error(node.at, path, fmt::format("{} is listed twice", Quoted(node.text)));
      return false;
    }
  }
  reflection.AddEnum(&message, &field, value);
  return true;
}

bool Walker::FillBool(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                      Message& message) {
  if (node.text != "true" && node.text != "false") {
    // YAML 1.1 had more words for it, and Norway.
    const std::string lower = absl::AsciiStrToLower(node.text);
    const bool yes = lower == "yes" || lower == "on" || lower == "true";
    const bool no = lower == "no" || lower == "off" || lower == "false";
    Error(node.at, path,
          fmt::format("{} is neither true nor false{}", Quoted(node.text),
                      yes || no ? DidYouMean(yes ? "true" : "false") : ""));
    return false;
  }
  message.GetReflection()->SetBool(&message, &field, node.text == "true");
  return true;
}

bool Walker::FillText(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                      Message& message) {
  const v1::KeyOptions& options = OptionsOf(field);
  if (!options.constant().empty() && node.text != options.constant()) {
    Error(node.at, path, fmt::format("{} must be \"{}\"", Quoted(node.text), options.constant()));
    return false;
  }
  if (const absl::Status status = CheckForm(options.form(), node.text); !status.ok()) {
    Error(node.at, path, std::string(status.message()));
    return false;
  }
  message.GetReflection()->SetString(&message, &field, node.text);
  return true;
}

bool Walker::FillQuantity(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                          Message& message) {
  const v1::KeyOptions& options = OptionsOf(field);
  double value = 0;
  if (!options.can_be_never() || node.text != "never") {
    const auto parsed = ParseQuantity(options.form(), node.text);
    if (!parsed.ok()) {
      // Whoever wrote a word (off, none) looks for this one.
      const bool word =
          !node.text.empty() && absl::ascii_isalpha(static_cast<unsigned char>(node.text.front()));
      Error(node.at, path,
            fmt::format("{}{}", std::string(parsed.status().message()),
                        options.can_be_never() && word ? ", or never" : ""));
      return false;
    }
    // The schema's own words; a test reads them all.
    if (*parsed < ParseQuantity(options.form(), options.minimum()).value() ||
        *parsed > ParseQuantity(options.form(), options.maximum()).value()) {
      Error(node.at, path,
            fmt::format("{} is out of range: {} to {}", Quoted(node.text), options.minimum(),
                        options.maximum()));
      return false;
    }
    value = *parsed;
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
    message.GetReflection()->SetDouble(&message, &field, value);
  } else {
    message.GetReflection()->SetInt64(&message, &field, std::llround(value));
  }
  return true;
}

}  // namespace

const Origin* Origins::Find(const Message& message, std::string_view key) const {
  const FieldDescriptor* field = FieldCalled(*message.GetDescriptor(), key);
  if (field == nullptr) return nullptr;
  const auto found = origins_.find({&message, field->number()});
  return found == origins_.end() ? nullptr : &found->second;
}

void FillMessage(const YamlNode& document, Message& message, Origins& origins, ErrorList& errors) {
  Walker walker(origins, errors);
  if (document.kind == YamlNode::Kind::kMap) {
    walker.FillMap(document, "", message);
  } else if (document.kind != YamlNode::Kind::kNull) {
    errors.Add(document.at, fmt::format("a policy must be a map, but this is {}", KindName(document.kind)));
  }
}

std::string EnumWord(const EnumValueDescriptor& value) {
  // The zero value is called PREFIX_UNSPECIFIED.
  std::string_view prefix = value.type()->value(0)->name();
  prefix.remove_suffix(std::string_view("UNSPECIFIED").size());
  return absl::AsciiStrToLower(value.name().substr(prefix.size()));
}

}  // namespace memgov::policy
