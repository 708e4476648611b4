#include "governor/kernel/brake_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "absl/strings/str_cat.h"

namespace memgov::kernel {

absl::Status FileError(int error, std::string_view doing, const std::string& file) {
  return absl::ErrnoToStatus(error == ENODEV ? ENOENT : error, absl::StrCat(std::string(doing), " ", file));
}

absl::Status WriteAll(int fd, std::string_view text, const std::string& name) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(errno, "writing", name);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadAll(int directory, const std::string& file, std::size_t most,
                                    const std::string& name) {
  const UniqueFd fd(::openat(directory, file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return FileError(errno, "opening", name);
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(errno, "reading", name);
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(got));
    if (text.size() > most)
      return absl::InvalidArgumentError(absl::StrCat(name, " is larger than ", most, " bytes"));
  }
}

core::Bytes RoundToPages(core::Bytes bytes) {
  static const core::Bytes kPage = ::sysconf(_SC_PAGESIZE);
  return bytes / kPage * kPage;
}

absl::StatusOr<BrakeFile> BrakeFile::Open(const CgroupLayout& layout, const std::string& path) {
  std::string directory = layout.memory_mount + path;
  UniqueFd fd(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return FileError(errno, "opening", directory);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return FileError(errno, "looking at", directory);
  return BrakeFile(std::move(directory), std::move(fd), info.st_ino);
}

absl::Status BrakeFile::KeepHigh() {
  high_.reset(::openat(fd_.get(), "memory.high", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  return high_ ? absl::OkStatus() : FileError(errno, "opening", directory_ + "/memory.high");
}

absl::StatusOr<Limit> BrakeFile::Read(const char* name) const {
  const std::string file = absl::StrCat(directory_, "/", name);
  std::string text;
  if (high_ && std::string_view(name) == "memory.high") {
    std::array<char, 64> buffer;
    ssize_t got = 0;
    do {
      got = ::pread(high_.get(), buffer.data(), buffer.size(), 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return FileError(errno, "reading", file);
    text.assign(buffer.data(), static_cast<std::size_t>(got));
  } else {
    auto read = ReadAll(fd_.get(), name, 64, file);
    if (!read.ok()) return read.status();
    text = *std::move(read);
  }
  const auto limit = ParseLimit(text);
  if (!limit.has_value()) return absl::DataLossError(absl::StrCat(file, " holds \"", text, "\""));
  return *limit;
}

absl::Status BrakeFile::WriteHigh(std::optional<core::Bytes> bytes) const {
  const std::string file = directory_ + "/memory.high";
  const std::string text = bytes.has_value() ? absl::StrCat(*bytes, "\n") : "max\n";
  if (high_) {
    // The kernel has no use for it; a plain file of a test has.
    if (::ftruncate(high_.get(), 0) != 0 && errno == ENODEV) return FileError(errno, "writing", file);
    ssize_t written = 0;
    do {
      written = ::pwrite(high_.get(), text.data(), text.size(), 0);
    } while (written < 0 && errno == EINTR);
    return written < 0 ? FileError(errno, "writing", file) : absl::OkStatus();
  }
  const UniqueFd fd(::openat(fd_.get(), "memory.high", O_WRONLY | O_TRUNC | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return FileError(errno, "opening", file);
  return WriteAll(fd.get(), text, file);
}

}  // namespace memgov::kernel
