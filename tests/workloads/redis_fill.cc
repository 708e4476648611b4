// Fills a redis over its Unix socket with values of one size, at a steady rate or as fast as it takes them.
//
// The requests are scheduled, not chained: each is due at its own millisecond, and its latency runs from
// then, so that a stall of the server counts for every request that would have been served meanwhile and not
// only for the one that was waiting. At full speed a request is due when it is sent.
//
// stdout: {"ready":true}, {"written_mib":N,...} ten times a second, and the totals at the end, after SIGTERM
// or when the server dies. Exit status 0 when all was written and DBSIZE is right, 1 when not, 2 for a wrong
// command line, 3 when the server was not there.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "tests/workloads/arguments.h"
#include "tests/workloads/redis_connection.h"

namespace {

using memgov::workloads::Arguments;
using memgov::workloads::RedisConnection;
using Clock = std::chrono::steady_clock;
using Microseconds = std::chrono::microseconds;

constexpr std::uint64_t kWindow =
    256;  // requests in flight; bounds what a stalled server leaves in socket buffers
constexpr auto kProgressEvery = std::chrono::milliseconds(100);

volatile std::sig_atomic_t g_stop = 0;

struct Options {
  std::string socket;
  std::uint64_t total = 650 * memgov::workloads::kMiB;
  std::uint64_t value = 4096;
  std::uint64_t rate = 0;  // bytes of values per second; 0: full speed
};

constexpr char kUsage[] =
    "usage: redis_fill --socket PATH [--total 650MiB] [--value 4KiB] [--rate 80MiB]\n"
    "Writes --total bytes of values into the redis at PATH; --rate is per second, without it at full "
    "speed.\n";

Options Parse(int argc, char** argv) {
  Options options;
  Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--socket")) {
      options.socket = arguments.Text();
    } else if (arguments.Is("--total")) {
      options.total = arguments.Size();
    } else if (arguments.Is("--value")) {
      options.value = arguments.Size();
    } else if (arguments.Is("--rate")) {
      options.rate = arguments.Size();
    } else {
      arguments.Fail("unknown option");
    }
  }
  if (options.socket.empty()) arguments.Fail("--socket is missing");
  if (options.value == 0 || options.value > memgov::workloads::kMiB)
    arguments.Fail("--value must be 1 byte to 1 MiB");
  return options;
}

class Fill {
 public:
  Fill(const Options& options, RedisConnection* redis)
      : options_(options),
        redis_(redis),
        requests_(options.total / options.value),
        value_(options.value, 'x') {
    due_.resize(requests_);
    latency_us_.reserve(requests_);
    for (std::size_t i = 0; i < value_.size(); ++i) value_[i] = static_cast<char>('a' + i * 7 % 26);
  }

  // Runs to the end, the server's death or SIGTERM.
  void Run() {
    start_ = Clock::now();
    next_progress_ = start_;
    while (acknowledged_ < requests_ && redis_->error().empty() && g_stop == 0) {
      SendWhatIsDue();
      redis_->Exchange(sent_ > acknowledged_ && Blocked() ? std::chrono::milliseconds(50) : UntilNextTick());
      TakeReplies();
      if (Clock::now() >= next_progress_) PrintProgress();
    }
    duration_ = Clock::now() - start_;
  }

  // Prints the totals. True when everything was written.
  bool Finish() {
    std::int64_t keys = -1;
    if (acknowledged_ == requests_ && redis_->error().empty()) keys = redis_->Dbsize(std::chrono::seconds(5));
    const bool completed = errors_ == 0 && keys == static_cast<std::int64_t>(requests_);
    const char* why = completed                  ? ""
                      : !redis_->error().empty() ? redis_->error().c_str()
                      : g_stop != 0              ? "stopped"
                                                 : "wrong DBSIZE";
    std::printf(
        "{\"final\":true,\"completed\":%s,\"why\":\"%s\",\"requests\":%llu,\"acknowledged\":%llu,\"errors\":%"
        "llu,\"dbsize\":%lld,"
        "\"written_mib\":%.1f,\"duration_s\":%.3f,\"p50_us\":%u,\"p99_us\":%u,\"max_us\":%u}\n",
        completed ? "true" : "false", why, U(requests_), U(acknowledged_), U(errors_),
        static_cast<long long>(keys), WrittenMib(), std::chrono::duration<double>(duration_).count(),
        Percentile(50), Percentile(99), Percentile(100));
    return completed;
  }

