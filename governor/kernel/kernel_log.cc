#include "governor/kernel/kernel_log.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/kernel/cgroup_path.h"
#include "governor/kernel/parse.h"

namespace memgov::kernel {
namespace {

constexpr std::size_t kRecordSize = 8192;  // CONSOLE_EXT_LOG_MAX: the kernel refuses a smaller buffer
constexpr int kRecordsAtOnce = 256;        // then others have their turn
constexpr std::size_t kLongestName = 15;   // TASK_COMM_LEN less the end
constexpr std::size_t kMostTasks = 4096;   // of one table; the rest is not looked at
constexpr std::uint64_t kMostPages = std::uint64_t{1} << 40;

// Takes off what follows the last `mark`, which must be a number.
std::optional<std::uint64_t> TakeLastNumber(std::string_view mark, std::string_view* text) {
  const std::size_t at = text->rfind(mark);
  if (at == std::string_view::npos) return std::nullopt;
  const auto number = ParseNumber(text->substr(at + mark.size()));
  *text = text->substr(0, at);
  return number;
}

std::optional<int> ToPid(std::optional<std::uint64_t> number) {
  constexpr std::uint64_t kLargestPid = 1 << 22;  // PID_MAX_LIMIT
  if (!number || *number == 0 || *number > kLargestPid) return std::nullopt;
  return static_cast<int>(*number);
}

// Calls `visit` with what is before and behind each `mark`.
template <typename Visit>
void ForEachSplit(std::string_view text, std::string_view mark, Visit visit) {
  for (std::size_t at = text.find(mark); at != std::string_view::npos; at = text.find(mark, at + 1)) {
    visit(text.substr(0, at), text.substr(at + mark.size()));
  }
}

bool IsPath(std::string_view text) { return text.starts_with('/'); }

// The next word; empty at the end.
std::string_view TakeWord(std::string_view* text) {
  const std::size_t start = std::min(text->find_first_not_of(' '), text->size());
  text->remove_prefix(start);
  const std::size_t length = std::min(text->find(' '), text->size());
  const std::string_view word = text->substr(0, length);
  text->remove_prefix(length);
  return word;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::optional<std::string_view> KernelText(std::string_view record) {
  const std::size_t comma = record.find(',');
  const std::size_t start = record.find(';');
  if (comma == std::string_view::npos || start == std::string_view::npos || start < comma)
    return std::nullopt;
  // The facility stands above the three bits of the level. 0 is the kernel's and cannot be had by others.
  const auto priority = ParseNumber(record.substr(0, comma));
  if (!priority || *priority > 7) return std::nullopt;
  const std::string_view text = record.substr(start + 1);
  return text.substr(0, text.find('\n'));  // behind it come the record's properties
}

std::string Unescaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    const bool escape = text.size() - at >= 4 && text[at] == '\\' && text[at + 1] == 'x';
    const int high = escape ? HexDigit(text[at + 2]) : -1;
    const int low = escape ? HexDigit(text[at + 3]) : -1;
    if (high < 0 || low < 0) {
      out += text[at];
      continue;
    }
    out += static_cast<char>(high * 16 + low);
    at += 3;
  }
  return out;
}

std::optional<OomSummary> ParseOomSummary(std::string_view text) {
  constexpr std::string_view kCgroup = ",oom_memcg=/";
  constexpr std::string_view kGlobal = ",global_oom,task_memcg=/";
  if (!text.starts_with("oom-kill:constraint=")) return std::nullopt;
  if (!TakeLastNumber(",uid=", &text)) return std::nullopt;
  const auto pid = ToPid(TakeLastNumber(",pid=", &text));
  if (!pid) return std::nullopt;
  // In front stands the name of a cpuset, which may hold anything but a slash.
  const std::size_t cgroup = text.find(kCgroup);
  const std::size_t global = text.find(kGlobal);
  if (cgroup == std::string_view::npos && global == std::string_view::npos) return std::nullopt;
  const bool is_global = global < cgroup;
  text.remove_prefix(is_global ? global + kGlobal.size() - 1 : cgroup + kCgroup.size() - 1);

  std::vector<OomSummary> readings;
  ForEachSplit(text, ",task=", [&](std::string_view paths, std::string_view name) {
    std::string task = Unescaped(name);
    if (task.size() > kLongestName) return;
    const auto read = [&](std::string_view domain, std::string_view victim) {
      if (!IsPath(victim) || !IsWithin(victim, domain)) return;
      readings.push_back(
          {.domain = Unescaped(domain), .cgroup = Unescaped(victim), .name = task, .pid = *pid});
    };
    if (is_global) {
      read("/", paths);
    } else {
      ForEachSplit(paths, ",task_memcg=", read);
    }
  });
  if (readings.size() != 1) return std::nullopt;
  return std::move(readings.front());
}

std::optional<KilledLine> ParseKilledLine(std::string_view text) {
  constexpr std::string_view kKilled = ": Killed process ";
  constexpr std::string_view kEnd = ") total-vm:";
  constexpr std::array<std::string_view, 3> kCauses = {"Memory cgroup out of memory", "Out of memory",
                                                       "Out of memory (oom_kill_allocating_task)"};
  const std::size_t killed = text.find(kKilled);
  if (killed == std::string_view::npos) return std::nullopt;
  if (std::find(kCauses.begin(), kCauses.end(), text.substr(0, killed)) == kCauses.end()) return std::nullopt;
  text.remove_prefix(killed + kKilled.size());
  const std::size_t open = text.find(" (");
  const std::size_t close = text.rfind(kEnd);  // behind the name are only numbers
  if (open == std::string_view::npos || close == std::string_view::npos || close < open + 2)
    return std::nullopt;
  const auto pid = ToPid(ParseNumber(text.substr(0, open)));
  std::string name = Unescaped(text.substr(open + 2, close - open - 2));
  if (!pid || name.size() > kLongestName) return std::nullopt;
  return KilledLine{.pid = *pid, .name = std::move(name)};
}

// --- a kill's lines
// ---------------------------------------------------------------------------------------------

// "[  pid  ]   uid  tgid total_vm      rss rss_anon ... name" and a line for each task. The columns differ
// between kernels; the name is always last, and nothing before it has a space.
bool OomStory::TellOfTasks(std::string_view text) {
  constexpr std::string_view kHeader = "[  pid  ]";
  if (text.starts_with(kHeader)) {
    tasks_.clear();
    summary_.reset();
    group_.clear();
    rss_column_ = columns_ = 0;
    text.remove_prefix(kHeader.size());
    for (std::string_view word = TakeWord(&text); !word.empty(); word = TakeWord(&text)) {
      ++columns_;
      if (word == "rss") rss_column_ = columns_;
    }
    return true;
  }
  const std::size_t close = text.find(']');
  if (rss_column_ == 0 || !text.starts_with('[') || close == std::string_view::npos) return false;
  std::string_view brackets = text.substr(1, close - 1);
  const auto pid = ToPid(ParseNumber(TakeWord(&brackets)));
  if (!pid || tasks_.size() >= kMostTasks) return true;
  text.remove_prefix(close + 1);
  std::optional<std::uint64_t> rss;
  for (std::size_t column = 1; column < columns_; ++column) {
    const std::string_view word = TakeWord(&text);
    if (column == rss_column_) rss = ParseNumber(word);
  }
  if (!rss || *rss > kMostPages || !text.starts_with(' ')) return true;
  tasks_.push_back(
      {.pid = *pid, .name = Unescaped(text.substr(1)), .rss = static_cast<core::Bytes>(*rss) * page_size_});
  return true;
}

std::optional<core::KilledProcess> OomStory::Tell(std::string_view text) {
  if (TellOfTasks(text)) return std::nullopt;
  if (auto summary = ParseOomSummary(text)) {
    summary_ = std::move(summary);
    rss_column_ = 0;
    const std::size_t kept = std::min(tasks_.size(), kMostProcesses);
    const auto larger = [](const core::ProcessSize& a, const core::ProcessSize& b) { return a.rss > b.rss; };
    std::partial_sort(tasks_.begin(), tasks_.begin() + static_cast<std::ptrdiff_t>(kept), tasks_.end(),
                      larger);
    tasks_.resize(kept);
    return std::nullopt;
  }
  constexpr std::string_view kGroup = "Tasks in ";
  constexpr std::string_view kGroupEnd = " are going to be killed due to memory.oom.group set";
  if (text.starts_with(kGroup) && text.ends_with(kGroupEnd)) {
    group_ = Unescaped(text.substr(kGroup.size(), text.size() - kGroup.size() - kGroupEnd.size()));
    return std::nullopt;
  }
  const auto killed = ParseKilledLine(text);
  if (!killed) return std::nullopt;
  core::KilledProcess victim{.pid = killed->pid, .name = killed->name};
  if (summary_ && summary_->pid == killed->pid) {
    victim.domain = summary_->domain;
    victim.cgroup = summary_->cgroup;
    victim.processes = std::exchange(tasks_, {});
    group_.clear();
  } else if (!group_.empty()) {
    if (summary_) victim.domain = summary_->domain;
    victim.cgroup = group_;
    victim.or_below = true;
  }
  return victim;
}

// --- reading
// ----------------------------------------------------------------------------------------------------

// Shared with the handler in flight. `owner` is null once nobody is to hear of it any more.
struct KernelLog::State {
  State(boost::asio::io_context& io, KernelLog* log, Callbacks calls)
      : owner(log), callbacks(std::move(calls)), descriptor(io), story(::sysconf(_SC_PAGESIZE)) {}

