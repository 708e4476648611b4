#include "governor/kernel/process_table.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/kernel/cgroup_path.h"
#include "governor/kernel/cgroup_processes.h"
#include "governor/kernel/parse.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {
namespace {

constexpr std::size_t kLargestFile = 64 * 1024;

// "" when it cannot be read.
std::string ReadAll(const std::string& path, std::size_t most) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  std::array<char, 4096> buffer;
  ssize_t got = 0;
  while (fd && text.size() < most && (got = ::read(fd.get(), buffer.data(), buffer.size())) > 0) {
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

// Takes the next part up to `separator`, or what is left.
std::string_view TakePart(std::string_view* text, char separator) {
  const std::size_t end = std::min(text->find(separator), text->size());
  const std::string_view part = text->substr(0, end);
  text->remove_prefix(std::min(end + 1, text->size()));
  return part;
}

std::string InProc(int pid, const char* file) { return absl::StrCat("/proc/", pid, "/", file); }

std::string NameOf(int pid) {
  std::string name = ReadAll(InProc(pid, "comm"), 64);
  if (name.ends_with('\n')) name.pop_back();
  return name;
}

// False when the process has ended, or has no memory (it is a zombie).
bool ReadSize(ProcessEntry* entry) {
  static const core::Bytes page = ::sysconf(_SC_PAGESIZE);
  const std::string statm = ReadAll(InProc(entry->pid, "statm"), 256);  // "size resident shared ..."
  std::string_view text = statm;
  TakePart(&text, ' ');
  const auto resident = ParseNumber(TakePart(&text, ' '));
  const auto shared = ParseNumber(TakePart(&text, ' '));
  if (!resident || !shared || *resident == 0) return false;
  entry->rss = static_cast<core::Bytes>(*resident) * page;
  entry->anon = static_cast<core::Bytes>(*resident - std::min(*shared, *resident)) * page;
  return true;
}

void ReadNames(ProcessEntry* entry) {
  entry->name = NameOf(entry->pid);
  const std::string text = ReadAll(InProc(entry->pid, "oom_score_adj"), 16);
  int value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc())
    entry->oom_score_adj = value;
}

}  // namespace

ProcessTable ReadProcessTable(const CgroupLayout& layout, const std::string& path,
                              const ProcessTableBounds& bounds) {
  const auto give_up = std::chrono::steady_clock::now() + bounds.longest;
  ProcessTable table;
  const auto list = ProcessesWithin(layout, path, bounds.most_pids, bounds.most_cgroups);
  if (!list.ok()) return table;
  table.complete = !list->more && list->hidden == 0;
  std::vector<ProcessEntry>& found = table.processes;
  for (const CgroupProcess& process : list->processes) {
    if (std::chrono::steady_clock::now() > give_up) {
      table.complete = false;
      break;
    }
    ++table.seen;
    ProcessEntry entry{.pid = process.pid, .cgroup = process.cgroup};
    if (ReadSize(&entry)) found.push_back(std::move(entry));
  }
  const std::size_t kept = std::min(found.size(), bounds.most_kept);
  std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(kept), found.end(),
                    [](const ProcessEntry& a, const ProcessEntry& b) { return a.rss > b.rss; });
  found.resize(kept);
  for (ProcessEntry& entry : found) ReadNames(&entry);
  return table;
}

std::optional<std::string> ParseProcessCgroup(MemoryVersion version, std::string_view text) {
  constexpr std::string_view kDeleted = " (deleted)";
  while (!text.empty()) {
    std::string_view line = TakePart(&text, '\n');
    const std::string_view number = TakePart(&line, ':');
    std::string_view controllers = TakePart(&line, ':');
    bool wanted = version == MemoryVersion::kV2 && number == "0" && controllers.empty();
    while (version == MemoryVersion::kV1 && !controllers.empty()) {
      wanted |= TakePart(&controllers, ',') == "memory";
    }
    if (!wanted) continue;
    if (line.ends_with(kDeleted)) line.remove_suffix(kDeleted.size());
    std::string path = NormalisedPath(line);
    if (path.empty() || path == "/") return std::nullopt;
    return path;
  }
  return std::nullopt;
}

std::optional<std::string> CgroupOfProcess(MemoryVersion version, int pid, std::string_view name) {
  auto path = ParseProcessCgroup(version, ReadAll(InProc(pid, "cgroup"), kLargestFile));
  if (NameOf(pid) != name) return std::nullopt;
  return path;
}

}  // namespace memgov::kernel
