// Runs a puppet (puppet.c) as a child process.

#pragma once

#include <sys/types.h>

#include <cstdio>
#include <string>
#include <vector>

namespace memgov::testing {

class PuppetProcess {
 public:
  // `program` is a name beside the running test; `environment` has "NAME=value" to add.
  explicit PuppetProcess(const std::string& program, const std::vector<std::string>& environment = {},
                         const std::vector<std::string>& arguments = {});
  ~PuppetProcess();

  // Sends a command and returns its answer; empty when the puppet is gone.
  std::string Call(const std::string& command);
  // A line that it prints by itself, or one more of an answer.
  std::string Answer();
  long Number(const std::string& command) { return std::stol(Call(command)); }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  FILE* to_ = nullptr;
  FILE* from_ = nullptr;
};

}  // namespace memgov::testing
