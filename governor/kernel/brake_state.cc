#include "governor/kernel/brake_state.h"

#include <algorithm>
#include <optional>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "governor/kernel/brake_file.h"
#include "governor/kernel/cgroup_path.h"
#include "governor/kernel/parse.h"
#include "governor/kernel/state_lines.h"

namespace memgov::kernel {
namespace {

// Far above what our own brakes need (one line for each braked cgroup); more is not our writing.
constexpr std::size_t kLargestState = 8 * 1024 * 1024;
constexpr std::size_t kLargestWritten = kLargestState / 4;

constexpr auto kFirstPause = std::chrono::milliseconds(10);
constexpr auto kLongestPause = std::chrono::milliseconds(500);

// "PATH INODE VALUE"; a path may have spaces.
std::optional<BrakeMark> ParseMark(std::string_view line) {
  const std::size_t second = line.rfind(' ');
  if (second == std::string_view::npos || second == 0) return std::nullopt;
  const std::size_t first = line.rfind(' ', second - 1);
  if (first == std::string_view::npos) return std::nullopt;
  std::string path(line.substr(0, first));
  const auto inode = ParseNumber(line.substr(first + 1, second - first - 1));
  const auto value = ParseBytes(std::string(line.substr(second + 1)) + "\n");
  if (!inode || !value || path.size() < 2 || NormalisedPath(path) != path) return std::nullopt;
  return BrakeMark{.path = std::move(path), .inode = *inode, .value = *value};
}

absl::Status LetGoOfMark(const CgroupLayout& layout, const BrakeMark& mark) {
  const auto file = BrakeFile::Open(layout, mark.path);
  if (!file.ok()) return file.status();
  if (file->inode() != mark.inode) return absl::OkStatus();
  const auto present = file->Read("memory.high");
  if (!present.ok()) return present.status();
  return present->bytes == mark.value ? file->WriteHigh(std::nullopt) : absl::OkStatus();
}

}  // namespace

std::vector<BrakeMark> ParseBrakeState(std::string_view text, const std::string& file,
                                       std::vector<std::string>* complaints) {
  std::vector<BrakeMark> marks;
  ForEachLine(text, file, "/path inode bytes", complaints, [&marks](const std::string& line) {
    auto mark = ParseMark(line);
    if (mark) marks.push_back(*std::move(mark));
    return mark.has_value();
  });
  return marks;
}

absl::StatusOr<std::vector<BrakeMark>> LoadBrakeState(base::StateFile& file,
                                                      std::vector<std::string>* complaints) {
  const auto text = file.Read(kLargestState);
  if (absl::IsNotFound(text.status())) return std::vector<BrakeMark>();
  if (!text.ok()) return text.status();
  return ParseBrakeState(*text, file.path(), complaints);
}

absl::StatusOr<std::vector<BrakeMark>> LoadBrakeState(const std::string& file,
                                                      std::vector<std::string>* complaints) {
  base::StateFile state(file);
  return LoadBrakeState(state, complaints);
}

absl::Status StoreBrakeState(base::StateFile& file, const std::vector<BrakeMark>& marks) {
  if (marks.empty()) return file.Remove();
  std::string text;
  for (const BrakeMark& mark : marks)
    absl::StrAppend(&text, mark.path, " ", mark.inode, " ", mark.value, "\n");
  if (text.size() > kLargestWritten) {
    return absl::ResourceExhaustedError(absl::StrCat(file.path(), " would be larger than ", kLargestWritten,
                                                     " bytes: too many brakes at a time (", marks.size(),
                                                     ")"));
  }
  return file.Replace(text);
}

absl::Status StoreBrakeState(const std::string& file, const std::vector<BrakeMark>& marks) {
  base::StateFile state(file);
  return StoreBrakeState(state, marks);
}

absl::Status LetGoOfMarks(const CgroupLayout& layout, const std::vector<BrakeMark>& marks,
                          std::vector<BrakeMark>* failed) {
  std::vector<std::string> errors;
  for (const BrakeMark& mark : marks) {
    const absl::Status status = LetGoOfMark(layout, mark);
    if (status.ok() || absl::IsNotFound(status)) continue;
    failed->push_back(mark);
    errors.emplace_back(status.message());
  }
  if (errors.empty()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("brakes not restored: ", absl::StrJoin(errors, "; ")));
}

absl::Status RestoreFromState(const CgroupLayout& layout, const std::string& file) {
  std::vector<std::string> complaints;
  const auto marks = LoadBrakeState(file, &complaints);
  if (!marks.ok()) return marks.status();
  std::vector<BrakeMark> failed;
  absl::Status let_go = LetGoOfMarks(layout, *marks, &failed);
  if (marks->empty() && complaints.empty()) return absl::OkStatus();
  if (absl::Status stored = StoreBrakeState(file, failed); !stored.ok()) {
    return let_go.ok() ? stored : let_go;
  }
  if (!let_go.ok()) return let_go;
  if (!complaints.empty()) return absl::DataLossError(absl::StrJoin(complaints, "; "));
  return absl::OkStatus();
}

bool MayPass(const absl::Status& status) {
  // Broken lines are said once, and gone the next time.
  return !status.ok() && !absl::IsDataLoss(status) && !absl::IsFailedPrecondition(status) &&
         !absl::IsInvalidArgument(status);
}

absl::Status RestorePatiently(const CgroupLayout& layout, const std::string& file,
                              std::chrono::milliseconds longest) {
  const auto give_up = std::chrono::steady_clock::now() + longest;
  for (auto pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    absl::Status status = RestoreFromState(layout, file);
    if (!MayPass(status)) return status;
    if (std::chrono::steady_clock::now() + pause > give_up) return status;
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace memgov::kernel
