#include "governor/kernel/brake_knob.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace memgov::kernel {
namespace {

constexpr auto kRestoreAtExit = std::chrono::seconds(2);
constexpr auto kPause = std::chrono::milliseconds(20);

std::string Words(const Limit& limit) {
  return limit.bytes.has_value() ? absl::StrCat(*limit.bytes) : std::string("max");
}

}  // namespace

BrakeKnob::BrakeKnob(const CgroupLayout& layout, std::string state_file, boost::asio::io_context& io,
                     OnLost on_lost, OnFailing on_failing)
    : layout_(layout),
      io_(io),
      on_lost_(std::move(on_lost)),
      watch_(io, layout_, [this](core::CgroupId id) { OnWritten(id); }),
      state_file_(std::move(state_file)) {
  if (layout_.memory_version != MemoryVersion::kV2) return;
  const std::vector<std::string> leftovers = Leftovers();
  queue_ = std::make_unique<HoldQueue>(
      io_, [this](const std::string& path, bool last) { return LetGo(path, last); }, std::move(on_failing));
  queue_->Owe(leftovers);
}

BrakeKnob::~BrakeKnob() = default;

std::vector<std::string> BrakeKnob::Leftovers() {
  std::vector<std::string> complaints;  // said when the start restored
  auto marks = LoadBrakeState(state_file_, &complaints);
  if (!marks.ok()) return {};
  marks_ = *std::move(marks);
  std::vector<std::string> paths;
  for (const BrakeMark& mark : marks_) paths.push_back(mark.path);
  return paths;
}

void BrakeKnob::Set(core::CgroupId id, std::string path, std::optional<core::Bytes> high, Done done) {
  if (queue_ == nullptr || stopped_) {
    boost::asio::post(io_, [done = std::move(done), v1 = queue_ == nullptr] {
      done(absl::FailedPreconditionError(v1 ? "cgroup v1 has no memory.high" : "the brake is shut down"));
    });
    return;
  }
  if (!high.has_value()) {
    held_.erase(id);
    watch_.Unwatch(id);
    return queue_->LetGo(std::move(path), std::move(done));
  }
  held_[id] = path;
  watch_.Watch(id, path);  // before the write, so that nothing written after ours is missed
  const core::Bytes rounded = RoundToPages(*high);
  auto take = [this, path, rounded](const HoldQueue::Wanted& wanted) { return Apply(path, rounded, wanted); };
  queue_->Take(std::move(path), std::move(take), std::move(done));
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
  if (held == held_.end() || queue_ == nullptr || stopped_) return;
  queue_->Look(held->second, [this, id, path = held->second] { Compare(id, path); });
}

absl::Status BrakeKnob::RestoreAll() {
  stopped_ = true;
  if (queue_ == nullptr) return absl::OkStatus();
  queue_->Stop();
  // A thread may sit in a write that reclaims. What was set before need not wait for that, and what it sets
  // itself not for its end: its mark is there before the value is. The result is that of the last pass, which
  // sees everything.
  const auto give_up = std::chrono::steady_clock::now() + kRestoreAtExit;
  do {
    LetGoOfOwnMarks().IgnoreError();
  } while (!queue_->IdleWithin(kPause) && std::chrono::steady_clock::now() < give_up);
  queue_->Join();
  // The file may name what a predecessor left. It may also have been lost, or torn by somebody: what is ours
  // is known without it.
  absl::Status status = RestorePatiently(layout_, state_file_.path(), kRestoreAtExit);
  absl::Status own = LetGoOfOwnMarks();
  while (!own.ok() && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(kPause);
    own = LetGoOfOwnMarks();
  }
  status.Update(own);
  return status;
}

absl::Status BrakeKnob::LetGoOfOwnMarks() const {
  std::vector<BrakeMark> failed;
  return LetGoOfMarks(layout_, Marks(), &failed);
}

// --- what is ours, for both threads

std::vector<BrakeMark> BrakeKnob::Marks() const {
  const std::lock_guard lock(mutex_);
  return marks_;
}

bool BrakeKnob::IsOurs(const std::string& path, const BrakeFile& file, core::Bytes value) const {
  const std::lock_guard lock(mutex_);
  return std::find(marks_.begin(), marks_.end(),
                   BrakeMark{.path = path, .inode = file.inode(), .value = value}) != marks_.end();
}

// Makes `values` the marks of this path, in the file first.
absl::Status BrakeKnob::Remember(const std::string& path, std::uint64_t inode,
                                 const std::vector<core::Bytes>& values) {
  const std::lock_guard storing(storing_);
  const std::vector<BrakeMark> before = Marks();
  std::vector<BrakeMark> marks;
  for (const BrakeMark& mark : before) {
    if (mark.path != path) marks.push_back(mark);
  }
  for (const core::Bytes value : values) marks.push_back({.path = path, .inode = inode, .value = value});
  if (marks == before) return absl::OkStatus();
  if (absl::Status status = StoreBrakeState(state_file_, marks); !status.ok()) return status;
  const std::lock_guard lock(mutex_);
  marks_ = std::move(marks);
  if (values.empty()) kept_.erase(path);
  return absl::OkStatus();
}

