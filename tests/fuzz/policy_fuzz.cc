// A policy file by anybody: it is a sound policy, or every mistake has a line that names the file.

#include "governor/policy/loader.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using memgov::fuzz::Require;
  const auto policy = memgov::policy::ParsePolicy(memgov::fuzz::Text(data, size), "f");
  if (!policy.ok()) {
    Require(policy.status().ToString().find("f:") != std::string::npos, "a mistake has a place");
    return 0;
  }
  for (const memgov::core::Rule& rule : policy->rules) {
    Require(!rule.name.empty() && !rule.actions.empty(), "a rule has a name and does something");
    Require(rule.pace.deadline <= rule.pace.ttl, "an answer comes while its request holds");
  }
  return 0;
}
