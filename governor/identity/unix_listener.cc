#include "governor/identity/unix_listener.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "governor/base/state_directory.h"

namespace memgov::identity {
namespace {

using base::UniqueFd;

absl::Status InUse(const std::string& path) {
  return absl::AlreadyExistsError(absl::StrCat("another memgovd serves ", path));
}

absl::StatusOr<sockaddr_un> Address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (!absl::StartsWith(path, "/")) {
    return absl::InvalidArgumentError(absl::StrCat("socket path \"", path, "\": must be absolute"));
  }
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("socket path \"", path, "\": has ", path.size(),
                                                   " bytes, at most ", sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

int Connect(int fd, const sockaddr_un& address) {
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

// Whoever may write in the directory can put a socket of his own in our place. In a sticky one (/tmp) he can
// at least not take ours away.
absl::StatusOr<base::StateDirectory> DirectoryOf(const std::string& path) {
  return base::StateDirectory::Open(base::DirectoryOf(path),
                                    {.make = true, .sticky_may_be = true, .flag = "--socket"});
}

// The lock of a path, held until the descriptor is closed. A previous owner removes the file while it still
// holds the lock, so a lock counts only while the path leads to the locked file.
absl::StatusOr<UniqueFd> Lock(const base::StateDirectory& directory, const std::string& path) {
  const std::string name = base::NameOf(path) + ".lock";
  while (true) {
    auto opened = directory.OpenLock(name);
    if (!opened.ok()) return opened.status();
    UniqueFd fd(opened->release());
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return InUse(path);
      return absl::ErrnoToStatus(errno, absl::StrCat("flock ", path, ".lock"));
    }
    struct stat locked {
    }, named{};
    if (::fstat(fd.get(), &locked) == 0 &&
        ::fstatat(directory.fd(), name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        locked.st_dev == named.st_dev && locked.st_ino == named.st_ino) {
      return fd;
    }
  }
}

// Removes a socket file that nobody serves. Also a server that does not know our lock is left alone.
absl::Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return absl::ErrnoToStatus(errno, path);
  }
  if (!S_ISSOCK(file.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " exists and is not a socket; it was left alone"));
  }
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return absl::ErrnoToStatus(errno, "socket");
  if (Connect(probe.get(), address) == 0 || errno == EAGAIN)
    return InUse(path);  // EAGAIN: its backlog is full
  if (errno == ENOENT) return absl::OkStatus();
  if (errno != ECONNREFUSED) return absl::ErrnoToStatus(errno, absl::StrCat("connect ", path));
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return absl::ErrnoToStatus(errno, absl::StrCat("remove ", path));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UnixListener> UnixListener::Open(const std::string& path, mode_t mode, int backlog) {
  const absl::StatusOr<sockaddr_un> address = Address(path);
  if (!address.ok()) return address.status();
  const absl::StatusOr<base::StateDirectory> directory = DirectoryOf(path);
  if (!directory.ok()) return directory.status();
  absl::StatusOr<UniqueFd> lock = Lock(*directory, path);
  if (!lock.ok()) return lock.status();

  UnixListener listener;
  listener.path_ = path;
  listener.lock_ = *std::move(lock);
  if (absl::Status removed = RemoveStale(path, *address); !removed.ok()) return removed;
  listener.fd_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.fd_) return absl::ErrnoToStatus(errno, "socket");
  if (::bind(listener.fd(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("bind ", path));
  }
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) return absl::ErrnoToStatus(errno, path);
  listener.device_ = file.st_dev;
  listener.inode_ = file.st_ino;
  // The mode before listen(): nobody connects to a socket that not everybody can reach.
  if (::chmod(path.c_str(), mode) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("chmod ", path));
  if (::listen(listener.fd(), backlog) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("listen ", path));
  return listener;
}

UnixListener::~UnixListener() {
  if (!lock_) return;  // moved from, or never ours
  struct stat file {};
  if (inode_ != 0 && ::lstat(path_.c_str(), &file) == 0 && file.st_dev == device_ && file.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
  ::unlink((path_ + ".lock").c_str());
}

}  // namespace memgov::identity
