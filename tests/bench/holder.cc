// A client that holds free memory, over and over: the one that is asked in the reaction benchmark.
//
// "refill" on stdin: allocate and free --hold bytes, so that jemalloc keeps them as dirty pages. What the
// agent thread hears is printed with the instant at which it was read from the socket.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "client/c/memgov.h"
#include "tests/workloads/arguments.h"

namespace {

constexpr char kUsage[] = "usage: bench_holder [--hold 256MiB]\n";
// Large, because jemalloc reuses no free extent that is more than 64 times as large as the block.
constexpr std::size_t kBlock = 4 * memgov::workloads::kMiB;
constexpr std::size_t kPage = 4096;

void OnEvent(void* /*user*/, const memgov_event* event) {
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  if (event->kind == MEMGOV_EVENT_WELCOMED) {
    std::printf("{\"welcomed\":true,\"enforcing\":%s}\n", event->enforcing != 0 ? "true" : "false");
  } else if (event->kind == MEMGOV_EVENT_DIRECTIVE) {
    std::printf("{\"directive\":%llu,\"action\":%d,\"bytes\":%llu,\"at_ns\":%llu}\n",
                number(event->directive_id), static_cast<int>(event->action), number(event->bytes),
                number(event->at_ns));
  } else if (event->kind == MEMGOV_EVENT_OUTCOME) {
    std::printf("{\"outcome\":%d,\"id\":%llu,\"before\":%llu,\"after\":%llu,\"wall_ns\":%llu}\n",
                static_cast<int>(event->outcome), number(event->directive_id), number(event->before_bytes),
                number(event->after_bytes), number(event->wall_ns));
  }
}

void Refill(std::uint64_t hold) {
  std::vector<char*> blocks(hold / kBlock);
  for (char*& block : blocks) {
    block = new char[kBlock];
    // volatile: a plain store to memory that is only freed afterwards may be optimised away.
    for (std::size_t at = 0; at < kBlock; at += kPage) static_cast<volatile char*>(block)[at] = 1;
  }
  for (char* block : blocks) delete[] block;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t hold = 256 * memgov::workloads::kMiB;
  memgov::workloads::Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--hold")) {
      hold = arguments.Size();
    } else {
      arguments.Fail("unknown option");
    }
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  memgov_options options = MEMGOV_OPTIONS_INIT;
  options.name = "holder";
  options.on_event = OnEvent;
  if (memgov_start(&options) != 0) {
    std::fprintf(stderr, "bench_holder: memgov_start failed\n");
    return 1;
  }
  char line[64];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    if (std::strcmp(line, "refill\n") == 0) {
      Refill(hold);
      std::printf("{\"refilled\":true}\n");
    }
  }
  memgov_stop();
  return 0;
}
