#include "governor/kernel/brake_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "governor/kernel/cgroup_path.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {
namespace {

// Far above what our own brakes need (one line for each braked cgroup); more is not our writing.
constexpr std::size_t kLargestState = 8 * 1024 * 1024;

absl::Status FileError(int error, std::string_view doing, const std::string& file) {
  // A kept or just opened file of a cgroup that was removed says ENODEV.
  return absl::ErrnoToStatus(error == ENODEV ? ENOENT : error, absl::StrCat(std::string(doing), " ", file));
}

absl::Status WriteAll(int fd, std::string_view text, const std::string& file) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(errno, "writing", file);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadAll(const std::string& file, std::size_t most) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return FileError(errno, "opening", file);
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(errno, "reading", file);
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(got));
    if (text.size() > most)
      return absl::InvalidArgumentError(absl::StrCat(file, " is larger than ", most, " bytes"));
  }
}

std::string HighFile(const CgroupLayout& layout, const std::string& path) {
  return absl::StrCat(layout.memory_mount, path, "/memory.high");
}

}  // namespace

core::Bytes RoundToPages(core::Bytes bytes) {
  static const core::Bytes kPage = ::sysconf(_SC_PAGESIZE);
  return bytes / kPage * kPage;
}

absl::StatusOr<Limit> ReadLimit(const CgroupLayout& layout, const std::string& path, const char* name) {
  const std::string file = absl::StrCat(layout.memory_mount, path, "/", name);
  const auto text = ReadAll(file, 64);
  if (!text.ok()) return text.status();
  const auto limit = ParseLimit(*text);
  if (!limit.has_value()) return absl::DataLossError(absl::StrCat(file, " holds \"", *text, "\""));
  return *limit;
}

absl::Status WriteHigh(const CgroupLayout& layout, const std::string& path,
                       std::optional<core::Bytes> bytes) {
  const std::string file = HighFile(layout, path);
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_TRUNC | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return FileError(errno, "opening", file);
  return WriteAll(fd.get(), bytes.has_value() ? absl::StrCat(*bytes, "\n") : "max\n", file);
}

std::vector<BrakeMark> ParseBrakeState(std::string_view text, const std::string& file,
                                       std::vector<std::string>* complaints) {
  std::vector<BrakeMark> marks;
  for (int line_number = 1; !text.empty(); ++line_number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    // The value is the last word; a path may have spaces.
    const std::size_t space = line.rfind(' ');
    const std::string path = line.substr(0, space);
    const auto value =
        space == std::string::npos ? std::nullopt : ParseBytes(absl::StrCat(line.substr(space + 1), "\n"));
    if (!value.has_value() || path.size() < 2 || NormalisedPath(path) != path) {
      complaints->push_back(absl::StrCat(file, ":", line_number, ": \"", line, "\" is not \"/path bytes\""));
      continue;
    }
    marks.push_back({.path = path, .value = *value});
  }
  return marks;
}

absl::StatusOr<std::vector<BrakeMark>> LoadBrakeState(const std::string& file,
                                                      std::vector<std::string>* complaints) {
  const auto text = ReadAll(file, kLargestState);
  if (absl::IsNotFound(text.status())) return std::vector<BrakeMark>();
  if (!text.ok()) return text.status();
  return ParseBrakeState(*text, file, complaints);
}

absl::Status StoreBrakeState(const std::string& file, const std::vector<BrakeMark>& marks) {
  if (marks.empty()) {
    if (::unlink(file.c_str()) != 0 && errno != ENOENT) return FileError(errno, "removing", file);
    return absl::OkStatus();
  }
  std::string text;
  for (const BrakeMark& mark : marks) absl::StrAppend(&text, mark.path, " ", mark.value, "\n");

  const std::string fresh = file + ".new";
  const std::string directory = ParentPath(file);
  if (!directory.empty() && ::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return FileError(errno, "making", directory);
  }
  {
    const UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd) return FileError(errno, "opening", fresh);
    if (absl::Status status = WriteAll(fd.get(), text, fresh); !status.ok()) return status;
  }
  if (::rename(fresh.c_str(), file.c_str()) != 0) return FileError(errno, "renaming to", file);
  return absl::OkStatus();
}

absl::Status LetGoOfMarks(const CgroupLayout& layout, const std::vector<BrakeMark>& marks,
                          std::vector<BrakeMark>* failed) {
  std::vector<std::string> errors;
  for (const BrakeMark& mark : marks) {
    const auto present = ReadLimit(layout, mark.path, "memory.high");
    absl::Status status = present.status();
    if (present.ok() && present->bytes == mark.value) status = WriteHigh(layout, mark.path, std::nullopt);
    if (status.ok() || absl::IsNotFound(status)) continue;
    failed->push_back(mark);
    errors.emplace_back(status.message());
  }
  if (errors.empty()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("brakes not restored: ", absl::StrJoin(errors, "; ")));
}

absl::Status RestoreFromState(const CgroupLayout& layout, const std::string& file) {
  std::vector<std::string> complaints;
  const auto marks = LoadBrakeState(file, &complaints);
  if (!marks.ok()) return marks.status();
  std::vector<BrakeMark> failed;
  absl::Status let_go = LetGoOfMarks(layout, *marks, &failed);
  if (marks->empty() && complaints.empty()) return absl::OkStatus();
  if (absl::Status stored = StoreBrakeState(file, failed); !stored.ok()) return stored;
  if (!let_go.ok()) return let_go;
  if (!complaints.empty()) return absl::DataLossError(absl::StrJoin(complaints, "; "));
  return absl::OkStatus();
}

}  // namespace memgov::kernel
