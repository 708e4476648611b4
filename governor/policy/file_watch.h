// Hears when what lies at a path may have changed: a file, a directory of *.yaml files, or either behind
// symbolic links, as Kubernetes mounts a ConfigMap (policy.yaml -> ..data/policy.yaml, ..data ->
// ..2024_01_01, swapped as a whole).
//
// inotify watches inodes, but a policy is a path. So every name that is looked up on the way to it is watched
// in its directory, each link's too, and the files themselves, which may be mounted over. Whoever replaces
// any of them is heard. A file that is written in place counts as changed when its writer has closed it, not
// before: half a policy may well be a valid one.

#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"

struct inotify_event;

namespace memgov::policy {

// One thread. Nothing here blocks.
class FileWatch {
 public:
  // Watches nothing before Follow(). A path that is not absolute begins where we are now.
  explicit FileWatch(const std::string& path);
  ~FileWatch();
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  // Readable when there is something for TakeNews(); -1 where inotify is not to be had.
  int fd() const { return fd_; }

  // Watches what is on the way now, and no more what was before. To be called before the files are read, so
  // that what changes later is heard. An error says why some changes will not be.
  absl::Status Follow();

  // Takes in what inotify has to tell. True when something has changed since the last true and nobody is in
  // the midst of writing.
  bool TakeNews();
  // Somebody is: his close is news.
  bool being_written() const { return !unfinished_.empty(); }

 private:
  struct Watched {
    std::string directory;        // empty: a file itself
    std::set<std::string> names;  // those that count in it
    bool policy_files = false;    // and all *.yaml
  };
  enum class What : std::uint32_t;

  void Walk(const std::string& path, int depth);
  void WalkFiles(const std::string& directory, int depth);
  Watched* Add(const std::string& path, What what);
  void Hear(const inotify_event& event, std::string_view name);
  static bool Concerns(const Watched& watched, std::string_view name);

  const std::string path_;
  const int fd_;
  absl::Status status_;
  std::map<int, Watched> watched_;                    // by watch descriptor
  std::set<std::pair<int, std::string>> unfinished_;  // by watch descriptor and name: being written
  bool changed_ = false;
};

}  // namespace memgov::policy
