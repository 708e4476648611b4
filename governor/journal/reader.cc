#include "governor/journal/reader.h"

#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace memgov::journal {

absl::StatusOr<Reader> Reader::Open(const std::string& path) {
  Reader reader;
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) {
    reader.files_ = {path};
    return reader;
  }
  std::map<std::uint64_t, std::string> found;
  auto entry = std::filesystem::directory_iterator(path, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (const auto sequence = SequenceOf(entry->path().filename().string())) {
      found[*sequence] = entry->path().string();
    }
  }
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("reading ", path));
  if (found.empty()) return absl::NotFoundError(absl::StrCat(path, ": no journal-*.mgj in it"));
  for (auto& [sequence, file] : found) reader.files_.push_back(std::move(file));
  return reader;
}

bool Reader::OpenNext() {
  while (next_file_ < files_.size()) {
    auto segment = SegmentReader::Open(files_[next_file_++]);
    if (!segment.ok()) {
      troubles_.emplace_back(segment.status().message());
      continue;
    }
    segment_ = *std::move(segment);
    now_ = {};
    at_keyframe_ = true;
    return true;
  }
  return false;
}

std::optional<Entry> Reader::Next() {
  while (true) {
    const auto payload = segment_ ? segment_->Next() : std::nullopt;
    if (!payload) {
      if (segment_ && !segment_->damage().empty()) troubles_.push_back(segment_->damage());
      if (!OpenNext()) return std::nullopt;
      continue;
    }
    auto record = DecodeRecord(now_, *payload);
    std::string wrong;
    if (!record.ok()) {
      wrong = std::string(record.status().message());
    } else if (at_keyframe_ != std::holds_alternative<Keyframe>(record->what)) {
      wrong = at_keyframe_ ? "it does not begin with a keyframe" : "a keyframe that is not its first record";
    }
    if (!wrong.empty()) {
      troubles_.push_back(absl::StrCat(files_[next_file_ - 1], ": ", wrong));
      segment_.reset();  // what follows cannot be placed
      if (!OpenNext()) return std::nullopt;
      continue;
    }
    now_ = record->now;
    Entry entry{.record = *std::move(record), .link = std::nullopt};
    if (std::exchange(at_keyframe_, false)) {
      entry.link = LinkOf(std::get<Keyframe>(entry.record.what));
    } else {
      ++records_;
    }
    return entry;
  }
}

Link Reader::LinkOf(const Keyframe& keyframe) {
  const SegmentHeader& header = segment_->header();
  const bool same_run = any_ && header.run_started_ns == run_;
  const bool complete = same_run && keyframe.records_before == records_;
  const std::uint64_t before = std::exchange(records_, keyframe.records_before);
  any_ = true;
  run_ = header.run_started_ns;
  if (keyframe.records_before == 0 && !same_run) return Link::kStart;
  if (complete) return Link::kContinues;
  const std::string& file = files_[next_file_ - 1];
  if (!same_run) {
    troubles_.push_back(absl::StrCat("before ", file, ": the beginning of this run of memgovd is missing (",
                                     keyframe.records_before, " records)"));
  } else {
    troubles_.push_back(absl::StrCat(
        "before ", file, ": ", keyframe.records_before - std::min(before, keyframe.records_before),
        " records are missing",
        keyframe.lost_why.empty() ? std::string() : absl::StrCat(", because of: ", keyframe.lost_why)));
  }
  return Link::kBroken;
}

}  // namespace memgov::journal
