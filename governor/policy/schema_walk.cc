#include "governor/policy/schema_walk.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "governor/policy/schema_values.h"
#include "governor/policy/suggest.h"

namespace memgov::policy {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::vector<std::string> KeysOf(const Descriptor& message) {
  std::vector<std::string> keys;
  keys.reserve(static_cast<std::size_t>(message.field_count()));
  for (int i = 0; i < message.field_count(); ++i) keys.push_back(message.field(i)->json_name());
  return keys;
}

const FieldDescriptor* FieldCalled(const Descriptor& message, std::string_view key) {
  for (int i = 0; i < message.field_count(); ++i) {
    if (message.field(i)->json_name() == key) return message.field(i);
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
  const absl::Status status = SetField(field, node.text, message);
  if (!status.ok()) Error(node.at, path, std::string(status.message()));
  return status.ok();
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

}  // namespace memgov::policy
