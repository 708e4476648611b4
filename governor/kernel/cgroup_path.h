// Paths of cgroups below a hierarchy's mount point: always absolute, "/" is the hierarchy's own root.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace memgov::kernel {

// "/a//b/" -> "/a/b". Empty for what is not an absolute path, and for one with "." or ".." in it (a peer in
// another cgroup namespace has those), because it could name something outside.
std::string NormalisedPath(std::string_view path);

// "/a/b" -> "/a", "/a" -> "".
std::string ParentPath(std::string_view path);

// Whether `path` is `root` or below it. Both normalised.
bool IsWithin(std::string_view path, std::string_view root);

// The normalised roots, each once and none that another contains; shorter ones first. Malformed ones are left
// out.
std::vector<std::string> IndependentRoots(const std::vector<std::string>& roots);

}  // namespace memgov::kernel