absl::Status BrakeKnob::Keep(const std::string& path, std::uint64_t inode) {
  if (const auto kept = KeptFor(path); kept != nullptr && kept->inode() == inode) return absl::OkStatus();
  auto file = BrakeFile::Open(layout_, path);
  if (!file.ok()) return file.status();
  if (absl::Status status = file->KeepHigh(); !status.ok()) return status;
  const std::lock_guard lock(mutex_);
  kept_[path] = std::make_shared<BrakeFile>(*std::move(file));
  return absl::OkStatus();
}

std::shared_ptr<BrakeFile> BrakeKnob::KeptFor(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  const auto kept = kept_.find(path);
  return kept == kept_.end() ? nullptr : kept->second;
}

// --- on the thread that sets

absl::Status BrakeKnob::Apply(const std::string& path, core::Bytes high, const HoldQueue::Wanted& wanted) {
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
  return WriteMarked(*file, path, high, ours ? present->bytes : std::nullopt, wanted);
}

// `old`: our value that the knob holds now, if any.
absl::Status BrakeKnob::WriteMarked(const BrakeFile& file, const std::string& path, core::Bytes high,
                                    std::optional<core::Bytes> old, const HoldQueue::Wanted& wanted) {
  std::vector<core::Bytes> values = {high};
  if (old.has_value()) values.push_back(*old);
  if (absl::Status status = Keep(path, file.inode()); !status.ok()) return status;
  if (absl::Status status = Remember(path, file.inode(), values); !status.ok()) {
    const std::lock_guard lock(mutex_);
    if (!old.has_value()) kept_.erase(path);
    return status;
  }

  // As late as can be: usage must not be above the brake when it closes.
  absl::Status written;
  const auto usage = file.Read("memory.current");
  if (!usage.ok()) {
    written = usage.status();
  } else if (usage->bytes.value_or(0) >= high) {
    written = absl::OutOfRangeError(
        absl::StrCat("usage of ", path, " is ", Words(*usage), ", not below the brake at ", high));
  } else if (!wanted()) {
    written = absl::CancelledError("overtaken by a later request");
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

// After somebody wrote memory.high, perhaps we: is it still ours?
void BrakeKnob::Compare(core::CgroupId id, const std::string& path) {
  const std::vector<BrakeMark> marks = Marks();
  if (std::none_of(marks.begin(), marks.end(), [&](const BrakeMark& mark) { return mark.path == path; }))
    return;
  const auto file = BrakeFile::Open(layout_, path);
  if (!file.ok()) return;  // gone, or unreadable now; the next sample says more
  const auto present = file->Read("memory.high");
  if (!present.ok() || (present->bytes.has_value() && IsOurs(path, *file, *present->bytes))) return;
  ForgetMarks(path).IgnoreError();  // a mark that stays matches nothing
  boost::asio::post(io_, [this, id, path] {
    // Let go meanwhile: then it was we who wrote.
    const auto held = held_.find(id);
    if (on_lost_ && held != held_.end() && held->second == path) on_lost_({.cgroup = id, .foreign = true});
  });
}

// --- on the thread that lets go

// Until the last try the marks stay: a write that is under way may still bring one's value.
absl::Status BrakeKnob::LetGo(const std::string& path, bool last) {
  std::shared_ptr<BrakeFile> file = KeptFor(path);
  if (file == nullptr) {  // a predecessor's brake
    auto opened = BrakeFile::Open(layout_, path);
    if (absl::IsNotFound(opened.status())) return last ? ForgetMarks(path) : absl::OkStatus();
    if (!opened.ok()) return opened.status();
    file = std::make_shared<BrakeFile>(*std::move(opened));
  }
  absl::Status status;
  const auto present = file->Read("memory.high");
  if (!present.ok()) {
    status = present.status();
  } else if (present->bytes.has_value() && IsOurs(path, *file, *present->bytes)) {
    status = file->WriteHigh(std::nullopt);
  }
  if (!status.ok() && !absl::IsNotFound(status)) {
    // What we have open may have gone without its descriptor saying so.
    const auto named = BrakeFile::Open(layout_, path);
    const bool gone = named.ok() ? named->inode() != file->inode() : absl::IsNotFound(named.status());
    if (!gone) return status;
  }
  return last ? ForgetMarks(path) : absl::OkStatus();
}

}  // namespace memgov::kernel
