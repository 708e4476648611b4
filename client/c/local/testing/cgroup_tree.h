// Files that look like /proc/self and cgroup mounts, for what this machine's own kernel does not offer:
// another version of cgroups, a container's view, a removed cgroup.

#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/cpp/temporary_directory.h"

namespace memgov::testing {

class CgroupTree {
 public:
  struct Mount {
    std::string root, point, type, options;
  };

  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }

  // What is left of an absolute path.
  std::string Below(const std::string& absolute) const {
    return std::filesystem::path(absolute).lexically_relative(directory_.path());
  }

  void Write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    std::ofstream(path(name)) << content;
  }

  void Mounts(const std::vector<Mount>& mounts) const {
    std::string text = "20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n";
    for (const Mount& each : mounts) {
      std::string point = path(each.point);
      for (std::size_t at = 0; (at = point.find(' ')) != std::string::npos;) point.replace(at, 1, "\\040");
      text += "30 20 0:26 " + each.root + " " + point + " rw,nosuid master:3 - " + each.type + " none " +
              each.options + "\n";
    }
    Write("proc/mountinfo", text);
  }

  void Own(const std::string& cgroup) const { Write("proc/cgroup", cgroup); }

 private:
  TemporaryDirectory directory_;
};

}  // namespace memgov::testing
