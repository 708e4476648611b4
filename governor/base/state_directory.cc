#include "governor/base/state_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace memgov::base {
namespace {

constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;

const char* KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISLNK(mode)) return "a symbolic link";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

absl::Status NotRegular(const std::string& file, mode_t mode) {
  return absl::FailedPreconditionError(
      absl::StrCat(file, " is ", KindOf(mode), " where memgovd keeps a file of its own; remove it"));
}

// Error text of an open that does not follow links: says what lies there instead of "too many levels".
absl::Status OpenError(int error, const std::string& file) {
  if (error == ELOOP) return NotRegular(file, S_IFLNK);
  if (error == EISDIR) return NotRegular(file, S_IFDIR);
  if (error == ENXIO) return NotRegular(file, S_IFSOCK);
  return absl::ErrnoToStatus(error, absl::StrCat("opening ", file));
}

absl::StatusOr<std::string> ReadAt(int directory, const std::string& name, std::size_t most,
                                   const std::string& file) {
  // Without O_NONBLOCK the open of a FIFO waits for a writer.
  const UniqueFd fd(::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return OpenError(errno, file);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("looking at ", file));
  if (!S_ISREG(info.st_mode)) return NotRegular(file, info.st_mode);
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, absl::StrCat("reading ", file));
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(got));
    if (text.size() > most) {
      return absl::InvalidArgumentError(absl::StrCat(file, " is larger than ", most, " bytes"));
    }
  }
}

int WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

// 0, or why. `made`: whether the last one was not there.
int MakeDirectories(const std::string& path, bool* made) {
  *made = ::mkdir(path.c_str(), 0755) == 0;
  if (*made || errno == EEXIST) return 0;
  const std::string parent = DirectoryOf(path);
  if (errno != ENOENT || parent == path) return errno;
  if (const int error = MakeDirectories(parent, made); error != 0) return error;
  *made = ::mkdir(path.c_str(), 0755) == 0;  // in /proc it fails again
  return *made || errno == EEXIST ? 0 : errno;
}

std::string Remedy(int error, const char* flag) {
  switch (error) {
    case EROFS:
      return absl::StrCat("; name a directory on a disk that is not read-only, such as below /run, with ",
                          flag);
    case ENOSPC:
    case EDQUOT:
      return absl::StrCat("; free some space there, or name another directory with ", flag);
    case EACCES:
    case EPERM:
    case ENOTDIR:
      return absl::StrCat("; name a directory that memgovd may write in with ", flag);
    default:
      return "";
  }
}

// Whether nobody but us and root may change what is in it.
absl::Status CheckTrust(const std::string& path, const struct stat& info,
                        const StateDirectory::Terms& terms) {
  if (info.st_uid != 0 && info.st_uid != ::geteuid()) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, " belongs to uid ", info.st_uid, ", who can replace what memgovd (uid ", ::geteuid(),
        ") keeps there; give it to that user with chown, or name another directory with ", terms.flag));
  }
  const bool spared = terms.sticky_may_be && (info.st_mode & S_ISVTX) != 0;
  if ((info.st_mode & kOthersWrite) != 0 && !spared) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "others may write in %s (mode %04o), and so replace what memgovd keeps there; use chmod "
        "go-w (an emptyDir of Kubernetes is 0777, a tmpfs of Docker 1777 unless mode=0755 is given: name a "
        "directory inside of it, which memgovd makes itself), or name another directory with %s",
        path, info.st_mode & 07777, terms.flag));
  }
  return absl::OkStatus();
}

}  // namespace

std::string DirectoryOf(const std::string& file) {
  const std::size_t end = file.find_last_not_of('/');
  const std::size_t slash = end == std::string::npos ? std::string::npos : file.rfind('/', end);
  if (slash == std::string::npos) return end == std::string::npos && !file.empty() ? "/" : ".";
  const std::size_t last = file.find_last_not_of('/', slash);
  return last == std::string::npos ? "/" : file.substr(0, last + 1);
}

std::string NameOf(const std::string& file) { return file.substr(file.rfind('/') + 1); }

absl::StatusOr<std::string> ReadRegularFile(const std::string& file, std::size_t most) {
  return ReadAt(AT_FDCWD, file, most, file);
}

