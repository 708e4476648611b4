// The governor's Unix socket: makes it, accepts, and says who connected. It speaks no protocol; whoever gets
// the connection does, also with peers that could not be identified, so that they learn why. A tenant that
// connects too often is closed unheard, before it costs anything (connect_rate.h), on a thread of its own
// (accept_thread.h): a flood of connects must not hold up the loop, nor the loop those who connect.

#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "governor/base/tally.h"
#include "governor/core/units.h"
#include "governor/identity/accept_thread.h"
#include "governor/identity/attestor.h"
#include "governor/identity/connect_rate.h"
#include "governor/identity/pod_name_finder.h"

namespace memgov::identity {

// Connections that wait in the kernel for us; it may allow fewer (net.core.somaxconn).
inline constexpr int kListenQueue = 4096;

struct AcceptorOptions {
  std::string socket_path;  // absolute, at most 107 bytes; its directory is created with mode 0755
  mode_t mode = 0666;       // everybody may connect: identity comes from the kernel, not from permissions
  int backlog = kListenQueue;
  core::Duration retry_after = std::chrono::milliseconds(200);  // when descriptors or memory ran out
  int most_waiting = 1024;  // who were accepted and not yet handed to the callback
  AttestorOptions attestor = {};
  ConnectRate::Options rate = {};
  PodNameFinder::Look look_up_pod = {};  // empty: LookInFiles()
};

// All calls, the callback and the destructor on the thread that runs the io_context.
class Acceptor {
 public:
  using OnConnection = std::function<void(AcceptedConnection)>;

  // Makes the socket and starts to accept. A socket file that a dead daemon left is replaced.
  // ALREADY_EXISTS: a living process serves the path. FAILED_PRECONDITION: something else lies there.
  // INVALID_ARGUMENT: a path that cannot be one. Otherwise the error of the system call, with the path.
  static absl::StatusOr<std::unique_ptr<Acceptor>> Listen(boost::asio::io_context& io,
                                                          AcceptorOptions options,
                                                          OnConnection on_connection);

  // Stop(), then waits for a disk that is being read (pod_name_finder.h).
  ~Acceptor();

  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // Tenants whose connections were closed unheard because they were too many, to be told by now.
  std::vector<base::Tally::Line> TakeRefused(core::Instant now);

  // A connection of the tenant did what no client does (connect_rate.h).
  void Charge(const std::string& tenant, core::Instant now);

  // Accepts nobody any more, hands nobody on, and removes the socket file, unless somebody replaced it
  // meanwhile. Waits for no disk.
  void Stop();

 private:
  class Impl;
  explicit Acceptor(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

  std::shared_ptr<Impl> impl_;  // shared with handlers that the io_context still holds
};

}  // namespace memgov::identity
