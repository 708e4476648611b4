// A directory that a walk through the tree has yet to visit. Private to cgroup_scan.cc and cgroup_seek.cc.

#pragma once

#include <cstdint>
#include <string>

#include "governor/kernel/cgroup_tree.h"

namespace memgov::kernel {

struct CgroupTree::Found {
  std::string path;
  core::CgroupId parent{};
  std::uint64_t inode = 0;  // as the directory has it; 0: not known
};

}  // namespace memgov::kernel
