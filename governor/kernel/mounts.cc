#include "governor/kernel/mounts.h"

#include <libcgroup.h>
#include <linux/magic.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

// Exported by libcgroup 2.0.2 but missing from its headers. The second parameter is an enum of these values.
extern "C" int cgroup_get_controller_version(const char* controller, int* version);

namespace memgov::kernel {
namespace {

constexpr int kLibcgroupV1 = 1;
constexpr int kLibcgroupV2 = 2;

// Whether the kernel keeps pressure totals at all (CONFIG_PSI, psi=0 on its command line).
bool PressureIsOn() {
  std::ifstream file("/proc/pressure/memory");
  return file.peek() != std::ifstream::traits_type::eof();
}

// Where a cgroup2 tree is mounted. libcgroup tells that only of trees with a controller in them.
std::optional<std::string> FindV2Tree() {
  const std::unique_ptr<FILE, int (*)(FILE*)> table(::setmntent("/proc/self/mounts", "r"), ::endmntent);
  if (table == nullptr) return std::nullopt;
  mntent entry{};
  char buffer[4096];
  while (::getmntent_r(table.get(), &entry, buffer, sizeof(buffer)) != nullptr) {
    if (std::string_view(entry.mnt_type) == "cgroup2") return entry.mnt_dir;
  }
  return std::nullopt;
}

bool IsV2Tree(const std::string& directory) {
  struct statfs info {};
  return ::statfs(directory.c_str(), &info) == 0 && info.f_type == CGROUP2_SUPER_MAGIC;
}

bool HasMemoryController(const std::string& v2_tree) {
  std::ifstream file(v2_tree + "/cgroup.controllers");
  for (std::string name; file >> name;) {
    if (name == "memory") return true;
  }
  return false;
}

bool IsV1Memory(const std::string& directory) {
  return ::access((directory + "/memory.usage_in_bytes").c_str(), R_OK) == 0;
}

CgroupLayout V1Layout(std::string mount, const std::optional<std::string>& v2_tree) {
  CgroupLayout layout{.memory_version = MemoryVersion::kV1,
                      .memory_mount = std::move(mount),
                      .pressure_mount = std::nullopt,
                      .hybrid = v2_tree.has_value()};
  if (v2_tree.has_value() && PressureIsOn()) layout.pressure_mount = v2_tree;
  return layout;
}

CgroupLayout V2Layout(const std::string& mount) {
  CgroupLayout layout{.memory_version = MemoryVersion::kV2,
                      .memory_mount = mount,
                      .pressure_mount = std::nullopt,
                      .hybrid = false};
  if (PressureIsOn()) layout.pressure_mount = mount;
  return layout;
}

absl::StatusOr<CgroupLayout> Inspect(std::string directory) {
  while (directory.size() > 1 && directory.ends_with('/')) directory.pop_back();
  if (IsV2Tree(directory) && HasMemoryController(directory)) return V2Layout(directory);
  // The v2 tree of a hybrid host lies beside the memory hierarchy. Our own namespace's mounts say nothing
  // here.
  const std::string above = directory.substr(0, directory.rfind('/'));
  const std::pair<std::string, std::string> places[] = {{directory, above + "/unified"},
                                                        {directory + "/memory", directory + "/unified"}};
  for (const auto& [memory, v2_tree] : places) {
    if (IsV1Memory(memory))
      return V1Layout(memory, IsV2Tree(v2_tree) ? std::optional(v2_tree) : std::nullopt);
  }
  return absl::NotFoundError(absl::StrCat(
      directory, " has no memory controller: it is neither a cgroup v2 tree with \"memory\" in its ",
      "cgroup.controllers, nor a v1 memory hierarchy, nor a directory with one in \"memory\""));
}

}  // namespace

absl::StatusOr<CgroupLayout> DiscoverCgroups(const std::optional<std::string>& override_mount) {
  if (override_mount.has_value()) return Inspect(*override_mount);

  if (const int error = ::cgroup_init(); error != 0) {
    return absl::NotFoundError(absl::StrCat("no cgroup hierarchy is to be found (libcgroup: ",
                                            ::cgroup_strerror(error), "); is /sys/fs/cgroup mounted?"));
  }
  char* found = nullptr;
  if (::cgroup_get_subsys_mount_point("memory", &found) != 0 || found == nullptr) {
    return absl::NotFoundError(
        "the kernel's memory controller is not mounted; boot with cgroup_enable=memory, or mount it below "
        "/sys/fs/cgroup");
  }
  const std::unique_ptr<char, void (*)(void*)> owned(found, ::free);
  const std::string mount = found;
  int version = 0;
  if (const int error = ::cgroup_get_controller_version("memory", &version); error != 0) {
    return absl::InternalError(
        absl::StrCat("libcgroup does not tell the version of the memory controller at ", mount, ": ",
                     ::cgroup_strerror(error)));
  }
  if (version == kLibcgroupV2) return V2Layout(mount);
  if (version == kLibcgroupV1) return V1Layout(mount, FindV2Tree());
  return absl::InternalError(
      absl::StrCat("the memory controller at ", mount, " has unknown version ", version));
}

}  // namespace memgov::kernel
