// One value of a policy file into one field of a message: text, words, true and false, quantities. The
// schema's annotations say in which form it is written and what it may be.

#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <string>

#include "absl/status/status.h"
#include "memgov/v1/options.pb.h"

namespace memgov::policy {

// Sets `field` to what `text` stands for; appends, where the field is a list. INVALID_ARGUMENT says what is
// wrong with the text; then the field is as it was. `field` is not of a message type.
absl::Status SetField(const google::protobuf::FieldDescriptor& field, const std::string& text,
                      google::protobuf::Message& message);

// How a file writes an enum's value: MODE_OBSERVE is `observe`, since the zero value is MODE_UNSPECIFIED.
std::string EnumWord(const google::protobuf::EnumValueDescriptor& value);

const v1::KeyOptions& OptionsOf(const google::protobuf::FieldDescriptor& field);

}  // namespace memgov::policy
