#include "governor/identity/pod_names.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "governor/base/unique_fd.h"

namespace memgov::identity {
namespace {

using base::UniqueFd;

constexpr std::size_t kLongestLabel = 63;       // RFC 1123; namespaces and containers
constexpr std::size_t kLongestSubdomain = 253;  // pods
constexpr std::size_t kLongestFileName = 255;   // there the kubelet cuts the names of its links
constexpr std::size_t kShortId = 12;

bool IsLetterOrDigit(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return absl::ascii_islower(byte) || absl::ascii_isdigit(byte);
}

bool IsWord(absl::string_view text) {
  return !text.empty() && IsLetterOrDigit(text.front()) && IsLetterOrDigit(text.back()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return IsLetterOrDigit(c) || c == '-'; });
}

bool IsLabel(absl::string_view text) { return text.size() <= kLongestLabel && IsWord(text); }

// Kubernetes allows longer parts than DNS does: only the whole is limited.
bool IsSubdomain(absl::string_view text) {
  const std::vector<absl::string_view> words = absl::StrSplit(text, '.');
  return text.size() <= kLongestSubdomain && std::all_of(words.begin(), words.end(), IsWord);
}

// All or nothing of what is there must be possible names.
bool IsPossible(const PodName& name) {
  return IsLabel(name.pod_namespace) && IsSubdomain(name.pod) &&
         (name.container.empty() || IsLabel(name.container));
}

// Calls `see` with each name in a directory, at most `most`, until it returns false. `flags`: of open().
void ForEachEntry(const std::string& directory, int flags, std::size_t most,
                  const std::function<bool(const dirent&)>& see) {
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags));
  if (!fd) return;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
  if (stream == nullptr) return;
  fd.release();  // the stream closes it
  for (std::size_t seen = 0; seen < most; ++seen) {
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr || !see(*entry)) return;
  }
}

// The text of a regular file "directory/name/file", all of whose last two parts are no links; absent if it is
// nothing of the kind or longer than `most`.
std::optional<std::string> ReadBelow(const std::string& directory, const std::string& name, const char* file,
                                     std::size_t most) {
  constexpr int kDirectory = O_PATH | O_DIRECTORY | O_CLOEXEC;
  const UniqueFd base(::open(directory.c_str(), kDirectory));
  if (!base) return std::nullopt;
  const UniqueFd inner(::openat(base.get(), name.c_str(), kDirectory | O_NOFOLLOW));
  if (!inner) return std::nullopt;
  // Without waiting, should it be a pipe.
  const UniqueFd fd(::openat(inner.get(), file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  std::string text;
  char buffer[16384];
  while (text.size() <= most) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n == 0) return text;
    if (n > 0) {
      text.append(buffer, static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      break;
    }
  }
  return std::nullopt;
}

std::string Text(const YAML::Node& node) { return node.IsScalar() ? node.Scalar() : std::string(); }

}  // namespace

PodName PodNames::Find(const ContainerName& name, core::Instant now) {
  if (name.kind != ContainerKind::kPodContainer) return {};
  const std::string key = absl::StrCat(name.pod_uid, "/", name.container_id);
  if (const auto known = known_.find(key); known != known_.end()) {
    const bool complete = !known->second.name.container.empty();
    if (complete || now - known->second.looked_at < options_.look_again_after) return known->second.name;
  }
  if (known_.size() >= options_.most_cached) known_.clear();
  Known& known = known_[key];
  known = {.name = Look(name), .looked_at = now};
  return known.name;
}

PodName PodNames::Look(const ContainerName& name) const {
  if (const std::optional<PodName> bundle = FromBundle(name)) return *bundle;
  PodName logs = FromLogs(name);
  return IsPossible(logs) ? logs : PodName{};
}

