#include "governor/policy/file_watch.h"

#include <dirent.h>
#include <fmt/format.h>
#include <limits.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <deque>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "governor/policy/loader.h"

namespace memgov::policy {
namespace {

constexpr int kMostLinks = 40;  // as the kernel
constexpr int kDeepest = 2;     // a directory and its files
constexpr std::uint32_t kReplaced =
    IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF;
constexpr std::uint32_t kWritten = IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB;

std::string Absolute(const std::string& path) {
  if (path.starts_with('/')) return path;
  std::error_code error;
  const std::filesystem::path here = std::filesystem::current_path(error);
  return error ? path : (here / path).string();
}

bool IsPolicyFile(std::string_view name) {
  return !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml"));
}

}  // namespace

// What is to be heard of.
enum class FileWatch::What : std::uint32_t {
  kNames = kReplaced | IN_ONLYDIR,
  kNamesAndContent = kReplaced | kWritten | IN_ONLYDIR,
  kFile = kWritten | IN_DELETE_SELF | IN_MOVE_SELF,
};

FileWatch::FileWatch(const std::string& path)
    : path_(Absolute(path)), fd_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
  if (fd_ < 0) status_ = absl::ErrnoToStatus(errno, "no inotify");
}

FileWatch::~FileWatch() {
  if (fd_ >= 0) ::close(fd_);
}

absl::Status FileWatch::Follow() {
  if (fd_ < 0) return status_;
  status_ = absl::OkStatus();
  const std::map<int, Watched> before = std::exchange(watched_, {});
  Walk(path_, 0);
  for (const auto& [watch, watched] : before) {
    if (!watched_.contains(watch)) ::inotify_rm_watch(fd_, watch);
  }
  std::erase_if(unfinished_, [this](const auto& place) { return !watched_.contains(place.first); });
  return status_;
}

// As the kernel walks: name by name, each in its directory, links replaced by what they say.
void FileWatch::Walk(const std::string& path, int depth) {
  const std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  std::deque<std::string> names(parts.begin(), parts.end());
  std::string at;  // without links; empty: the root
  for (int links = 0; !names.empty();) {
    const std::string name = names.front();
    names.pop_front();
    if (name == ".") continue;
    if (name == "..") {
      at.resize(at.empty() ? 0 : at.rfind('/'));
      continue;
    }
    const std::string directory = at.empty() ? "/" : at;
    const std::string next = fmt::format("{}/{}", at, name);
    // Watched before it is looked at, so that no change falls in between.
    if (Watched* watched = Add(directory, What::kNames)) watched->names.insert(name);
    struct stat info = {};
    const bool there = ::lstat(next.c_str(), &info) == 0;
    if (there && S_ISLNK(info.st_mode)) {
      char target[PATH_MAX];
      const ssize_t length = ::readlink(next.c_str(), target, sizeof target);
      if (length < 0 || ++links > kMostLinks) return;
      const std::string_view to(target, static_cast<std::size_t>(length));
      if (to.starts_with('/')) at.clear();
      const std::vector<std::string> first =
          absl::StrSplit(absl::string_view(to.data(), to.size()), '/', absl::SkipEmpty());
      names.insert(names.begin(), first.begin(), first.end());
    } else if (there && S_ISDIR(info.st_mode)) {
      at = next;
    } else {
      Add(directory, What::kNamesAndContent);
      if (there && S_ISREG(info.st_mode)) Add(next, What::kFile);
      return;
    }
  }
  WalkFiles(at.empty() ? "/" : at, depth);
}

void FileWatch::WalkFiles(const std::string& directory, int depth) {
  if (depth + 1 == kDeepest) return;
  Watched* watched = Add(directory, What::kNamesAndContent);
  if (watched == nullptr) return;
  watched->policy_files = true;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), ::closedir);
  if (stream == nullptr) return;
  std::size_t files = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    if (!IsPolicyFile(entry->d_name)) continue;
    if (++files > kMostFiles) return;
    Walk(fmt::format("{}/{}", directory, entry->d_name), depth + 1);
  }
}

FileWatch::Watched* FileWatch::Add(const std::string& path, What what) {
  // The same inode by another way is the same watch, which then hears for both.
  const int watch = ::inotify_add_watch(fd_, path.c_str(), static_cast<std::uint32_t>(what) | IN_MASK_ADD);
  if (watch < 0) {
    // What has gone meanwhile is heard of in the directory above.
    if (errno != ENOENT && errno != ENOTDIR) {
      status_.Update(absl::ErrnoToStatus(errno, fmt::format("{}: cannot be watched", path)));
    }
    return nullptr;
  }
  Watched& watched = watched_[watch];
  if (what != What::kFile) watched.directory = path;
  return &watched;
}

bool FileWatch::TakeNews() {
  alignas(inotify_event) char buffer[16 * 1024];
  while (fd_ >= 0) {
    const ssize_t size = ::read(fd_, buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    for (const char* at = buffer; at < buffer + size;) {
      inotify_event event = {};
      std::memcpy(&event, at, sizeof event);
      const char* name = at + sizeof event;
      Hear(event, std::string_view(name, ::strnlen(name, event.len)));
      at += sizeof event + event.len;
    }
  }
  if (!unfinished_.empty()) return false;
  return std::exchange(changed_, false);
}

bool FileWatch::Concerns(const Watched& watched, std::string_view name) {
  if (name.empty()) return true;  // the watched thing itself
  return watched.names.contains(std::string(name)) || (watched.policy_files && IsPolicyFile(name));
}

void FileWatch::Hear(const inotify_event& event, std::string_view name) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) {
    unfinished_.clear();
    changed_ = true;
    return;
  }
  const auto found = watched_.find(event.wd);
  if (found == watched_.end() || !Concerns(found->second, name)) return;
  const std::pair<int, std::string> place(event.wd, name);
  if ((event.mask & IN_MODIFY) != 0) {
    unfinished_.insert(place);
    return;
  }
  if ((event.mask & IN_CREATE) != 0) {
    // A new file that is still empty has a writer, who will close it; a link has none.
    struct stat info = {};
    const std::string file = fmt::format("{}/{}", found->second.directory, name);
    if (::lstat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_size == 0 &&
        info.st_nlink == 1) {
      unfinished_.insert(place);
      return;
    }
  }
  if ((event.mask & (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)) != 0) {
    // Whoever still writes the file that lay there before writes no policy any more.
    std::erase_if(unfinished_, [](const auto& open) { return open.second.empty(); });
  }
  // chmod and the like may come in the middle of writing.
  if ((event.mask & IN_ATTRIB) == 0) unfinished_.erase(place);
  if ((event.mask & IN_IGNORED) != 0) {
    std::erase_if(unfinished_, [&event](const auto& open) { return open.first == event.wd; });
    watched_.erase(found);
  }
  changed_ = true;
}

}  // namespace memgov::policy
