// The thread that takes connections off the listen queue of the governor's socket and says who is there.
//
// The threat: the queue is everybody's. Whoever fills it keeps others out, and connects more cheaply than
// anybody can accept. So whoever takes them off does nothing else, waits for nobody and goes before other
// work; who connects too often is closed by his pid alone (connect_rate.h), many at a time, so that waking up
// costs little. What that may cost is bounded; beyond it the flood stays in the queue, where it is the
// kernel's.

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "governor/base/tally.h"
#include "governor/base/token_bucket.h"
#include "governor/base/unique_fd.h"
#include "governor/core/units.h"
#include "governor/identity/attestor.h"
#include "governor/identity/connect_rate.h"
#include "governor/identity/unix_listener.h"

namespace memgov::identity {

struct AcceptedConnection {
  base::UniqueFd fd;                  // connected, FD_CLOEXEC and O_NONBLOCK
  std::uint64_t cookie = 0;           // SO_COOKIE, also where `peer` is an error
  std::string tenant;                 // tenant.h; where `peer` is an error, as far as it could be told
  absl::StatusOr<AttestedPeer> peer;  // an error is the reason to tell the peer
};

class AcceptThread {
 public:
  // On the thread. Must not wait, nor end the thread.
  using OnAccepted = std::function<void(AcceptedConnection)>;

  struct Options {
    core::Duration retry_after = std::chrono::milliseconds(200);  // when descriptors or memory ran out
    int most_waiting = 1024;  // handed on, not yet taken; meanwhile nobody is accepted
    AttestorOptions attestor = {};
    ConnectRate::Options rate = {};
  };

  // RESOURCE_EXHAUSTED: no descriptor or thread is left for it.
  static absl::StatusOr<std::unique_ptr<AcceptThread>> Start(UnixListener listener, Options options,
                                                             OnAccepted on_accepted);

  // Ends the thread, then removes the socket file. Waits for the connection that is being looked at, if any:
  // well below a millisecond. Not on the thread.
  ~AcceptThread();
  AcceptThread(const AcceptThread&) = delete;
  AcceptThread& operator=(const AcceptThread&) = delete;

  // A connection that was handed on is not waiting any more. Any thread.
  void Taken() { --waiting_; }

  // As of ConnectRate. Any thread.
  std::vector<base::Tally::Line> TakeRefused(core::Instant now);
  void Charge(const std::string& tenant, core::Instant now);

 private:
  AcceptThread(UnixListener listener, Options options, OnAccepted on_accepted, base::UniqueFd stop);

  void Run();
  bool Wait(core::Duration pause) const;
  core::Duration AcceptSome();
  std::optional<std::string> Admit(const base::UniqueFd& fd);
  void HandOn(base::UniqueFd fd, std::string tenant);

  // Constant after construction.
  const UnixListener listener_;
  const Options options_;
  const OnAccepted on_accepted_;
  const base::UniqueFd stop_;     // an eventfd: readable when the thread is to end
  const bool takes_descriptors_;  // this kernel passes on what peers send along
  std::atomic<int> waiting_{0};   // handed on, not yet taken

  base::TokenBucket refusing_;  // of CPU, microseconds; the thread's

  std::mutex mutex_;
  ConnectRate rate_;  // guarded by mutex_

  std::thread thread_;
};

}  // namespace memgov::identity
