// policy_reference SCHEMA: prints docs/policy.md. SCHEMA is what protoc --include_source_info writes.

#include <fstream>
#include <iostream>

#include "governor/policy/reference.h"

int main(int argc, char** argv) {
  google::protobuf::FileDescriptorSet schema;
  std::ifstream in(argc == 2 ? argv[1] : "", std::ios::binary);
  if (!in || !schema.ParseFromIstream(&in)) {
    std::cerr << "usage: policy_reference SCHEMA > docs/policy.md\n";
    return 2;
  }
  std::cout << memgov::policy::ReferenceOf(schema);
  return 0;
}
