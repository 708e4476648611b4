// A directory of a test's own, below testing::TempDir(), which goes away with the object and all that it
// holds.

#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

namespace memgov {

class TemporaryDirectory {
 public:
  TemporaryDirectory() : path_(::testing::TempDir() + "memgov-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr)
      ADD_FAILURE() << "mkdtemp " << path_ << ": " << std::strerror(errno);
  }
  ~TemporaryDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
    EXPECT_FALSE(error) << path_ << " is left behind: " << error.message();
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  // Without a slash at the end.
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace memgov
