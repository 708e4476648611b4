#include "governor/status_file.h"

#include <errno.h>
#include <fmt/format.h>
#include <stdio.h>
#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "governor/core/json.h"
#include "governor/event_log.h"

namespace memgov {
namespace {

constexpr std::uintmax_t kLargestFile = 1 << 20;

std::string FileIn(const std::string& state_dir) { return state_dir + "/status.json"; }

}  // namespace

absl::Status WriteStatus(const std::string& state_dir, const DaemonStatus& status) {
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

  std::error_code ignored;
  std::filesystem::create_directories(state_dir, ignored);
  const std::string file = FileIn(state_dir);
  const std::string next = file + ".new";
  std::ofstream out(next, std::ios::trunc);
  out << text;
  out.close();
  if (!out || ::rename(next.c_str(), file.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("writing ", file));
  }
  return absl::OkStatus();
}

void AddRunningDaemon(const std::string& state_dir, int pid, std::vector<Check>* checks) {
  std::error_code error;
  const std::string file = FileIn(state_dir);
  if (std::filesystem::file_size(file, error) > kLargestFile || error) return;
  // The file may be another daemon's, cut off, or nobody's.
  try {
    const YAML::Node root = YAML::LoadFile(file);  // JSON is YAML
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
