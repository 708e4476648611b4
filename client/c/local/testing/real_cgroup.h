// A cgroup of this machine with a memory limit, v1 or v2, in which a test runs a process. Needs root and a
// writable tree.

#pragma once

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace memgov::testing {

class RealCgroup {
 public:
  // `why_not` says what is missing when good() is false.
  explicit RealCgroup(std::uint64_t limit) {
    namespace fs = std::filesystem;
    const std::string name = "memgov-c-test-" + std::to_string(getpid());
    const fs::path v1 = "/sys/fs/cgroup/memory";
    v2_ = !fs::exists(v1 / "memory.limit_in_bytes");
    if (v2_) std::ofstream("/sys/fs/cgroup/cgroup.subtree_control") << "+memory" << std::flush;
    path_ = (v2_ ? fs::path("/sys/fs/cgroup") : v1) / name;
    std::error_code error;
    fs::create_directory(path_, error);
    if (error) {
      why_not_ = "cannot make " + path_.string() + ": " + error.message();
    } else if (!SetLimit(limit)) {
      why_not_ = path_.string() + " takes no memory limit";
    }
  }
  // Whoever was in it has ended.
  ~RealCgroup() {
    for (int i = 0; i < 1000 && rmdir(path_.c_str()) != 0 && errno == EBUSY; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  RealCgroup(const RealCgroup&) = delete;
  RealCgroup& operator=(const RealCgroup&) = delete;

  bool good() const { return why_not_.empty(); }
  const std::string& why_not() const { return why_not_; }

  // Moves a process here; what it takes from now on is charged here.
  bool Add(pid_t pid) { return Put("cgroup.procs", std::to_string(pid)); }
  bool SetLimit(std::uint64_t bytes) {
    return Put(v2_ ? "memory.max" : "memory.limit_in_bytes", std::to_string(bytes));
  }
  std::uint64_t usage() const {
    std::uint64_t bytes = 0;
    std::ifstream(path_ / (v2_ ? "memory.current" : "memory.usage_in_bytes")) >> bytes;
    return bytes;
  }

 private:
  bool Put(const char* file, const std::string& value) {
    std::ofstream out(path_ / file);
    out << value << std::flush;
    return out.good();
  }

  bool v2_ = false;
  std::filesystem::path path_;
  std::string why_not_;
};

}  // namespace memgov::testing
