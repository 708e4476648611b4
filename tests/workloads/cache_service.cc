// A service that answers from a cache: it filled the cache, and from then on reads entries by chance, makes
// those that are missing again, and compares all it gets with what it must be. The cache is the one of
// client/examples/lru_cache, so with --memgov the governor can shed it. Built twice, on jemalloc and on
// glibc's malloc.
//
// stdout: {"ready":true,...}, {"work_done":N,...} ten times a second, and the totals on SIGTERM. Exit status
// 0 only when all data was right.

#include <chrono>
#include <cinttypes>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "client/examples/lru_cache/lru_cache.hpp"
#include "tests/workloads/arguments.h"
#include "tests/workloads/attach.h"
#include "tests/workloads/live_data.h"

namespace {

using memgov::workloads::Arguments;
using memgov::workloads::Attach;
using memgov::workloads::Mib;
using memgov::workloads::ResidentBytes;

volatile std::sig_atomic_t g_stop = 0;

constexpr char kUsage[] =
    "usage: cache_service [--cache 200MiB] [--memgov] [--late]\n"
    "Fills a cache of --cache bytes, then serves from it until SIGTERM. --late: attaches before that.\n";

struct Options {
  std::uint64_t cache = 200 * memgov::workloads::kMiB;
  bool memgov = false;
  bool late = false;
};

Options Parse(int argc, char** argv) {
  Options options;
  Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--cache")) {
      options.cache = arguments.Size();
    } else if (arguments.Is("--memgov")) {
      options.memgov = true;
    } else if (arguments.Is("--late")) {
      options.late = true;
    } else {
      arguments.Fail("unknown option");
    }
  }
  return options;
}

// Shared, so that a hit copies no content.
using Page = std::shared_ptr<const std::string>;
using Cache = memgov::examples::LruCache<std::uint64_t, Page>;

// 4 to 28 KiB, by the key.
Page Make(std::uint64_t key) {
  return std::make_shared<const std::string>(4096 + key % 7 * 4096, static_cast<char>('a' + key % 26));
}

bool IsRight(std::uint64_t key, const Page& page) {
  return page->size() == 4096 + key % 7 * 4096 &&
         page->find_first_not_of(static_cast<char>('a' + key % 26)) == page->npos;
}

class Service {
 public:
  explicit Service(std::uint64_t capacity) : cache_("pages", capacity) {}

  // Until nothing more fits.
  void Fill() {
    std::uint64_t before = 0;
    do {
      before = cache_.bytes();
      PutIn(keys_++);
    } while (cache_.bytes() > before);
  }

  // Some reads, from all keys alike.
  void Serve() {
    for (int i = 0; i < 200; ++i) {
      const std::uint64_t key = random_() % keys_;
      const std::optional<Page> page = cache_.Get(key);
      if (page) {
        ++hits_;
        errors_ += IsRight(key, *page) ? 0 : 1;
      } else {
        ++misses_;
        PutIn(key);
      }
    }
  }

  void Say(const char* what) const {
    const std::uint64_t work = hits_ + misses_;
    std::printf("{\"%s\":true,\"work_done\":%" PRIu64 ",\"misses\":%" PRIu64 ",\"errors\":%" PRIu64
                ",\"cache_mib\":%.1f,\"limit_mib\":%.1f,\"rss_mib\":%.1f}\n",
                what, work, misses_, errors_, Mib(cache_.bytes()), Mib(cache_.limit()), Mib(ResidentBytes()));
  }

  bool right() const { return errors_ == 0; }

 private:
  void PutIn(std::uint64_t key) {
    Page page = Make(key);
    const std::uint64_t bytes = page->size();
    cache_.Put(key, std::move(page), bytes);
  }

  Cache cache_;
  std::mt19937_64 random_{1};
  std::uint64_t keys_ = 0;
  std::uint64_t hits_ = 0;
  std::uint64_t misses_ = 0;
  std::uint64_t errors_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  std::signal(SIGTERM, [](int) { g_stop = 1; });
  std::signal(SIGINT, [](int) { g_stop = 1; });
  std::optional<memgov::Session> session;
  if (options.memgov && options.late && !Attach(&session, "cache_service")) return 2;
  Service service(options.cache);
  service.Fill();
  if (options.memgov && !session && !Attach(&session, "cache_service")) return 2;
  service.Say("ready");
  auto next_line = std::chrono::steady_clock::now();
  while (g_stop == 0) {
    service.Serve();
    memgov_thread_checkpoint();
    if (const auto now = std::chrono::steady_clock::now(); now >= next_line) {
      service.Say("serving");
      next_line = now + std::chrono::milliseconds(100);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  session.reset();
  service.Say("final");
  return service.right() ? 0 : 1;
}
