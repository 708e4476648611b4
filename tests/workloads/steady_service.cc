// A service whose limit is rightly full: all that it holds is in use, or cannot be returned. It serves
// requests at a steady rate and says how long they took. Each waits for another service first, and then
//
//   cache  reads 40 entries of a cache in which every entry is as likely to be read as any other. Those that
//          are missing are asked for together, which is one more wait, and made again. With --memgov the
//          cache can be shed; it fills up again as fast as its users miss what is gone, as most do.
//   heap   allocates and frees a few larger blocks, and reads some of its small ones. Half of those were
//          freed at random at the start: few pages are without one that lives, so the first release returns a
//          few percent and the others nothing, but each has to look at all that is free.
//
// stdout: {"ready":true,...}, and the totals on SIGTERM. Exit status 0 only when all data was right.

#include <chrono>
#include <cinttypes>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "client/cpp/memgov.hpp"
#include "tests/workloads/arguments.h"
#include "tests/workloads/attach.h"
#include "tests/workloads/live_data.h"
#include "tests/workloads/paced.h"

namespace {

using memgov::workloads::Answers;
using memgov::workloads::Arguments;
using memgov::workloads::Attach;
using memgov::workloads::kMiB;
using memgov::workloads::ResidentBytes;
using memgov::workloads::ThreadTime;

constexpr std::uint64_t kBackendNs = 4'000'000;  // one wait for another service
constexpr std::uint64_t kLateNs = 50'000'000;

volatile std::sig_atomic_t g_stop = 0;

constexpr char kUsage[] =
    "usage: steady_service --work cache|heap [--size 100MiB] [--rate 100] [--memgov]\n"
    "Holds --size bytes and serves --rate requests a second until SIGTERM.\n";

struct Options {
  int work = 0;
  std::uint64_t size = 100 * kMiB;
  std::uint64_t rate = 100;
  bool memgov = false;
};

Options Parse(int argc, char** argv) {
  Options options;
  Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--work")) {
      options.work = arguments.OneOf({"cache", "heap"});
    } else if (arguments.Is("--size")) {
      options.size = arguments.Size();
    } else if (arguments.Is("--rate")) {
      options.rate = arguments.Number();
    } else if (arguments.Is("--memgov")) {
      options.memgov = true;
    } else {
      arguments.Fail("unknown option");
    }
  }
  if (options.rate == 0 || options.size == 0) arguments.Fail("it must not be 0");
  return options;
}

// A block of malloc's, marked so that it can be verified; null when there is none.
class Block {
 public:
  Block() = default;
  Block(std::size_t bytes, std::uint64_t mark) : data_(static_cast<char*>(std::malloc(bytes))) {
    if (data_ == nullptr) {
      std::fprintf(stderr, "steady_service: out of memory\n");
      std::exit(3);
    }
    std::memset(data_.get(), static_cast<int>(mark & 0xff), bytes);
    std::memcpy(data_.get(), &mark, sizeof mark);
  }
  explicit operator bool() const { return data_ != nullptr; }
  bool Right(std::size_t bytes, std::uint64_t mark) const {
    std::uint64_t first = 0;
    std::memcpy(&first, data_.get(), sizeof first);
    return first == mark && static_cast<unsigned char>(data_.get()[bytes - 1]) == (mark & 0xff);
  }
  void Free() { data_.reset(); }

 private:
  struct Freer {
    void operator()(char* data) const { std::free(data); }
  };
  std::unique_ptr<char, Freer> data_;
};

class Work {
 public:
  virtual ~Work() = default;
  virtual void Fill(std::uint64_t bytes) = 0;
  virtual void Serve() = 0;

  std::uint64_t misses() const { return misses_; }
  std::uint64_t errors() const { return errors_; }

 protected:
  std::mt19937_64 random_{1};
  std::uint64_t misses_ = 0;
  std::uint64_t errors_ = 0;
};

class HotCache : public Work {
 public:
  explicit HotCache(bool shed) {
    if (shed)
      hook_.emplace("entries", [this](const memgov::Pressure& pressure) { return Give(pressure.bytes); });
  }

  void Fill(std::uint64_t bytes) override {
    entries_.resize(bytes / kEntry);
    for (std::size_t i = 0; i < entries_.size(); ++i) entries_[i] = Block(kEntry, i);
  }

