// What `memgovd --check` and `memgovctl policy check` say of a policy.

#pragma once

#include <string>
#include <string_view>

namespace memgov::policy {

struct CheckResult {
  bool ok = false;
  std::string text;  // for people, with a line end: all mistakes, a line each, or what the policy has
};

// Reads and checks the policy at `path`, a file or a directory. Blocks for as long as it reads; any thread.
CheckResult CheckPolicy(std::string_view path);

}  // namespace memgov::policy
