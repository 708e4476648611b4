#include "governor/journal/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace memgov::journal {
namespace {

// Ticks come in bursts of up to 100 a second; what comes within this time is written at once.
constexpr auto kLinger = std::chrono::milliseconds(50);

std::int64_t WallTime() {
  return std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
}

absl::Status Failed(std::string_view doing, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat(std::string(doing), " ", path));
}

// Sequence number and size of each segment there.
std::map<std::uint64_t, std::uintmax_t> SegmentsIn(const std::string& directory) {
  std::map<std::uint64_t, std::uintmax_t> segments;
  std::error_code error;
  for (auto entry = std::filesystem::directory_iterator(directory, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    std::error_code gone;
    const auto sequence = SequenceOf(entry->path().filename().string());
    const auto size = sequence ? entry->file_size(gone) : 0;
    if (sequence && !gone) segments[*sequence] = size;
  }
  return segments;
}

}  // namespace

Writer::Writer(Options options) : options_(std::move(options)), thread_([this] { Run(); }) {}

Writer::~Writer() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  has_work_.notify_one();
  thread_.join();
  CloseSegment();
  CloseDirectory();
}

Writer::State Writer::Look() {
  const std::lock_guard lock(mutex_);
  return {.error = error_,
          .begun = begun_,
          .full = waiting_bytes_ >= options_.buffer_bytes,
          .dropped_ticks = std::exchange(dropped_ticks_, 0)};
}

void Writer::Begin(std::string_view frames) {
  {
    const std::lock_guard lock(mutex_);
    error_ = absl::OkStatus();
    begun_ = false;
    waiting_.push_back({.begins = true, .bytes = std::string(frames)});
    waiting_bytes_ += frames.size();
  }
  has_work_.notify_one();
}

void Writer::Append(std::string_view frame, std::uint64_t ticks) {
  bool was_empty = false;
  {
    const std::lock_guard lock(mutex_);
    if (!error_.ok()) {
      dropped_ticks_ += ticks;
      return;
    }
    was_empty = waiting_.empty();
    if (was_empty) waiting_.emplace_back();
    waiting_.back().bytes += frame;
    waiting_.back().ticks += ticks;
    waiting_bytes_ += frame.size();
  }
  if (was_empty) has_work_.notify_one();
}

void Writer::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    has_work_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    has_work_.wait_for(lock, kLinger, [this] { return stop_; });
    const std::vector<Chunk> chunks = std::exchange(waiting_, {});
    lock.unlock();

    absl::Status status;
    bool begun = false;
    std::uint64_t dropped = 0;
    std::uint64_t bytes = 0;
    for (const Chunk& chunk : chunks) {
      if (status.ok() || chunk.begins) status = Write(chunk);
      if (!status.ok()) dropped += chunk.ticks;
      if (chunk.begins) begun = status.ok();
      bytes += chunk.bytes.size();
    }

    lock.lock();
    waiting_bytes_ -= bytes;
    dropped_ticks_ += dropped;
    begun_ = begun_ || begun;
    // What came meanwhile belongs to the segment that failed, unless it begins another.
    while (!status.ok() && !waiting_.empty() && !waiting_.front().begins) {
      dropped_ticks_ += waiting_.front().ticks;
      waiting_bytes_ -= waiting_.front().bytes.size();
      waiting_.erase(waiting_.begin());
    }
    if (!status.ok() && waiting_.empty()) error_ = status;
  }
}

absl::Status Writer::Write(const Chunk& chunk) {
  if (chunk.begins) {
    CloseSegment();
    if (absl::Status status = OpenSegment(); !status.ok()) {
      CloseDirectory();  // it may be another by the next time
      return status;
    }
  }
  if (file_ < 0) return absl::FailedPreconditionError("no segment is open");
  std::string_view left = chunk.bytes;
  while (!left.empty()) {
    const ssize_t count = ::write(file_, left.data(), left.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      if (count == 0) errno = EIO;
      absl::Status status = Failed("writing to", options_.directory);
      // So that the segment ends with a whole record. A reader also copes with half of one.
      if (::ftruncate(file_, static_cast<off_t>(written_)) != 0) errno = 0;
      ::close(std::exchange(file_, -1));
      if (chunk.begins) ::unlink(PathOf(sequence_).c_str());
      return status;
    }
    left.remove_prefix(static_cast<std::size_t>(count));
  }
  written_ += chunk.bytes.size();
  return absl::OkStatus();
}

absl::Status Writer::OpenDirectory() {
  if (directory_ >= 0) return absl::OkStatus();
  std::error_code error;
  std::filesystem::create_directories(options_.directory, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("making ", options_.directory));
  const int directory = ::open(options_.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return Failed("opening", options_.directory);
  if (::flock(directory, LOCK_EX | LOCK_NB) != 0) {
    const bool taken = errno == EWOULDBLOCK;
    absl::Status status = Failed("locking", options_.directory);
    ::close(directory);
    if (!taken) return status;
    return absl::UnavailableError(absl::StrCat("another memgovd writes to ", options_.directory));
  }
  directory_ = directory;
  return absl::OkStatus();
}

void Writer::CloseDirectory() {
  if (directory_ >= 0) ::close(std::exchange(directory_, -1));
}

absl::Status Writer::OpenSegment() {
  if (absl::Status status = OpenDirectory(); !status.ok()) return status;
  RemoveOldest();
  const auto segments = SegmentsIn(options_.directory);
  sequence_ = std::max(sequence_, segments.empty() ? 0 : segments.rbegin()->first) + 1;
  file_ = ::open(PathOf(sequence_).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  if (file_ < 0) return Failed("writing to", options_.directory);
  SegmentHeader header = options_.header;
  header.sequence = sequence_;
  header.opened_ns = WallTime();
  written_ = 0;
  return Write({.begins = false, .bytes = SegmentStart(header)});
}

void Writer::CloseSegment() {
  if (file_ < 0) return;
  // Full segments survive the node; of the one being written a crash of the node may take the end.
  ::fdatasync(file_);
  ::close(std::exchange(file_, -1));
}

// Makes room for one more segment.
void Writer::RemoveOldest() {
  auto segments = SegmentsIn(options_.directory);
  std::uintmax_t total = options_.segment_bytes;
  for (const auto& [sequence, size] : segments) total += size;
  for (const auto& [sequence, size] : segments) {
    if (total <= options_.total_bytes) return;
    ::unlink(PathOf(sequence).c_str());
    total -= size;
  }
}

std::string Writer::PathOf(std::uint64_t sequence) const {
  return options_.directory + "/" + SegmentName(sequence);
}

}  // namespace memgov::journal
