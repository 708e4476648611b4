#include "tests/workloads/paced.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <limits>

namespace memgov::workloads {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

// The second number of schedstat: nanoseconds on a run queue (Documentation/scheduler/sched-stats.rst).
std::uint64_t Queued(int schedstat) {
  char text[96];
  const ssize_t length = schedstat < 0 ? -1 : pread(schedstat, text, sizeof text - 1, 0);
  if (length <= 0) return 0;
  text[length] = '\0';
  unsigned long long ran = 0, queued = 0;
  return std::sscanf(text, "%llu %llu", &ran, &queued) == 2 ? queued : 0;
}

}  // namespace

ThreadTime::ThreadTime() : schedstat_(open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)) {
  prctl(PR_SET_TIMERSLACK, 1);  // waits end when they should
}

ThreadTime::~ThreadTime() {
  if (schedstat_ >= 0) close(schedstat_);
}

std::uint64_t ThreadTime::Now() const {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec) -
         Queued(schedstat_);
}

void ThreadTime::Sleep(std::uint64_t ns) {
  const timespec wait{.tv_sec = static_cast<time_t>(ns / kSecond),
                      .tv_nsec = static_cast<long>(ns % kSecond)};
  nanosleep(&wait, nullptr);
}

Answers::Answers(std::uint64_t start_ns, std::uint64_t per_second)
    : start_ns_(start_ns), period_ns_(kSecond / std::max<std::uint64_t>(per_second, 1)) {
  latencies_us_.reserve(64 * 1024);  // so that keeping the record moves no memory for minutes
}

void Answers::Note(std::uint64_t begin_ns, std::uint64_t end_ns) {
  const std::uint64_t due = NextDue();
  const std::uint64_t us = end_ns > due ? (end_ns - due) / 1000 : 0;
  latencies_us_.push_back(
      static_cast<std::uint32_t>(std::min<std::uint64_t>(us, std::numeric_limits<std::uint32_t>::max())));
  busy_ns_ += end_ns > begin_ns ? end_ns - begin_ns : 0;
}

std::uint64_t Answers::LaterThan(std::uint64_t ns) const {
  return static_cast<std::uint64_t>(std::count_if(latencies_us_.begin(), latencies_us_.end(),
                                                  [ns](std::uint32_t us) { return us * 1000ull > ns; }));
}

}  // namespace memgov::workloads
