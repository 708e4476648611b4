#include "governor/kernel/brake_knob.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

namespace memgov::kernel {
namespace {

std::string Words(const Limit& limit) {
  return limit.bytes.has_value() ? absl::StrCat(*limit.bytes) : std::string("max");
}

}  // namespace

BrakeKnob::BrakeKnob(const CgroupLayout& layout, std::string state_file, boost::asio::io_context& io)
    : layout_(layout), state_file_(std::move(state_file)), io_(io) {
  if (layout_.memory_version == MemoryVersion::kV2) worker_ = std::make_unique<boost::asio::thread_pool>(1);
}

BrakeKnob::~BrakeKnob() {
  stopping_ = true;
  if (worker_ != nullptr) worker_->join();
}

void BrakeKnob::Set(core::CgroupId id, std::string path, std::optional<core::Bytes> high, Done done) {
  if (worker_ == nullptr || stopping_) {
    boost::asio::post(io_, [done = std::move(done), v1 = worker_ == nullptr] {
      done(absl::FailedPreconditionError(v1 ? "cgroup v1 has no memory.high" : "the brake is shut down"));
    });
    return;
  }
  // A slow write must not make the newest wish wait behind older ones for the same cgroup.
  auto overtaken = std::make_shared<std::atomic<bool>>(false);
  if (const auto earlier = std::exchange(newest_[id], overtaken); earlier != nullptr) *earlier = true;
  boost::asio::post(
      *worker_, [this, id, path = std::move(path), high, overtaken, done = std::move(done)]() mutable {
        absl::Status status;
        if (stopping_) {
          status = absl::FailedPreconditionError("the brake is shut down");
        } else if (*overtaken) {
          status = absl::CancelledError("overtaken by a later request");
        } else {
          status = high.has_value() ? Apply(path, RoundToPages(*high)) : LetGo(path);
        }
        boost::asio::post(io_, [this, id, overtaken, done = std::move(done), status = std::move(status)] {
          if (const auto newest = newest_.find(id); newest != newest_.end() && newest->second == overtaken) {
            newest_.erase(newest);
          }
          done(status);
        });
      });
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
  worker_->join();
  return kernel::RestoreFromState(layout_, state_file_);
}

// --- on the worker
// --------------------------------------------------------------------------------------------

bool BrakeKnob::IsOurs(const std::string& path, core::Bytes value) const {
  return std::find(marks_.begin(), marks_.end(), BrakeMark{.path = path, .value = value}) != marks_.end();
}

// Makes `values` the marks of this path, in the file first.
absl::Status BrakeKnob::Remember(const std::string& path, const std::vector<core::Bytes>& values) {
  std::vector<BrakeMark> marks;
  for (const BrakeMark& mark : marks_) {
    if (mark.path != path) marks.push_back(mark);
  }
  for (const core::Bytes value : values) marks.push_back({.path = path, .value = value});
  if (absl::Status status = StoreBrakeState(state_file_, marks); !status.ok()) return status;
  marks_ = std::move(marks);
  return absl::OkStatus();
}

absl::Status BrakeKnob::Apply(const std::string& path, core::Bytes high) {
  const auto present = ReadLimit(layout_, path, "memory.high");
  if (!present.ok()) return present.status();
  const bool ours = present->bytes.has_value() && IsOurs(path, *present->bytes);
  if (present->bytes.has_value() && !ours) {
    return absl::FailedPreconditionError(
        absl::StrCat("memory.high of ", path, " is ", Words(*present), ", set by somebody else"));
  }
  if (present->bytes == high) return absl::OkStatus();

  std::vector<core::Bytes> values = {high};
  if (ours) values.push_back(*present->bytes);
  if (absl::Status status = Remember(path, values); !status.ok()) return status;

  // As late as can be: usage must not be above the brake when it closes.
  absl::Status written;
  const auto usage = ReadLimit(layout_, path, "memory.current");
  if (!usage.ok()) {
    written = usage.status();
  } else if (usage->bytes.value_or(0) >= high) {
    written = absl::FailedPreconditionError(
        absl::StrCat("usage of ", path, " is ", Words(*usage), ", not below the brake at ", high));
  } else {
    written = WriteHigh(layout_, path, high);
  }
  values.clear();
  if (written.ok()) {
    values = {high};
  } else if (ours) {
    values = {*present->bytes};
  }
  const absl::Status remembered = Remember(path, values);
  return written.ok() ? remembered : written;
}

absl::Status BrakeKnob::LetGo(const std::string& path) {
  const auto present = ReadLimit(layout_, path, "memory.high");
  if (!present.ok() && !absl::IsNotFound(present.status())) return present.status();
  if (present.ok() && present->bytes.has_value() && IsOurs(path, *present->bytes)) {
    absl::Status written = WriteHigh(layout_, path, std::nullopt);
    if (!written.ok() && !absl::IsNotFound(written)) return written;
  }
  return Remember(path, {});
}

}  // namespace memgov::kernel
