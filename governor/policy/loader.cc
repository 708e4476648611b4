#include "governor/policy/loader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "governor/policy/error_list.h"
#include "governor/policy/schema_walk.h"
#include "governor/policy/translate.h"
#include "governor/policy/yaml_tree.h"
#include "memgov/v1/policy.pb.h"

namespace memgov::policy {
namespace {

absl::Status TooLarge(std::string_view name) {
  return absl::InvalidArgumentError(fmt::format("{}: larger than {} bytes", name, kLargestFile));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  // Not blocking, so that a FIFO is refused below instead of waited for.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return absl::ErrnoToStatus(errno, fmt::format("{}: cannot be opened", path));
  const absl::Cleanup close = [fd] { ::close(fd); };
  struct stat info = {};
  if (::fstat(fd, &info) != 0) return absl::ErrnoToStatus(errno, fmt::format("{}: cannot be read", path));
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(
        fmt::format("{}{}", path, S_ISDIR(info.st_mode) ? ": is a directory" : ": not a regular file"));
  }
  // One byte more than allowed tells a file that is too large, whatever its size was said to be.
  std::string text(kLargestFile + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t count = ::read(fd, text.data() + size, text.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, fmt::format("{}: cannot be read", path));
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  text.resize(size);
  return text;
}

}  // namespace

absl::StatusOr<core::Policy> LoadPolicy(std::string_view path) {
  const auto text = ReadFile(std::string(path));
  if (!text.ok()) return text.status();
  return ParsePolicy(*text, path);
}

absl::StatusOr<core::Policy> ParsePolicy(std::string_view text, std::string_view name) {
  if (text.size() > kLargestFile) return TooLarge(name);
  ErrorList errors(name);
  const YamlTree tree = ReadYaml(text, errors);
  if (tree.root() == nullptr) {
    if (errors.size() > 0) return errors.ToStatus();
    return core::Policy{};
  }
  v1::Policy file;
  Origins origins;
  FillMessage(*tree.root(), file, origins, errors);
  core::Policy policy = ToCore(file, origins, errors);
  if (errors.size() > 0) return errors.ToStatus();
  return policy;
}

}  // namespace memgov::policy
