// Lays a YAML document onto a protobuf message by reflection: the schema and its annotations
// (memgov/v1/options.proto) say which keys there are, in which form each is written, and what it may be. No
// key is named here, so a new key of the schema needs no new code.

#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "governor/policy/error_list.h"
#include "governor/policy/yaml_tree.h"

namespace memgov::policy {

// Where in the file a field was written.
struct Origin {
  Position at;
  bool valid = true;  // false: it was written, but not so that it could be taken
};

// The origins of all fields of one message and of those within it, for checks that compare fields. Refers to
// the messages by address: valid for as long as they stay where they are.
class Origins {
 public:
  void Set(const google::protobuf::Message& message, const google::protobuf::FieldDescriptor& field,
           Origin origin) {
    origins_[{&message, field.number()}] = origin;
  }

  // The origin of the field that the file calls `key`; null when it was not written.
  const Origin* Find(const google::protobuf::Message& message, std::string_view key) const;

 private:
  std::map<std::pair<const google::protobuf::Message*, int>, Origin> origins_;
};

// Fills `message` from `document`. What does not fit goes to `errors` and leaves its field unset.
void FillMessage(const YamlNode& document, google::protobuf::Message& message, Origins& origins,
                 ErrorList& errors);

}  // namespace memgov::policy
