// A tenant that runs no client: it holds memory of its own, reads a file into the page cache, or runs through
// a mapped file all the time as a large program runs through its code. With --again the file is read twice
// more, which brings its pages to the active list, and then slowly for ever: 50 MiB/s.
//
// "take 64MiB" on stdin: touch so much more memory, then say {"taken":true}. stdout: {"ready":true}, and with
// --map once a second {"touched":N}, the pages of the file that were read since the last line.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "tests/workloads/arguments.h"
#include "tests/workloads/code_pages.h"

namespace {

using memgov::workloads::kMiB;

constexpr char kUsage[] = "usage: hold_pages [--anon 0MiB] [--read FILE [--again]] [--map FILE]\n";
constexpr std::size_t kPage = 4096;

// Anonymous memory that stays. False when there is none.
bool Take(std::uint64_t bytes) {
  if (bytes == 0) return true;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  for (std::uint64_t at = 0; at < bytes; at += kPage) static_cast<volatile char*>(memory)[at] = 1;
  return true;
}

bool ReadOnce(const char* path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  std::vector<char> buffer(kMiB);
  ssize_t got = 0;
  while ((got = read(fd, buffer.data(), buffer.size())) > 0) {
  }
  close(fd);
  return got == 0;
}

// On a thread of its own.
void ReadSlowly(const char* path, const std::atomic<bool>* stop) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  std::vector<char> buffer(kMiB);
  while (fd >= 0 && !*stop) {
    if (read(fd, buffer.data(), buffer.size()) <= 0) lseek(fd, 0, SEEK_SET);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  close(fd);
}

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "hold_pages: %s: %s\n", what, std::strerror(errno));
  std::exit(2);
}

// For ever, on a thread of its own.
void RunThrough(memgov::workloads::CodePages* code, const std::atomic<bool>* stop) {
  constexpr int kTouches = 100;
  std::uint64_t touched = 0;
  auto next_line = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  while (!*stop) {
    code->Touch(kTouches);
    touched += kTouches;
    if (const auto now = std::chrono::steady_clock::now(); now >= next_line) {
      std::printf("{\"touched\":%llu}\n", static_cast<unsigned long long>(touched));
      touched = 0;
      next_line = now + std::chrono::seconds(1);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t anon = 0;
  const char* read_file = nullptr;
  const char* map_file = nullptr;
  bool again = false;
  memgov::workloads::Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--anon")) {
      anon = arguments.Size();
    } else if (arguments.Is("--read")) {
      read_file = arguments.Text();
    } else if (arguments.Is("--again")) {
      again = true;
    } else if (arguments.Is("--map")) {
      map_file = arguments.Text();
    } else {
      arguments.Fail("unknown option");
    }
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  if (!Take(anon)) Fail("--anon");
  again = again && read_file != nullptr;
  for (int i = 0; read_file != nullptr && i < (again ? 3 : 1); ++i) {
    if (!ReadOnce(read_file)) Fail(read_file);
  }
  memgov::workloads::CodePages code;
  if (map_file != nullptr && !code.Map(map_file)) Fail(map_file);

  std::atomic<bool> stop{false};
  std::thread runner, reader;
  if (again) reader = std::thread(ReadSlowly, read_file, &stop);
  if (map_file != nullptr) runner = std::thread(RunThrough, &code, &stop);
  std::printf("{\"ready\":true,\"pid\":%d}\n", static_cast<int>(getpid()));
  std::string order;
  std::string size;
  while (std::cin >> order >> size) {
    char* unit = nullptr;
    const auto mib = std::strtoull(size.c_str(), &unit, 10);
    if (order != "take" || std::strcmp(unit, "MiB") != 0 || !Take(mib * kMiB))
      Fail("the order is not \"take NMiB\"");
    std::printf("{\"taken\":true}\n");
  }
  stop = true;
  if (runner.joinable()) runner.join();
  if (reader.joinable()) reader.join();
  return 0;
}
