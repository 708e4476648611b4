// A service as many are: it grew, freed nine tenths of that, and its allocator keeps the pages.
//
// It allocates blocks of mixed sizes until it is as large as --grow, frees all but --keep of the bytes, and
// from then on reads its live data over and over and compares it with what was written. That reading
// allocates nothing, so jemalloc, which purges by the ticks of its callers, keeps its dirty pages as an idle
// service's does, and glibc keeps the holes in its arena. With
// --pattern runs the survivors stand together (what a release can return almost whole); with scattered every
// block survives by chance, so that most pages hold something live: that is fragmentation, and no release
// returns it.
//
// stdout: {"ready":true,...}, {"work_done":N} once a second, and the totals on SIGTERM. Exit status 0 only
// when all data was right.

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "client/c/memgov.h"
#include "tests/workloads/arguments.h"
#include "tests/workloads/code_pages.h"
#include "tests/workloads/live_data.h"

namespace {

using memgov::workloads::Arguments;
using memgov::workloads::CodePages;
using memgov::workloads::LiveData;
using memgov::workloads::Mib;
using memgov::workloads::Pattern;
using memgov::workloads::ResidentBytes;

volatile std::sig_atomic_t g_stop = 0;

struct Options {
  std::uint64_t grow = 300 * memgov::workloads::kMiB;
  double keep = 0.1;
  Pattern pattern = Pattern::kRuns;
  bool memgov = false;
  const char* code = nullptr;  // a file to read here and there, as a large program runs through its code
};

constexpr char kUsage[] =
    "usage: retain_service [--grow 300MiB] [--keep 10%] [--pattern runs|scattered] [--memgov] [--code FILE]\n"
    "Grows to --grow resident memory, frees all but --keep of it, then works on what is left until "
    "SIGTERM.\n";

Options Parse(int argc, char** argv) {
  Options options;
  Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--grow")) {
      options.grow = arguments.Size();
    } else if (arguments.Is("--keep")) {
      options.keep = arguments.Percent();
    } else if (arguments.Is("--pattern")) {
      options.pattern = arguments.OneOf({"runs", "scattered"}) == 0 ? Pattern::kRuns : Pattern::kScattered;
    } else if (arguments.Is("--memgov")) {
      options.memgov = true;
    } else if (arguments.Is("--code")) {
      options.code = arguments.Text();
    } else {
      arguments.Fail("unknown option");
    }
  }
  return options;
}

// Reads the live data slice by slice, about 25 MiB/s, until SIGTERM. Returns the number of passes that were
// right.
std::uint64_t Work(const LiveData& data, CodePages* code, std::uint64_t* errors) {
  constexpr std::uint64_t kSlice = memgov::workloads::kMiB / 4;
  constexpr int kTouches = 400;  // pages of code in each slice
  std::uint64_t passes = 0;
  auto next_line = std::chrono::steady_clock::now();
  LiveData::Cursor cursor;
  while (g_stop == 0) {
    code->Touch(kTouches);
    *errors += data.Verify(kSlice, &cursor);
    if (cursor.at_end()) {
      ++passes;
      cursor = {};
    }
    if (const auto now = std::chrono::steady_clock::now(); now >= next_line) {
      std::printf("{\"work_done\":%llu,\"errors\":%llu,\"rss_mib\":%.1f}\n",
                  static_cast<unsigned long long>(passes), static_cast<unsigned long long>(*errors),
                  Mib(ResidentBytes()));
      next_line = now + std::chrono::seconds(1);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return passes;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  std::signal(SIGTERM, [](int) { g_stop = 1; });
  std::signal(SIGINT, [](int) { g_stop = 1; });
  if (const int error = options.memgov ? memgov_start(nullptr) : 0; error != 0) {
    std::fprintf(stderr, "retain_service: memgov_start: %s\n", std::strerror(error));
    return 2;
  }

  CodePages code;
  if (options.code != nullptr && !code.Map(options.code)) {
    std::fprintf(stderr, "retain_service: --code %s: %s\n", options.code, std::strerror(errno));
    return 2;
  }
  LiveData data;
  data.Grow(options.grow);
  const double grown = Mib(ResidentBytes());
  data.Free(options.keep, options.pattern);
  std::printf("{\"ready\":true,\"rss_mib\":%.1f,\"grown_mib\":%.1f,\"live_mib\":%.1f,\"pid\":%d}\n",
              Mib(ResidentBytes()), grown, Mib(data.live_bytes()), static_cast<int>(getpid()));

  std::uint64_t errors = 0;
  const std::uint64_t passes = Work(data, &code, &errors);
  errors += data.VerifyAll();  // whatever the end of the run did, all of it must still be right
  std::printf("{\"final\":true,\"work_done\":%llu,\"errors\":%llu,\"live_mib\":%.1f,\"rss_mib\":%.1f}\n",
              static_cast<unsigned long long>(passes), static_cast<unsigned long long>(errors),
              Mib(data.live_bytes()), Mib(ResidentBytes()));
  if (options.memgov) memgov_stop();
  return errors == 0 ? 0 : 1;
}
