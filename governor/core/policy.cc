#include "governor/core/policy.h"

namespace memgov::core {
namespace {

bool NameMatches(const std::optional<std::string>& glob, const std::string& name) {
  return !glob || (!name.empty() && GlobMatches(*glob, name));
}

// Those parts of a name that are there with the cgroup.
bool MatchesKind(const NameMatch& match, const WorkloadNames& names) {
  return (!match.qos || match.qos == names.qos) && (!match.runtime || match.runtime == names.runtime);
}

bool MatchesNames(const NameMatch& match, const WorkloadNames& names) {
  return NameMatches(match.pod_namespace, names.pod_namespace) && NameMatches(match.pod, names.pod) &&
         NameMatches(match.container, names.container);
}

}  // namespace

bool AsksForNames(const NameMatch& match) { return match.pod_namespace || match.pod || match.container; }

bool GlobMatches(std::string_view glob, std::string_view path) {
  // "/a/**" names /a itself too.
  if (glob.size() >= 3 && glob.substr(glob.size() - 3) == "/**" &&
      GlobMatches(glob.substr(0, glob.size() - 3), path)) {
    return true;
  }
  // The two most recent stars, to return to on a mismatch: a single star may not eat '/', a double may.
  constexpr auto kNone = std::string_view::npos;
  std::size_t g = 0, p = 0;
  std::size_t single_g = kNone, single_p = 0, double_g = kNone, double_p = 0;
  while (p < path.size() || g < glob.size()) {
    if (g < glob.size() && glob[g] == '*') {
      if (g + 1 < glob.size() && glob[g + 1] == '*') {
        g += 2;
        double_g = g;
        double_p = p;
        single_g = kNone;
      } else {
        ++g;
        single_g = g;
        single_p = p;
      }
    } else if (g < glob.size() && p < path.size() && glob[g] == path[p]) {
      ++g;
      ++p;
    } else if (single_g != kNone && single_p < path.size() && path[single_p] != '/') {
      g = single_g;
      p = ++single_p;
    } else if (double_g != kNone && double_p < path.size()) {
      g = double_g;
      p = ++double_p;
      single_g = kNone;
    } else {
      return false;
    }
  }
  return true;
}

const Rule& RuleFor(const Policy& policy, std::string_view path, const WorkloadNames& names) {
  static const Rule kDefault;
  for (const Rule& rule : policy.rules) {
    if (!GlobMatches(rule.cgroup, path) || !MatchesKind(rule.names, names)) continue;
    if (names.pending && AsksForNames(rule.names)) return kDefault;
    if (MatchesNames(rule.names, names)) return rule;
  }
  return kDefault;
}

}  // namespace memgov::core
