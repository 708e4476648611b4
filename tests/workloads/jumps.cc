// A program whose work is one large step, again and again: it allocates --size bytes at once, fills them as
// fast as it can, reads them and frees them. Beside that it keeps --base bytes. Built twice: glibc's malloc
// returns so large a block to the kernel at once, jemalloc keeps it for the next step.
//
// stdout: {"ready":true}, {"round":N,...} when a round is filled and right, {"final":true,"errors":N} after
// the last one; then it waits for SIGTERM.

#include <unistd.h>

#include <cinttypes>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "client/c/memgov.h"
#include "tests/workloads/arguments.h"
#include "tests/workloads/live_data.h"

namespace {

using memgov::workloads::Arguments;
using memgov::workloads::kMiB;

volatile std::sig_atomic_t g_stop = 0;

constexpr char kUsage[] = "usage: jumps [--size 1GiB] [--rounds 10] [--base 0MiB] [--memgov]\n";

struct Options {
  std::uint64_t size = 1024 * kMiB;
  std::uint64_t base = 0;
  std::uint64_t rounds = 10;
  bool memgov = false;
};

Options Parse(int argc, char** argv) {
  Options options;
  Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--size")) {
      options.size = arguments.Size();
    } else if (arguments.Is("--base")) {
      options.base = arguments.Size();
    } else if (arguments.Is("--rounds")) {
      options.rounds = arguments.Number();
    } else if (arguments.Is("--memgov")) {
      options.memgov = true;
    } else {
      arguments.Fail("unknown option");
    }
  }
  return options;
}

struct Freer {
  void operator()(std::uint64_t* words) const { std::free(words); }
};
using Words = std::unique_ptr<std::uint64_t[], Freer>;

Words Filled(std::uint64_t bytes, std::uint64_t seed) {
  Words words(static_cast<std::uint64_t*>(std::malloc(bytes + 1)));
  if (words == nullptr) {
    std::fprintf(stderr, "jumps: out of memory\n");
    std::exit(3);
  }
  for (std::uint64_t i = 0; i < bytes / sizeof(std::uint64_t); ++i) words[i] = seed + i;
  return words;
}

bool Right(const Words& words, std::uint64_t bytes, std::uint64_t seed) {
  std::uint64_t wrong = 0;
  for (std::uint64_t i = 0; i < bytes / sizeof(std::uint64_t); ++i) wrong |= words[i] ^ (seed + i);
  return wrong == 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  std::signal(SIGTERM, [](int) { g_stop = 1; });
  if (options.memgov && memgov_start(nullptr) != 0) return 2;
  const Words base = Filled(options.base, 0);
  std::printf("{\"ready\":true}\n");

  std::uint64_t errors = 0;
  for (std::uint64_t round = 1; round <= options.rounds && g_stop == 0; ++round) {
    {
      const Words step = Filled(options.size, round << 32);
      errors += Right(step, options.size, round << 32) ? 0 : 1;
    }
    memgov_thread_checkpoint();
    std::printf("{\"round\":%" PRIu64 ",\"rss_mib\":%.1f}\n", round,
                memgov::workloads::Mib(memgov::workloads::ResidentBytes()));
  }
  errors += Right(base, options.base, 0) ? 0 : 1;
  std::printf("{\"final\":true,\"errors\":%" PRIu64 "}\n", errors);
  while (g_stop == 0) sleep(1);
  if (options.memgov) memgov_stop();
  return errors == 0 ? 0 : 1;
}
