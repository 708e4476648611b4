// The kernel's log as a witness of OOM kills: who died, in which cgroup, at whose limit, and who else was
// there.
//
// The OOM killer prints, one after the other and never two at a time: the tasks it chose from, a summary
// ("oom-kill:constraint=...") and "Killed process ...". The first two come at most ten times in 5 s
// (printk's rate limit); the third always. So a kill is always named, and nearly always placed.
//
// Names of tasks and cgroups are their owners' to choose, and may look like parts of a record. A summary that
// can be read in two ways is not read at all, and records that a process wrote are passed over.

#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

// "3,7244,10785717470,-;text\n" of /dev/kmsg -> its text, if the kernel itself wrote it. Still escaped: a
// record is one line of printable ASCII, "\x0a" stands for what is not.
std::optional<std::string_view> KernelText(std::string_view record);

// "a\x0ab" -> the bytes meant.
std::string Unescaped(std::string_view text);

// "oom-kill:constraint=...,oom_memcg=/a,task_memcg=/a/b,task=name,pid=1,uid=0".
struct OomSummary {
  std::string domain;  // "/" when the whole machine was out of memory
  std::string cgroup;
  std::string name;
  int pid = 0;
  bool operator==(const OomSummary&) const = default;
};
std::optional<OomSummary> ParseOomSummary(std::string_view text);

// "Memory cgroup out of memory: Killed process 1 (name) total-vm:...".
struct KilledLine {
  int pid = 0;
  std::string name;
  bool operator==(const KilledLine&) const = default;
};
std::optional<KilledLine> ParseKilledLine(std::string_view text);

// Puts the lines of a kill together. Pure; not thread-safe.
class OomStory {
 public:
  static constexpr std::size_t kMostProcesses = 20;  // of which the largest are kept

  explicit OomStory(core::Bytes page_size) : page_size_(page_size) {}

  // One line of the kernel's. A process was killed when there is a value; its `at` is left to the caller.
  std::optional<core::KilledProcess> Tell(std::string_view text);

 private:
  bool TellOfTasks(std::string_view text);

  const core::Bytes page_size_;
  std::size_t rss_column_ = 0;  // counted from 1; 0: no table is being told
  std::size_t columns_ = 0;     // the last is the name
  std::vector<core::ProcessSize> tasks_;
  std::optional<OomSummary> summary_;
  std::string group_;  // all in it are being killed (memory.oom.group)
};

// Runs on the control thread. `io` outlives it.
class KernelLog {
 public:
  struct Callbacks {
    std::function<void(core::KilledProcess)> on_kill;  // without `at`
    // The log was overwritten before we read it: kills in it are not named.
    std::function<void()> on_overrun;
    // The log tells nothing any more, for this reason; it may be opened again, also from within.
    std::function<void(absl::Status)> on_end = {};
  };

  KernelLog(boost::asio::io_context& io, Callbacks callbacks);
  ~KernelLog();
  KernelLog(const KernelLog&) = delete;
  KernelLog& operator=(const KernelLog&) = delete;

  // Follows the log from its present end, and no longer what was followed before. NotFound or
  // PermissionDenied with what to do: a container needs the device /dev/kmsg, and CAP_SYSLOG where
  // kernel.dmesg_restrict is 1.
  absl::Status Open(const std::string& path = "/dev/kmsg");
  // Follows a descriptor whose reads give one record each and do not block.
  absl::Status Follow(UniqueFd fd);

 private:
  struct State;
  static void Wait(const std::shared_ptr<State>& state);
  static void Read(const std::shared_ptr<State>& state);
  static void End(Callbacks callbacks, const absl::Status& why);
  void Detach();

  boost::asio::io_context& io_;
  const Callbacks callbacks_;
  std::shared_ptr<State> state_;
};

}  // namespace memgov::kernel
