#include "governor/status_file.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <iterator>

#include "absl/strings/str_cat.h"
#include "governor/base/state_directory.h"
#include "governor/core/json.h"
#include "governor/event_log.h"

namespace memgov {
namespace {

constexpr std::size_t kLargestFile = 1 << 20;

constexpr char kName[] = "status.json";

}  // namespace

std::string TextOf(const DaemonStatus& status) {
  std::string text = fmt::format("{{\"pid\": {}, \"degraded\": [", status.pid);
  for (const std::string& what : status.degraded) {
    fmt::format_to(std::back_inserter(text), "{}{}", text.back() == '[' ? "" : ", ", core::JsonString(what));
  }
  const PolicyStatus& policy = status.policy;
  fmt::format_to(std::back_inserter(text), "],\n\"policy\": {{\"source\": {}, \"state\": \"{}\"",
                 core::JsonString(policy.source), policy.degraded.empty() ? "ok" : "degraded");
  if (!policy.degraded.empty()) {
    fmt::format_to(std::back_inserter(text), ", \"since\": \"{}\", \"what\": {}", policy.degraded_since,
                   core::JsonString(policy.degraded));
  }
  absl::StrAppend(&text, "},\n\"checks\": ", JsonOf(status.checks), "}\n");
  return text;
}

absl::Status WriteStatusText(const std::string& state_dir, const std::string& text) {
  const auto directory = base::StateDirectory::Open(state_dir, {.make = true});
  if (!directory.ok()) return directory.status();
  return directory->Replace(kName, text, 0644);
}

void AddRunningDaemon(const std::string& state_dir, int pid, std::vector<Check>* checks) {
  const auto text = base::ReadRegularFile(absl::StrCat(state_dir, "/", kName), kLargestFile);
  if (!text.ok()) return;
  // The file may be another daemon's, cut off, or nobody's.
  try {
    const YAML::Node root = YAML::Load(*text);  // JSON is YAML
    if (root["pid"].as<int>() != pid) return;
    for (const YAML::Node& what : root["degraded"]) {
      checks->push_back({.name = "memgovd",
                         .state = CheckState::kDegraded,
                         .found = fmt::format("pid {} says: {}", pid, what.as<std::string>())});
    }
    const YAML::Node policy = root["policy"];
    if (policy && policy["state"].as<std::string>() == "degraded") {
      checks->push_back({.name = "policy",
                         .state = CheckState::kDegraded,
                         .found = fmt::format("refused since {}: {}", policy["since"].as<std::string>(),
                                              policy["what"].as<std::string>()),
                         .lost = "what was changed since: the policy before it is in force",
                         .remedy = "mend it; memgovd reads it again by itself"});
    }
  } catch (const YAML::Exception&) {
    return;
  }
}

}  // namespace memgov
