#include "governor/policy/loader.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "governor/policy/error_list.h"
#include "governor/policy/policy_checks.h"
#include "governor/policy/schema_walk.h"
#include "governor/policy/translate.h"
#include "governor/policy/yaml_tree.h"

namespace memgov::policy {
namespace {

absl::Status CannotRead(const std::string& path, std::string_view verb) {
  return absl::ErrnoToStatus(errno, fmt::format("{}: cannot be {}", path, verb));
}

// All of a regular file, or its first kLargestFile + 1 bytes: that tells one that is too large, whatever its
// size was said to be.
absl::StatusOr<std::string> ReadFile(int fd, const std::string& path) {
  std::string text(kLargestFile + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t count = ::read(fd, text.data() + size, text.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return CannotRead(path, "read");
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  text.resize(size);
  text.shrink_to_fit();
  return text;
}

// The names of the policy files in a directory, in order.
absl::StatusOr<std::vector<std::string>> FilesIn(int fd, const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(::fcntl(fd, F_DUPFD_CLOEXEC, 0)), ::closedir);
  if (stream == nullptr) return CannotRead(path, "read");
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name.starts_with('.')) continue;
    if (name.ends_with(".yml")) {
      return absl::InvalidArgumentError(fmt::format("{0}/{1}: would not be read; call it {2}.yaml", path,
                                                    name, name.substr(0, name.size() - 4)));
    }
    if (name.ends_with(".yaml")) names.emplace_back(name);
  }
  if (names.empty()) return absl::InvalidArgumentError(fmt::format("{}: has no file called *.yaml", path));
  if (names.size() > kMostFiles) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} files are too many; at most {}", path, names.size(), kMostFiles));
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<std::vector<PolicyText>> ReadAny(const std::string& path, bool may_be_directory) {
  // Not blocking, so that a FIFO is refused below instead of waited for.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return CannotRead(path, "opened");
  const absl::Cleanup close = [fd] { ::close(fd); };
  struct stat info = {};
  if (::fstat(fd, &info) != 0) return CannotRead(path, "read");
  if (S_ISREG(info.st_mode)) {
    auto text = ReadFile(fd, path);
    if (!text.ok()) return text.status();
    return std::vector<PolicyText>{{.name = path, .text = *std::move(text)}};
  }
  if (!may_be_directory || !S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(
        fmt::format("{}{}", path, S_ISDIR(info.st_mode) ? ": is a directory" : ": not a regular file"));
  }
  const auto names = FilesIn(fd, path);
  if (!names.ok()) return names.status();
  std::vector<PolicyText> texts;
  std::size_t bytes = 0;
  for (const std::string& name : *names) {
    auto file = ReadAny(fmt::format("{}/{}", path, name), false);
    if (!file.ok()) return file.status();
    bytes += file->front().text.size();
    texts.push_back(std::move(file->front()));
    if (bytes <= kLargestFile) continue;
    return absl::InvalidArgumentError(
        fmt::format("{}: its files are larger than {} bytes together", path, kLargestFile));
  }
  return texts;
}

void Read(std::string_view text, Document& document) {
  const YamlTree tree = ReadYaml(text, document.errors);
  if (tree.root() != nullptr) FillMessage(*tree.root(), document.file, document.origins, document.errors);
}

}  // namespace

absl::StatusOr<std::vector<PolicyText>> ReadPolicy(std::string_view path) {
  return ReadAny(std::string(path), true);
}

absl::StatusOr<core::Policy> ParsePolicy(std::span<const PolicyText> texts) {
  std::deque<Document> documents;
  for (const PolicyText& text : texts) {
    if (text.text.size() > kLargestFile) {
      return absl::InvalidArgumentError(fmt::format("{}: larger than {} bytes", text.name, kLargestFile));
    }
    Read(text.text, documents.emplace_back(text.name));
  }
  core::Policy policy = ToCore(documents);
  std::vector<std::string> wrong;
  for (const Document& document : documents) {
    if (document.errors.size() > 0) wrong.emplace_back(document.errors.ToStatus().message());
  }
  if (!wrong.empty()) return absl::InvalidArgumentError(absl::StrJoin(wrong, "\n"));
  return policy;
}

absl::StatusOr<core::Policy> ParsePolicy(std::string_view text, std::string_view name) {
  const PolicyText only{.name = std::string(name), .text = std::string(text)};
  return ParsePolicy(std::span(&only, 1));
}

absl::StatusOr<core::Policy> LoadPolicy(std::string_view path) {
  const auto texts = ReadPolicy(path);
  if (!texts.ok()) return texts.status();
  return ParsePolicy(*texts);
}

}  // namespace memgov::policy
