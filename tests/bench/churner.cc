// Makes and removes cgroups with evil names below --directory, --rate times a second, for the hostile
// benchmark and its tests: as a tenant could in a subtree that was delegated to it. One JSON line at the end.

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <iterator>
#include <string>

#include "tests/workloads/arguments.h"

namespace {

constexpr char kUsage[] =
    "usage: bench_churner --directory DIR --seconds N [--rate PER_SECOND] [--alive N]\n";
constexpr std::uint64_t kSecond = 1'000'000'000;

// Escapes, no UTF-8, what looks like an event, like another runtime's container, like a format or an escaped
// path.
constexpr const char* kNames[] = {
    "a\x1b[31mb",
    "\xff\xfe\xc0",
    "x (deleted)",
    "..hidden",
    "{\"event\":\"stopped\"}",
    "kubepods",
    "docker-0123456789012345678901234567890123456789012345678901234567890123.scope",
    "%s%n%x",
    "\\012",
    "a:b,memory:",
    "tab\tx",
    "\r\x1b[2K99.0 stopped"};

std::uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

// The name of the `index`-th cgroup; a few have the longest name that there is.
std::string NameOf(std::uint64_t index) {
  const std::string number = std::to_string(index);
  if (index % 17 == 0) return std::string(255 - number.size(), 'L') + number;
  return std::string(kNames[index % std::size(kNames)]) + "-" + number;
}

}  // namespace

int main(int argc, char** argv) {
  const char* directory = nullptr;
  std::uint64_t seconds = 0, rate = 500, alive = 60;
  memgov::workloads::Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--directory")) {
      directory = arguments.Text();
    } else if (arguments.Is("--seconds")) {
      seconds = arguments.Number();
    } else if (arguments.Is("--rate")) {
      rate = arguments.Number();
    } else if (arguments.Is("--alive")) {
      alive = arguments.Number();
    } else {
      arguments.Fail("unknown option");
    }
  }
  if (directory == nullptr || seconds == 0 || rate == 0)
    arguments.Fail("--directory, --seconds and a rate are needed");
  if (chdir(directory) != 0) {
    std::perror(directory);
    return 1;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  std::printf("{\"started\":true}\n");
  std::uint64_t made = 0, failed = 0, next = 0;
  const std::uint64_t began = NowNs();
  for (; NowNs() < began + seconds * kSecond; ++next) {
    ++(mkdir(NameOf(next).c_str(), 0755) == 0 ? made : failed);
    if (next >= alive) rmdir(NameOf(next - alive).c_str());
    const std::uint64_t due = began + (next + 1) * kSecond / rate;
    if (const std::uint64_t now = NowNs(); due > now) {
      const timespec pause{.tv_sec = static_cast<time_t>((due - now) / kSecond),
                           .tv_nsec = static_cast<long>((due - now) % kSecond)};
      nanosleep(&pause, nullptr);
    }
  }
  for (std::uint64_t index = next > alive ? next - alive : 0; index < next; ++index)
    rmdir(NameOf(index).c_str());
  std::printf("{\"made\":%llu,\"failed\":%llu}\n", static_cast<unsigned long long>(made),
              static_cast<unsigned long long>(failed));
  return 0;
}
