#include "governor/policy/watcher.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace memgov::policy {
namespace {

// Some editors move the old file away before they write the new one. Only what stays away has been removed.
constexpr auto kMissingFor = std::chrono::seconds(1);
// Files that change while they are read are read again; so often at once, and then after a pause.
constexpr int kMostReadings = 4;
constexpr auto kPause = std::chrono::milliseconds(100);

}  // namespace

Watcher::Watcher(std::string path) : path_(std::move(path)), watch_(path_) {}

// Absent: they changed meanwhile.
std::optional<Watcher::Seen> Watcher::Read() {
  for (int i = 0; i < kMostReadings; ++i) {
    heard_ = watch_.Follow();
    auto texts = ReadPolicy(path_);
    const bool changed = watch_.TakeNews();
    if (watch_.being_written()) return std::nullopt;
    if (changed) continue;
    if (!texts.ok()) return Seen{.status = texts.status(), .texts = {}};
    return Seen{.status = absl::OkStatus(), .texts = *std::move(texts)};
  }
  return std::nullopt;
}

bool Watcher::SomethingIsMissing(const Seen& seen) const {
  if (!seen.status.ok()) return absl::IsNotFound(seen.status);
  const auto is_there = [&seen](const PolicyText& before) {
    return std::any_of(seen.texts.begin(), seen.texts.end(),
                       [&before](const PolicyText& now) { return now.name == before.name; });
  };
  return !std::all_of(seen_.texts.begin(), seen_.texts.end(), is_there);
}

Watcher::News Watcher::Reload() {
  due_.reset();
  missing_since_.reset();
  heard_ = watch_.Follow();
  watch_.TakeNews();
  auto texts = ReadPolicy(path_);
  seen_ = texts.ok() ? Seen{.status = absl::OkStatus(), .texts = *std::move(texts)}
                     : Seen{.status = texts.status(), .texts = {}};
  if (!seen_.status.ok()) return seen_.status;
  return ParsePolicy(seen_.texts);
}

std::optional<Watcher::News> Watcher::Poll(core::Instant now, bool anyway) {
  const bool is_due = anyway || (due_ && now >= *due_);
  if (!watch_.TakeNews() && !is_due) return std::nullopt;
  due_.reset();
  std::optional<Seen> seen = Read();
  if (!seen) {
    if (!watch_.being_written()) due_ = now + kPause;
    return std::nullopt;
  }
  if (!SomethingIsMissing(*seen)) {
    missing_since_.reset();
  } else if (!(*seen == seen_)) {
    if (!missing_since_) missing_since_ = now;
    if (now < *missing_since_ + kMissingFor) {
      due_ = *missing_since_ + kMissingFor;
      return std::nullopt;
    }
  }
  if (*seen == seen_) return std::nullopt;
  missing_since_.reset();
  seen_ = *std::move(seen);
  if (!seen_.status.ok()) return seen_.status;
  return ParsePolicy(seen_.texts);
}

}  // namespace memgov::policy