 private:
  static unsigned long long U(std::uint64_t value) { return value; }

  bool Blocked() const { return sent_ - acknowledged_ >= kWindow || sent_ == requests_; }

  // When request `i` is due, rounded up to the millisecond: a paced sender wakes that often.
  Clock::time_point Due(std::uint64_t i) const {
    const double seconds =
        static_cast<double>(i) * static_cast<double>(options_.value) / static_cast<double>(options_.rate);
    const auto exact = std::chrono::duration_cast<Microseconds>(std::chrono::duration<double>(seconds));
    return start_ + std::chrono::ceil<std::chrono::milliseconds>(exact);
  }

  void SendWhatIsDue() {
    const auto now = Clock::now();
    while (sent_ < requests_ && sent_ - acknowledged_ < kWindow) {
      const auto due = options_.rate == 0 ? now : Due(sent_);
      if (due > now) break;
      due_[sent_] = due;
      char key[32];
      std::snprintf(key, sizeof key, "k:%010llu", U(sent_));
      redis_->AppendSet(key, value_);
      ++sent_;
    }
  }

  std::chrono::milliseconds UntilNextTick() const {
    if (options_.rate == 0 || sent_ == requests_) return std::chrono::milliseconds(50);
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(Due(sent_) - Clock::now());
    return std::clamp(wait, std::chrono::milliseconds(0), std::chrono::milliseconds(50));
  }

  void TakeReplies() {
    const auto now = Clock::now();
    while (const auto ok = redis_->TakeReply()) {
      if (!*ok) ++errors_;
      const auto latency = std::chrono::duration_cast<Microseconds>(now - due_[acknowledged_]);
      latency_us_.push_back(static_cast<std::uint32_t>(std::max<Microseconds::rep>(latency.count(), 0)));
      ++acknowledged_;
    }
  }

  double WrittenMib() const { return static_cast<double>(acknowledged_ * options_.value) / (1 << 20); }

  void PrintProgress() {
    std::printf("{\"written_mib\":%.1f,\"errors\":%llu}\n", WrittenMib(), U(errors_));
    next_progress_ += kProgressEvery;
  }

  // Nearest rank, in µs; 0 when nothing was acknowledged.
  std::uint32_t Percentile(unsigned percent) {
    if (latency_us_.empty()) return 0;
    const std::size_t rank = std::max<std::size_t>((latency_us_.size() * percent + 99) / 100, 1) - 1;
    std::nth_element(latency_us_.begin(), latency_us_.begin() + static_cast<std::ptrdiff_t>(rank),
                     latency_us_.end());
    return latency_us_[rank];
  }

  const Options options_;
  RedisConnection* const redis_;
  const std::uint64_t requests_;
  std::string value_;
  std::vector<Clock::time_point> due_;
  std::vector<std::uint32_t> latency_us_;
  std::uint64_t sent_ = 0, acknowledged_ = 0, errors_ = 0;
  Clock::time_point start_, next_progress_;
  Clock::duration duration_{};
};

}  // namespace

int main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  std::signal(SIGTERM, [](int) { g_stop = 1; });
  std::signal(SIGINT, [](int) { g_stop = 1; });
  std::signal(SIGPIPE, SIG_IGN);

  RedisConnection redis;
  if (!redis.Connect(options.socket)) {
    std::fprintf(stderr, "redis_fill: %s: %s\n", options.socket.c_str(), redis.error().c_str());
    return 3;
  }
  std::printf("{\"ready\":true}\n");
  Fill fill(options, &redis);
  fill.Run();
  return fill.Finish() ? 0 : 1;
}
