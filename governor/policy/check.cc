#include "governor/policy/check.h"

#include <fmt/format.h>

#include "governor/policy/loader.h"

namespace memgov::policy {
namespace {

std::string Count(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace

CheckResult CheckPolicy(std::string_view path) {
  const auto texts = ReadPolicy(path);
  if (!texts.ok()) return {.ok = false, .text = fmt::format("{}\n", std::string(texts.status().message()))};
  const auto policy = ParsePolicy(*texts);
  if (!policy.ok()) return {.ok = false, .text = fmt::format("{}\n", std::string(policy.status().message()))};
  std::string found = Count(policy->rules.size(), "rule");
  if (texts->size() > 1) found += fmt::format(" in {}", Count(texts->size(), "file"));
  return {.ok = true, .text = fmt::format("{}: ok, {}\n", path, found)};
}

}  // namespace memgov::policy
