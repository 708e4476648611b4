#include "client/c/testing/puppet_process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace memgov::testing {

PuppetProcess::PuppetProcess(const std::string& program, const std::vector<std::string>& environment,
                             const std::vector<std::string>& arguments) {
  const std::string path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / program;
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) std::abort();
  pid_ = fork();
  if (pid_ == 0) {
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    for (const std::string& each : environment) putenv(const_cast<char*>(each.c_str()));
    std::vector<char*> argv = {const_cast<char*>(path.c_str())};
    for (const std::string& each : arguments) argv.push_back(const_cast<char*>(each.c_str()));
    argv.push_back(nullptr);
    execv(path.c_str(), argv.data());
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  to_ = fdopen(in[1], "w");
  from_ = fdopen(out[0], "r");
}

PuppetProcess::~PuppetProcess() {
  fclose(to_);  // the end of its input ends it
  waitpid(pid_, nullptr, 0);
  fclose(from_);
}

std::string PuppetProcess::Call(const std::string& command) {
  std::fprintf(to_, "%s\n", command.c_str());
  std::fflush(to_);
  return Answer();
}

std::string PuppetProcess::Answer() {
  char line[512];
  if (std::fgets(line, sizeof(line), from_) == nullptr) return "";
  std::string answer = line;
  if (!answer.empty() && answer.back() == '\n') answer.pop_back();
  return answer;
}

}  // namespace memgov::testing
