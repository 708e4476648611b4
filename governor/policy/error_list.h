// Everything that is wrong with one file. Mistakes are collected, not thrown: an author wants to hear all of
// them at once, in the order of the file.

#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace memgov::policy {

// A place in the file; both count from 1, columns in bytes.
struct Position {
  int line = 1;
  int column = 1;
};

class ErrorList {
 public:
  // `file` is how the file is named in messages.
  explicit ErrorList(std::string_view file) : file_(file) {}

  void Add(Position at, std::string message);

  std::size_t size() const { return errors_.size(); }

  // OK when nothing was added. Otherwise INVALID_ARGUMENT: lines `file:line:column: message`, sorted by
  // place, each once (an alias shows one mistake many times), the first 100 and how many more there are.
  absl::Status ToStatus() const;

 private:
  struct Error {
    Position at;
    std::string message;
  };
  std::string file_;
  std::vector<Error> errors_;
};

// `text` in double quotes for a message: control characters escaped, cut after 64 bytes.
std::string Quoted(std::string_view text);

}  // namespace memgov::policy