std::optional<PodName> PodNames::FromBundle(const ContainerName& name) const {
  if (name.container_id.empty()) return std::nullopt;
  const std::optional<std::string> json =
      ReadBelow(options_.containerd_bundles, name.container_id, "config.json", options_.most_json);
  if (!json) return std::nullopt;
  try {  // JSON is YAML; yaml-cpp reports by exceptions, also what is nested too deeply
    const YAML::Node root = YAML::Load(*json);
    if (!root.IsMap() || !root["annotations"].IsDefined() || !root["annotations"].IsMap()) {
      return std::nullopt;
    }
    const YAML::Node annotations = root["annotations"];
    const auto annotation = [&](const char* key) {
      const YAML::Node value = annotations[absl::StrCat("io.kubernetes.cri.", key)];
      return value.IsDefined() ? Text(value) : std::string();
    };
    const std::string uid = annotation("sandbox-uid");  // containerd 1.6 and later
    if (!uid.empty() && uid != name.pod_uid) return std::nullopt;
    PodName found{.pod_namespace = annotation("sandbox-namespace"),
                  .pod = annotation("sandbox-name"),
                  .container = annotation("container-name")};
    if (IsPossible(found)) return found;
  } catch (const std::exception&) {
    return std::nullopt;
  }
  return std::nullopt;
}

PodName PodNames::FromLogs(const ContainerName& name) const {
  PodName found;
  std::string directory;
  const std::string uid = "_" + name.pod_uid;
  ForEachEntry(options_.pod_logs, 0, options_.most_entries, [&](const dirent& entry) {
    absl::string_view file = entry.d_name;
    if (!absl::ConsumeSuffix(&file, uid)) return true;
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(file, absl::MaxSplits('_', 1));
    found = {.pod_namespace = std::string(parts.first), .pod = std::string(parts.second), .container = ""};
    directory = absl::StrCat(options_.pod_logs, "/", entry.d_name);
    return false;
  });
  if (name.container_id.empty()) return found;

  PodName linked;
  const std::string id = absl::StrCat("-", name.container_id, ".log");
  ForEachEntry(options_.container_logs, 0, options_.most_entries, [&](const dirent& entry) {
    absl::string_view file = entry.d_name;
    const bool cut = file.size() >= kLongestFileName;
    if (!absl::ConsumeSuffix(&file, id)) return true;
    const std::vector<std::string> parts = absl::StrSplit(file, '_');
    if (parts.size() == 3 && !cut) {
      linked = {.pod_namespace = parts[1], .pod = parts[0], .container = parts[2]};
    }
    return false;
  });
  if (directory.empty()) return linked;
  const bool same = linked.pod_namespace == found.pod_namespace && linked.pod == found.pod;
  if (!linked.pod.empty() && !same) return {};  // two stories, and no way to tell which is true
  found.container = linked.pod.empty() ? OnlyContainer(directory) : linked.container;
  return found;
}

// The kubelet makes a container's directory before it starts the container: where there is one only, it is
// that of whoever runs. The pause container has none, and is no client.
std::string PodNames::OnlyContainer(const std::string& directory) const {
  std::string only;
  ForEachEntry(directory, O_NOFOLLOW, options_.most_entries, [&](const dirent& entry) {
    const absl::string_view name = entry.d_name;
    // Some file systems do not say.
    const bool is_directory = entry.d_type == DT_DIR || entry.d_type == DT_UNKNOWN;
    if (!is_directory || name == "." || name == "..") return true;
    const bool first = only.empty();
    only = first ? std::string(name) : std::string();
    return first;
  });
  return IsLabel(only) ? only : "";
}

std::string DisplayName(const ContainerName& name, const PodName& pod) {
  if (pod.pod_namespace.empty() || pod.pod.empty()) return DisplayName(name);
  std::string of_pod = absl::StrCat(pod.pod_namespace, "/", pod.pod);
  if (!pod.container.empty()) return absl::StrCat(of_pod, "/", pod.container);
  if (name.container_id.empty()) return of_pod;
  return absl::StrCat(of_pod, "/", absl::string_view(name.container_id).substr(0, kShortId));
}

}  // namespace memgov::identity
