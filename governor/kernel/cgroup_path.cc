#include "governor/kernel/cgroup_path.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace memgov::kernel {

std::string NormalisedPath(std::string_view path) {
  if (!path.starts_with('/')) return {};
  std::string result;
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::size_t end = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, end);
    path.remove_prefix(end);
    if (name == "." || name == "..") return {};
    if (!name.empty()) result.append("/").append(name);
  }
  return result.empty() ? "/" : result;
}

std::string ParentPath(std::string_view path) { return std::string(path.substr(0, path.rfind('/'))); }

bool IsWithin(std::string_view path, std::string_view root) {
  if (root == "/") return true;
  return path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/');
}

std::vector<std::string> IndependentRoots(const std::vector<std::string>& roots) {
  std::vector<std::string> sorted;
  sorted.reserve(roots.size());
  for (const std::string& root : roots) sorted.push_back(NormalisedPath(root));
  std::sort(sorted.begin(), sorted.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });
  std::vector<std::string> result;
  for (std::string& root : sorted) {
    const bool covered = std::any_of(result.begin(), result.end(),
                                     [&](const std::string& other) { return IsWithin(root, other); });
    if (!root.empty() && !covered) result.push_back(std::move(root));
  }
  return result;
}

}  // namespace memgov::kernel
