// Requests that come at times fixed beforehand, whether or not the one before is answered: a stall delays all
// that came due meanwhile. Asking again only after an answer would count it once (coordinated omission).
//
// The clock stands still while its thread is ready to run and has no processor: the machine has other work.

#pragma once

#include <cstdint>
#include <vector>

namespace memgov::workloads {

// What one thread experienced, in nanoseconds. Not thread-safe.
class ThreadTime {
 public:
  ThreadTime();  // for the calling thread
  ThreadTime(const ThreadTime&) = delete;
  ThreadTime& operator=(const ThreadTime&) = delete;
  ~ThreadTime();

  std::uint64_t Now() const;
  // Waits `ns`, or until a signal.
  static void Sleep(std::uint64_t ns);

 private:
  int schedstat_;  // of the thread; less than 0 where the kernel does not tell: then it is plain time
};

// The record of the requests; pure.
class Answers {
 public:
  // The first is due a period after `start_ns`.
  Answers(std::uint64_t start_ns, std::uint64_t per_second);

  std::uint64_t NextDue() const { return start_ns_ + (latencies_us_.size() + 1) * period_ns_; }
  // The next one was served from `begin_ns` to `end_ns`.
  void Note(std::uint64_t begin_ns, std::uint64_t end_ns);

  std::uint64_t count() const { return latencies_us_.size(); }
  std::uint64_t busy_ns() const { return busy_ns_; }  // that something was being served
  // From when each was due to its answer.
  const std::vector<std::uint32_t>& latencies_us() const { return latencies_us_; }
  // Those that took longer than this.
  std::uint64_t LaterThan(std::uint64_t ns) const;

 private:
  std::uint64_t start_ns_;
  std::uint64_t period_ns_;
  std::uint64_t busy_ns_ = 0;
  std::vector<std::uint32_t> latencies_us_;
};

}  // namespace memgov::workloads
