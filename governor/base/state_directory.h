// The directory of files that we believe when we read them again, or that must be ours alone: what is to be
// undone after our death, locks, status.json.
//
// Whoever may write in a directory can lay a link, a FIFO or a record of his own where ours should be. So the
// directory must belong to us or to root and be writable by nobody else, which is checked once on an open
// descriptor; what is in it is then reached through that descriptor, never by way of a link, and only if it
// is a regular file. What is read is bounded.
//
// Errors name the file and say what to do. The directories above are their owners' to keep.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/base/unique_fd.h"

namespace memgov::base {

// Const functions may be called from any thread; two that replace the same file must not run at once.
class StateDirectory {
 public:
  struct Terms {
    bool make = false;                 // it and the missing ones above it, mode 0755 whatever the umask
    bool sticky_may_be = false;        // others may write in it, but (as in /tmp) not touch what is ours
    const char* flag = "--state-dir";  // how another one is named, for error messages
  };
  // NotFound when it is not there. FailedPrecondition when somebody else may write in it.
  static absl::StatusOr<StateDirectory> Open(const std::string& path, const Terms& terms);

  // The whole of a regular file. NotFound; FailedPrecondition for a link or anything else that is no regular
  // file; InvalidArgument above `most` bytes. Waits for nobody.
  absl::StatusOr<std::string> Read(const std::string& name, std::size_t most) const;
  // A reader sees the old text or the new one. Makes "NAME.new" anew and renames it; what lies there goes.
  absl::Status Replace(const std::string& name, std::string_view text, mode_t mode) const;
  // OK also when it is not there.
  absl::Status Remove(const std::string& name) const;
  // Opens for reading and writing, makes it (0600) when it is not there. FailedPrecondition when it is not a
  // regular file of ours.
  absl::StatusOr<UniqueFd> OpenLock(const std::string& name) const;

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }

 private:
  StateDirectory(std::string path, UniqueFd fd, const char* flag)
      : path_(std::move(path)), fd_(std::move(fd)), flag_(flag) {}
  absl::Status Error(int error, const char* doing, const std::string& name) const;

  std::string path_;
  UniqueFd fd_;
  const char* flag_;
};

// Read, wherever the file lies and whoever it belongs to: for those who only show it.
absl::StatusOr<std::string> ReadRegularFile(const std::string& file, std::size_t most);

// One file of a state directory, which is opened when it is first needed and then kept open: where
// descriptors have run out, a record can still be removed. Thread-compatible.
class StateFile {
 public:
  explicit StateFile(std::string path);

  const std::string& path() const { return path_; }
  // NotFound also when there is no directory; none is made.
  absl::StatusOr<std::string> Read(std::size_t most);
  // Makes the directory when it is not there, also when it was removed meanwhile.
  absl::Status Replace(std::string_view text);
  absl::Status Remove();

 private:
  absl::Status Open(bool make);

  const std::string path_;
  const std::string name_;
  std::optional<StateDirectory> directory_;
};

// "DIR/name" -> "DIR"; "name" -> ".".
std::string DirectoryOf(const std::string& file);
std::string NameOf(const std::string& file);

}  // namespace memgov::base