  KernelLog* owner;
  const Callbacks callbacks;  // ours, because one of them may end the log
  boost::asio::posix::stream_descriptor descriptor;
  OomStory story;
};

KernelLog::KernelLog(boost::asio::io_context& io, Callbacks callbacks)
    : io_(io), callbacks_(std::move(callbacks)) {}

KernelLog::~KernelLog() { Detach(); }

void KernelLog::Detach() {
  if (!state_) return;
  state_->owner = nullptr;
  boost::system::error_code ignored;
  state_->descriptor.close(ignored);
}

absl::Status KernelLog::Open(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd || ::lseek(fd.get(), 0, SEEK_END) < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("opening ", path));
  }
  return Follow(std::move(fd));
}

absl::Status KernelLog::Follow(UniqueFd fd) {
  auto state = std::make_shared<State>(io_, this, callbacks_);
  boost::system::error_code error;
  state->descriptor.assign(fd.get(), error);
  if (error) return absl::ErrnoToStatus(error.value(), "following the kernel's log");
  fd.release();
  Detach();
  state_ = std::move(state);
  Wait(state_);
  return absl::OkStatus();
}

void KernelLog::Wait(const std::shared_ptr<State>& state) {
  state->descriptor.async_wait(
      boost::asio::posix::stream_descriptor::wait_read, [state](const boost::system::error_code& error) {
        if (state->owner == nullptr) return;
        if (!error) return Read(state);
        End(state->callbacks, absl::UnavailableError("waiting for the kernel's log: " + error.message()));
      });
}

// By value: what it calls may end the log, or follow another.
void KernelLog::End(Callbacks callbacks, const absl::Status& why) {
  if (callbacks.on_end) callbacks.on_end(why);
}

void KernelLog::Read(const std::shared_ptr<State>& state) {
  std::array<char, kRecordSize> buffer;
  for (int record = 0; record < kRecordsAtOnce; ++record) {
    const ssize_t got = ::read(state->descriptor.native_handle(), buffer.data(), buffer.size());
    if (got < 0 && errno == EPIPE) {
      state->callbacks.on_overrun();
    } else if (got < 0 && errno != EINTR && errno != EINVAL) {
      if (errno == EAGAIN) break;
      return End(state->callbacks, absl::ErrnoToStatus(errno, "reading the kernel's log"));
    } else if (got == 0) {
      return End(state->callbacks, absl::UnavailableError("the kernel's log has ended"));
    } else if (got > 0) {
      const auto text = KernelText(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
      if (!text) continue;
      if (auto killed = state->story.Tell(*text)) state->callbacks.on_kill(*std::move(killed));
    }
    if (state->owner == nullptr) return;
  }
  Wait(state);
}

}  // namespace memgov::kernel
