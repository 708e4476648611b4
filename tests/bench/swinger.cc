// Tenants at work: one process in each of the cgroups whose cgroup.procs files are named, each taking and
// giving back a little memory ten times a second around --base. Ends when stdin does.

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "tests/workloads/arguments.h"

namespace {

constexpr char kUsage[] = "usage: bench_swinger [--base 1MiB] --procs FILE [--procs FILE ...]\n";
constexpr std::size_t kPage = 4096;
constexpr std::uint64_t kSwing = 512 * 1024;

volatile char* Take(std::uint64_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) _exit(1);
  auto* bytes_of = static_cast<volatile char*>(memory);
  for (std::uint64_t at = 0; at < bytes; at += kPage) bytes_of[at] = 1;
  return bytes_of;
}

[[noreturn]] void Swing(const char* procs, std::uint64_t base) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::FILE* file = std::fopen(procs, "w");
  if (file == nullptr || std::fputs("0\n", file) < 0 || std::fclose(file) != 0) _exit(1);
  Take(base);
  while (true) {
    volatile char* more = Take(kSwing);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    munmap(const_cast<char*>(more), kSwing);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t base = memgov::workloads::kMiB;
  std::vector<const char*> procs;
  memgov::workloads::Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--base")) {
      base = arguments.Size();
    } else if (arguments.Is("--procs")) {
      procs.push_back(arguments.Text());
    } else {
      arguments.Fail("unknown option");
    }
  }
  std::vector<pid_t> children;
  for (const char* file : procs) {
    const pid_t child = fork();
    if (child == 0) Swing(file, base);
    children.push_back(child);
  }
  std::printf("{\"ready\":true,\"children\":%zu}\n", children.size());
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  for (const pid_t child : children) kill(child, SIGKILL);
  return 0;
}