absl::StatusOr<StateDirectory> StateDirectory::Open(const std::string& path, const Terms& terms) {
  bool made = false;
  if (terms.make) {
    if (const int error = MakeDirectories(path, &made); error != 0) {
      return absl::ErrnoToStatus(error, absl::StrCat("making ", path, Remedy(error, terms.flag)));
    }
  }
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", path, Remedy(errno, terms.flag)));
  if (made && ::fchmod(fd.get(), 0755) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("setting the mode of ", path));
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("looking at ", path));
  if (absl::Status status = CheckTrust(path, info, terms); !status.ok()) return status;
  return StateDirectory(path, std::move(fd), terms.flag);
}

absl::Status StateDirectory::Error(int error, const char* doing, const std::string& name) const {
  return absl::ErrnoToStatus(error, absl::StrCat(doing, " ", path_, "/", name, Remedy(error, flag_)));
}

absl::StatusOr<std::string> StateDirectory::Read(const std::string& name, std::size_t most) const {
  return ReadAt(fd_.get(), name, most, absl::StrCat(path_, "/", name));
}

absl::Status StateDirectory::Replace(const std::string& name, std::string_view text, mode_t mode) const {
  const std::string fresh = name + ".new";
  if (absl::Status removed = Remove(fresh); !removed.ok()) return removed;  // a predecessor's, or a link
  {
    const UniqueFd fd(
        ::openat(fd_.get(), fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!fd) return Error(errno, "making", fresh);
    if (const int error = WriteAll(fd.get(), text); error != 0) {
      Remove(fresh).IgnoreError();
      return Error(error, "writing", fresh);
    }
  }
  if (::renameat(fd_.get(), fresh.c_str(), fd_.get(), name.c_str()) == 0) return absl::OkStatus();
  const int error = errno;
  Remove(fresh).IgnoreError();
  if (error == EISDIR) return NotRegular(absl::StrCat(path_, "/", name), S_IFDIR);
  return Error(error, "renaming to", name);
}

absl::Status StateDirectory::Remove(const std::string& name) const {
  if (::unlinkat(fd_.get(), name.c_str(), 0) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno == EISDIR) return NotRegular(absl::StrCat(path_, "/", name), S_IFDIR);
  return Error(errno, "removing", name);
}

absl::StatusOr<UniqueFd> StateDirectory::OpenLock(const std::string& name) const {
  const std::string file = absl::StrCat(path_, "/", name);
  UniqueFd fd(
      ::openat(fd_.get(), name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
  if (!fd && (errno == ELOOP || errno == EISDIR || errno == ENXIO)) return OpenError(errno, file);
  if (!fd) return Error(errno, "opening", name);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return Error(errno, "looking at", name);
  if (!S_ISREG(info.st_mode)) return NotRegular(file, info.st_mode);
  if (info.st_uid != 0 && info.st_uid != ::geteuid()) {
    return absl::FailedPreconditionError(
        absl::StrCat(file, " belongs to uid ", info.st_uid, ", not to us; remove it"));
  }
  return fd;
}

// --- one file

StateFile::StateFile(std::string path) : path_(std::move(path)), name_(NameOf(path_)) {}

absl::Status StateFile::Open(bool make) {
  if (directory_) return absl::OkStatus();
  auto directory = StateDirectory::Open(DirectoryOf(path_), {.make = make});
  if (!directory.ok()) return directory.status();
  directory_.emplace(*std::move(directory));
  return absl::OkStatus();
}

absl::StatusOr<std::string> StateFile::Read(std::size_t most) {
  if (absl::Status opened = Open(false); !opened.ok()) return opened;
  return directory_->Read(name_, most);
}

absl::Status StateFile::Replace(std::string_view text) {
  if (absl::Status opened = Open(true); !opened.ok()) return opened;
  absl::Status replaced = directory_->Replace(name_, text, 0600);
  if (!absl::IsNotFound(replaced)) return replaced;
  directory_.reset();  // our directory was removed: what we hold has no name any more
  if (absl::Status opened = Open(true); !opened.ok()) return opened;
  return directory_->Replace(name_, text, 0600);
}

absl::Status StateFile::Remove() {
  if (absl::Status opened = Open(false); !opened.ok()) {
    return absl::IsNotFound(opened) ? absl::OkStatus() : opened;
  }
  return directory_->Remove(name_);
}

}  // namespace memgov::base
