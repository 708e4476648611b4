#include "governor/kernel/brake_knob.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

namespace memgov::kernel {
namespace {

// A release that failed is tried again after 10 ms, 20 ms, ... 1 s, 1 s, ...
constexpr auto kFirstPause = std::chrono::milliseconds(10);
constexpr auto kLongestPause = std::chrono::milliseconds(1000);
constexpr auto kRestoreAtExit = std::chrono::seconds(2);

std::string Words(const Limit& limit) {
  return limit.bytes.has_value() ? absl::StrCat(*limit.bytes) : std::string("max");
}

}  // namespace

BrakeKnob::BrakeKnob(const CgroupLayout& layout, std::string state_file, boost::asio::io_context& io,
                     OnLost on_lost)
    : layout_(layout),
      state_file_(std::move(state_file)),
      io_(io),
      on_lost_(std::move(on_lost)),
      watch_(io, layout_, [this](core::CgroupId id) { OnWritten(id); }) {
  if (layout_.memory_version != MemoryVersion::kV2) return;
  worker_ = std::make_unique<boost::asio::thread_pool>(1);
  retry_.emplace(worker_->get_executor());
  boost::asio::post(*worker_, [this] { AdoptLeftovers(); });
}

BrakeKnob::~BrakeKnob() {
  stopping_ = true;
  if (worker_ == nullptr) return;
  boost::asio::post(*worker_, [this] { retry_->cancel(); });
  worker_->join();
}

void BrakeKnob::Set(core::CgroupId id, std::string path, std::optional<core::Bytes> high, Done done) {
  if (worker_ == nullptr || stopping_) {
    boost::asio::post(io_, [done = std::move(done), v1 = worker_ == nullptr] {
      done(absl::FailedPreconditionError(v1 ? "cgroup v1 has no memory.high" : "the brake is shut down"));
    });
    return;
  }
  if (high.has_value()) {
    held_[id] = path;
    watch_.Watch(id, path);  // before the write, so that nothing written after ours is missed
  } else {
    held_.erase(id);
    watch_.Unwatch(id);
  }
  // A slow write must not make the newest wish wait behind older ones for the same cgroup.
  auto overtaken = std::make_shared<std::atomic<bool>>(false);
  if (const auto earlier = std::exchange(newest_[id], overtaken); earlier != nullptr) *earlier = true;
  boost::asio::post(*worker_, [this, id, path = std::move(path), high, overtaken, done = std::move(done)] {
    absl::Status status;
    if (stopping_) {
      status = absl::FailedPreconditionError("the brake is shut down");
    } else if (*overtaken) {
      status = absl::CancelledError("overtaken by a later request");
    } else {
      status = high.has_value() ? Apply(path, RoundToPages(*high)) : LetGoOrOwe(path);
    }
    boost::asio::post(io_, [this, id, overtaken, done, status] {
      if (const auto newest = newest_.find(id); newest != newest_.end() && newest->second == overtaken) {
        newest_.erase(newest);
      }
      done(status);
    });
  });
}

void BrakeKnob::Forget(core::CgroupId id) {
  const auto held = held_.find(id);
  if (held == held_.end()) return;
  // To let go of a cgroup that is gone is to forget it; its path may mean another one by now.
  Set(id, std::string(held->second), std::nullopt, [](const absl::Status&) {});
}

void BrakeKnob::LetGoOfAll() {
  for (const auto& [id, path] : absl::flat_hash_map<core::CgroupId, std::string>(held_)) {
    Set(id, path, std::nullopt, [this, id = id](const absl::Status&) {
      if (on_lost_) on_lost_({.cgroup = id, .foreign = false});
    });
  }
}

void BrakeKnob::OnWritten(core::CgroupId id) {
  const auto held = held_.find(id);
  if (held == held_.end() || worker_ == nullptr || stopping_) return;
  boost::asio::post(*worker_, [this, id, path = held->second] { Compare(id, path); });
}

absl::Status BrakeKnob::RestoreAll() {
  stopping_ = true;
  if (worker_ == nullptr) return absl::OkStatus();
  // The worker may sit in a write that reclaims. What it has set before need not wait for that: the state
  // file names all of it, and is replaced atomically. The result is that of the second pass, which sees
  // everything.
  std::vector<std::string> complaints;
  std::vector<BrakeMark> failed;
  if (const auto marks = LoadBrakeState(state_file_, &complaints); marks.ok()) {
    LetGoOfMarks(layout_, *marks, &failed).IgnoreError();
  }
  boost::asio::post(*worker_, [this] { retry_->cancel(); });
  worker_->join();
  return RestorePatiently(layout_, state_file_, kRestoreAtExit);
}

// --- on the worker
// --------------------------------------------------------------------------------------------

void BrakeKnob::AdoptLeftovers() {
  std::vector<std::string> complaints;  // said when the start restored
  auto marks = LoadBrakeState(state_file_, &complaints);
  if (!marks.ok() || marks->empty() || stopping_) return;
  marks_ = *std::move(marks);
  for (const BrakeMark& mark : marks_) debts_.insert(mark.path);
  pause_ = kFirstPause;
  PayDebts();
}

bool BrakeKnob::IsOurs(const std::string& path, const BrakeFile& file, core::Bytes value) const {
  return std::find(marks_.begin(), marks_.end(),
                   BrakeMark{.path = path, .inode = file.inode(), .value = value}) != marks_.end();
}

// Makes `values` the marks of this path, in the file first.
absl::Status BrakeKnob::Remember(const std::string& path, std::uint64_t inode,
                                 const std::vector<core::Bytes>& values) {
  std::vector<BrakeMark> marks;
  for (const BrakeMark& mark : marks_) {
    if (mark.path != path) marks.push_back(mark);
  }
  for (const core::Bytes value : values) marks.push_back({.path = path, .inode = inode, .value = value});
  if (marks == marks_) return absl::OkStatus();
  if (absl::Status status = StoreBrakeState(state_file_, marks); !status.ok()) return status;
  marks_ = std::move(marks);
  return absl::OkStatus();
}

absl::Status BrakeKnob::Apply(const std::string& path, core::Bytes high) {
  debts_.erase(path);
  const auto file = BrakeFile::Open(layout_, path);
  if (absl::IsNotFound(file.status())) ForgetMarks(path).IgnoreError();
  if (!file.ok()) return file.status();
  const auto present = file->Read("memory.high");
  if (absl::IsNotFound(present.status())) ForgetMarks(path).IgnoreError();
  if (!present.ok()) return present.status();
  const bool ours = present->bytes.has_value() && IsOurs(path, *file, *present->bytes);
  if (present->bytes.has_value() && !ours) {
    ForgetMarks(path).IgnoreError();
    return absl::FailedPreconditionError(
        absl::StrCat("memory.high of ", path, " is ", Words(*present), ", set by somebody else"));
  }
  if (present->bytes == high) return absl::OkStatus();
  return WriteMarked(*file, path, high, ours ? present->bytes : std::nullopt);
}

// `old`: our value that the knob holds now, if any.
absl::Status BrakeKnob::WriteMarked(const BrakeFile& file, const std::string& path, core::Bytes high,
                                    std::optional<core::Bytes> old) {
  std::vector<core::Bytes> values = {high};
  if (old.has_value()) values.push_back(*old);
  if (absl::Status status = Remember(path, file.inode(), values); !status.ok()) return status;

  // As late as can be: usage must not be above the brake when it closes.
  absl::Status written;
  const auto usage = file.Read("memory.current");
  if (!usage.ok()) {
    written = usage.status();
  } else if (usage->bytes.value_or(0) >= high) {
    written = absl::OutOfRangeError(
        absl::StrCat("usage of ", path, " is ", Words(*usage), ", not below the brake at ", high));
  } else {
    written = file.WriteHigh(high);
  }
  values.clear();
  if (written.ok()) {
    values = {high};
  } else if (old.has_value() && !absl::IsNotFound(written)) {
    values = {*old};
  }
  const absl::Status remembered = Remember(path, file.inode(), values);
  return written.ok() ? remembered : written;
}

absl::Status BrakeKnob::LetGo(const std::string& path) {
  const auto file = BrakeFile::Open(layout_, path);
  if (absl::IsNotFound(file.status())) return ForgetMarks(path);
  if (!file.ok()) return file.status();
  const auto present = file->Read("memory.high");
  if (!present.ok() && !absl::IsNotFound(present.status())) return present.status();
  if (present.ok() && present->bytes.has_value() && IsOurs(path, *file, *present->bytes)) {
    absl::Status written = file->WriteHigh(std::nullopt);
    if (!written.ok() && !absl::IsNotFound(written)) return written;
  }
  return ForgetMarks(path);
}

absl::Status BrakeKnob::LetGoOrOwe(const std::string& path) {
  absl::Status status = LetGo(path);
  if (status.ok()) {
    debts_.erase(path);
  } else {
    if (debts_.empty()) pause_ = kFirstPause;
    debts_.insert(path);
    PayDebtsLater();
  }
  return status;
}

void BrakeKnob::PayDebts() {
  std::erase_if(debts_, [this](const std::string& path) { return LetGo(path).ok(); });
  if (!debts_.empty()) PayDebtsLater();
}

void BrakeKnob::PayDebtsLater() {
  if (stopping_) return;
  retry_->expires_after(pause_);
  pause_ = std::min(2 * pause_, kLongestPause);
  retry_->async_wait([this](const boost::system::error_code& cancelled) {
    if (!cancelled && !stopping_) PayDebts();
  });
}

// After somebody wrote memory.high, perhaps we: is it still ours?
void BrakeKnob::Compare(core::CgroupId id, const std::string& path) {
  const bool marked =
      std::any_of(marks_.begin(), marks_.end(), [&](const BrakeMark& mark) { return mark.path == path; });
  if (!marked || stopping_) return;
  const auto file = BrakeFile::Open(layout_, path);
  if (!file.ok()) return;  // gone, or unreadable now; the next sample says more
  const auto present = file->Read("memory.high");
  if (!present.ok() || (present->bytes.has_value() && IsOurs(path, *file, *present->bytes))) return;
  debts_.erase(path);
  ForgetMarks(path).IgnoreError();  // a mark that stays matches nothing
  if (on_lost_) {
    boost::asio::post(io_, [this, id] { on_lost_({.cgroup = id, .foreign = true}); });
  }
}

}  // namespace memgov::kernel
