// A policy that follows its files: read, checked, and handed over when they change. What is wrong is said
// once and never replaces what was right.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/core/policy.h"
#include "governor/core/units.h"
#include "governor/policy/file_watch.h"
#include "governor/policy/loader.h"

namespace memgov::policy {

// One thread at a time. Reads the files when they have changed, which blocks for as long as the disk does.
class Watcher {
 public:
  // A policy, or why there is none; the message is that of LoadPolicy.
  using News = absl::StatusOr<core::Policy>;

  // `path`: of a file or a directory, as ReadPolicy has it.
  explicit Watcher(std::string path);

  // Reads whatever lies there now, changed or not: at the start, and when somebody asks for it.
  News Reload();
  // To be called when fd() is readable, and when due() has come. Absent: there is nothing new to say.
  // `anyway`: look even if nothing was heard.
  std::optional<News> Poll(core::Instant now, bool anyway = false);

  // -1 where changes cannot be heard; heard() says why.
  int fd() const { return watch_.fd(); }
  std::optional<core::Instant> due() const { return due_; }
  // Whether changes are heard of. An error says which are not.
  const absl::Status& heard() const { return heard_; }

 private:
  // What lay there: either texts, or why they could not be read.
  struct Seen {
    absl::Status status;
    std::vector<PolicyText> texts;

    bool operator==(const Seen&) const = default;
  };

  std::optional<Seen> Read();
  bool SomethingIsMissing(const Seen& seen) const;

  const std::string path_;
  FileWatch watch_;
  absl::Status heard_;
  Seen seen_;
  std::optional<core::Instant> missing_since_;
  std::optional<core::Instant> due_;
};

}  // namespace memgov::policy
