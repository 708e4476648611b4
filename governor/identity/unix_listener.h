// A listening Unix socket and its file. The file outlives a killed process, so that a new one must tell "left
// behind" from "in use" without ever taking the socket from a living server.

#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "governor/base/unique_fd.h"

namespace memgov::identity {

class UnixListener {
 public:
  // Creates the directory of `path` (0755) where it is missing, and the socket (`mode`). FailedPrecondition
  // where somebody else could take the socket away, or the lock is no file of ours. Two processes that
  // start at once are told apart by a lock on "PATH.lock", which the kernel drops when its owner dies.
  // Errors: see Acceptor::Listen.
  static absl::StatusOr<UnixListener> Open(const std::string& path, mode_t mode, int backlog);

  UnixListener(UnixListener&& other) noexcept = default;
  UnixListener& operator=(UnixListener&&) = delete;
  ~UnixListener();  // removes both files, the socket only if it is still the one made here

  // Listening, FD_CLOEXEC and O_NONBLOCK; stays owned here.
  int fd() const { return fd_.get(); }

 private:
  UnixListener() = default;

  std::string path_;
  base::UniqueFd lock_;  // while valid we own `path_`
  base::UniqueFd fd_;
  dev_t device_ = 0;  // of the socket file, to recognise it
  ino_t inode_ = 0;
};

}  // namespace memgov::identity
