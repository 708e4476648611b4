// Takes hold of cgroups and lets go of them again, each on a thread of its own: letting go never waits for a
// taking hold that sits in the kernel, because a write reclaims or a process does not stop.
//
// What keeps the two in order, for each path:
//   - The last request counts; an earlier one that still waits is dropped.
//   - Taking hold waits for a letting go of the same path that is under way.
//   - Letting go does not wait for a taking hold of the same path that is under way. As the write may come
//     after it, it is repeated, every 10 ms and once more when the taking hold has ended.
//   - A letting go that fails is repeated too, after 10 ms, 20 ms, ... 1 s, 1 s, ..., until it succeeds or a
//     later taking hold takes its place.
//
// So a cgroup is held longer than asked for only while the kernel refuses to let it go, or for 10 ms.

#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace memgov::kernel {

// Requests may come from any thread.
class HoldQueue {
 public:
  // Called from io.run(): what the work returned; Cancelled for what was overtaken while it waited;
  // FailedPrecondition after Stop.
  using Done = std::function<void(absl::Status)>;
  // Whether nothing else has been asked for this path since. To be asked just before the write.
  using Wanted = std::function<bool()>;
  // On the thread that takes hold.
  using Taking = std::function<absl::Status(const Wanted&)>;
  // On the thread that lets go. Not `last`: a taking hold of this path is under way, and it is called again
  // when that has ended; until then what is ours must stay known.
  using LettingGo = std::function<absl::Status(const std::string& path, bool last)>;
  // From io.run(): why the first letting go fails; OK when none is failing any more.
  using OnFailing = std::function<void(absl::Status)>;

  // `io` outlives it.
  HoldQueue(boost::asio::io_context& io, LettingGo let_go, OnFailing on_failing = {});
  ~HoldQueue();  // Stop and Join
  HoldQueue(const HoldQueue&) = delete;
  HoldQueue& operator=(const HoldQueue&) = delete;

  void Take(std::string path, Taking take, Done done);
  void LetGo(std::string path, Done done);
  // Lets go of what a predecessor held, in the background.
  void Owe(const std::vector<std::string>& paths);
  // Runs `look` on the thread that takes hold, behind what waits there, while nobody begins to let go.
  void Look(std::string path, std::function<void()> look);

  // Nothing begins any more; what waits is answered. Returns at once.
  void Stop();
  // After Stop: whether what was under way has ended within `longest`.
  bool IdleWithin(std::chrono::milliseconds longest);
  // After Stop: waits for what is under way, however long the kernel takes.
  void Join();

 private:
  struct Debt {
    std::uint64_t number = 0;  // of the request
    absl::Status why;          // OK: it only waits for a taking hold to end
    std::chrono::milliseconds pause{};
    std::chrono::steady_clock::time_point due;
  };

  std::uint64_t Ask(const std::string& path);
  bool IsNewest(const std::string& path, std::uint64_t number);
  void Answer(Done done, absl::Status status);

  // On the thread that takes hold.
  absl::Status BeginTaking(const std::string& path, std::uint64_t number);
  void EndTaking(const std::string& path, std::uint64_t number);

  // On the thread that lets go.
  absl::Status TryToLetGo(const std::string& path, std::uint64_t number);
  void PayDebts();
  void PayDebtsLater();

  void TellFailing();                                                  // with mutex_ held
  void ForgetIfNewest(const std::string& path, std::uint64_t number);  // with mutex_ held

  boost::asio::io_context& io_;
  const LettingGo let_go_;
  const OnFailing on_failing_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::uint64_t asked_ = 0;                      // counts requests
  std::map<std::string, std::uint64_t> newest_;  // the last request of each path that is not done yet
  std::string taking_;                           // the path that is under way; empty: none
  std::string letting_go_;
  std::map<std::string, Debt> debts_;
  bool failing_ = false;

  boost::asio::thread_pool taker_{1};
  boost::asio::thread_pool releaser_{1};
  boost::asio::steady_timer retry_;  // the releaser's
};

}  // namespace memgov::kernel
