// The committed reference is that of this schema, and its example is a policy.

#include "governor/policy/reference.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "governor/policy/loader.h"

namespace memgov::policy {
namespace {

std::string Text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(TheReference, IsThatOfTheSchema) {
  google::protobuf::FileDescriptorSet schema;
  ASSERT_TRUE(schema.ParseFromString(Text(MEMGOV_POLICY_SCHEMA)));
  EXPECT_EQ(ReferenceOf(schema), Text(MEMGOV_POLICY_REFERENCE)) << "run ./dev docs";
}

TEST(TheReferencesExample, HasTheDefaults) {
  const auto policy = ParsePolicy(EveryKey(), "every-key.yaml");
  ASSERT_TRUE(policy.ok()) << policy.status() << "\n" << EveryKey();
  ASSERT_EQ(policy->rules.size(), 1u);
  const core::Rule rule = policy->rules[0], built_in;
  EXPECT_EQ(rule.cgroup, built_in.cgroup);
  EXPECT_EQ(rule.names, built_in.names);
  EXPECT_EQ(rule.relax_percent, built_in.relax_percent);
  EXPECT_EQ(rule.brake.at_percent, built_in.brake.at_percent);
  EXPECT_EQ(rule.actions, built_in.actions);
  EXPECT_EQ(policy->node.reserve, core::NodePolicy{}.reserve);
}

}  // namespace
}  // namespace memgov::policy
