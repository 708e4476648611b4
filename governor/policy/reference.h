// The reference document of the policy language, written from the schema itself: its comments, forms, ranges
// and defaults. What the loader accepts and what the document says cannot differ.

#pragma once

#include <google/protobuf/descriptor.pb.h>

#include <string>

namespace memgov::policy {

// docs/policy.md. `schema` holds memgov/v1/policy.proto and all that it imports, with source info for the
// comments (protoc --include_source_info --include_imports).
std::string ReferenceOf(const google::protobuf::FileDescriptorSet& schema);

// A policy file of one rule with every key at its default, those without one commented out.
std::string EveryKey();

}  // namespace memgov::policy