  void Serve() override {
    ThreadTime::Sleep(kBackendNs);
    missing_.clear();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (int i = 0; i < kReads; ++i) {
        const std::size_t key = random_() % entries_.size();
        if (!entries_[key]) {
          missing_.push_back(key);
        } else if (!entries_[key].Right(kEntry, key)) {
          ++errors_;
        }
      }
    }
    if (missing_.empty()) return;
    misses_ += missing_.size();
    ThreadTime::Sleep(kBackendNs);
    for (const std::size_t key : missing_) {
      Block made(kEntry, key);
      const std::lock_guard<std::mutex> lock(mutex_);
      std::swap(entries_[key], made);
    }
  }

 private:
  static constexpr std::size_t kEntry = 64 * 1024;
  static constexpr int kReads = 40;

  // On the client's thread.
  std::uint64_t Give(std::uint64_t bytes) {
    std::uint64_t given = 0;
    const std::lock_guard<std::mutex> lock(mutex_);
    for (std::size_t i = 0; i < entries_.size() && given < bytes; ++i) {
      if (!entries_[i]) continue;
      entries_[i].Free();
      given += kEntry;
    }
    return given;
  }

  std::mutex mutex_;  // guards the entries
  std::vector<Block> entries_;
  std::vector<std::size_t> missing_;
  std::optional<memgov::PressureHook> hook_;  // the last member: gone before what it uses
};

class FragmentedHeap : public Work {
 public:
  void Fill(std::uint64_t bytes) override {
    blocks_.resize(bytes / (kBlock + kHeader));
    for (std::size_t i = 0; i < blocks_.size(); ++i) blocks_[i] = Block(kBlock, i);
    for (Block& block : blocks_) {
      if (random_() % 2 == 0) block.Free();
    }
    Block(kLeast + kRange,
          0);  // malloc sorts what was freed when the next large block is wanted: not in a request
  }

  void Serve() override {
    ThreadTime::Sleep(kBackendNs);
    for (int i = 0; i < kLarge; ++i) Block(kLeast + random_() % kRange, static_cast<std::uint64_t>(i));
    for (int i = 0; i < kReads; ++i) {
      const std::size_t key = random_() % blocks_.size();
      if (blocks_[key] && !blocks_[key].Right(kBlock, key)) ++errors_;
    }
  }

 private:
  static constexpr std::size_t kBlock = 1500;
  static constexpr std::size_t kHeader = 20;  // malloc's, on average with its rounding
  static constexpr std::size_t kLeast = 16 * 1024;
  static constexpr std::size_t kRange = 112 * 1024;  // below what malloc maps by itself
  static constexpr int kLarge = 4;
  static constexpr int kReads = 40;

  std::vector<Block> blocks_;
};

void ServeUntilStopped(Work* work, const ThreadTime& time, Answers* answers) {
  while (true) {
    std::uint64_t begin = time.Now();
    while (g_stop == 0 && begin < answers->NextDue()) {
      ThreadTime::Sleep(answers->NextDue() - begin);
      begin = time.Now();
    }
    if (g_stop != 0) return;
    work->Serve();
    answers->Note(begin, time.Now());
    memgov_thread_checkpoint();
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  std::signal(SIGTERM, [](int) { g_stop = 1; });
  std::signal(SIGINT, [](int) { g_stop = 1; });
  std::unique_ptr<Work> work;
  if (options.work == 0) {
    work = std::make_unique<HotCache>(options.memgov);
  } else {
    work = std::make_unique<FragmentedHeap>();
  }
  std::optional<memgov::Session> session;
  if (options.memgov && !Attach(&session, "steady_service")) return 2;
  work->Fill(options.size);
  std::printf("{\"ready\":true,\"rss_mib\":%.1f}\n", memgov::workloads::Mib(ResidentBytes()));

  const ThreadTime time;
  Answers answers(time.Now(), options.rate);
  ServeUntilStopped(work.get(), time, &answers);
  session.reset();
  const std::uint64_t late = answers.LaterThan(kLateNs);
  std::printf("{\"final\":true,\"answered\":%" PRIu64 ",\"busy_s\":%.6f,\"late\":%" PRIu64
              ",\"misses\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"latencies_us\":[",
              answers.count(), static_cast<double>(answers.busy_ns()) / 1e9, late, work->misses(),
              work->errors());
  for (std::size_t i = 0; i < answers.count(); ++i)
    std::printf("%s%u", i ? "," : "", answers.latencies_us()[i]);
  std::printf("]}\n");
  return work->errors() == 0 ? 0 : 1;
}
