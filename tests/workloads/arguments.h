// Command lines of the workloads: "--name value", sizes as 300MiB, shares as 10%. A mistake ends the program
// with status 2 and says what would be right.

#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace memgov::workloads {

inline constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

class Arguments {
 public:
  Arguments(int argc, char** argv, const char* usage) : argc_(argc), argv_(argv), usage_(usage) {}

  // Moves to the next option; false at the end. --help prints the usage and ends the program.
  bool Next();
  bool Is(std::string_view name) const { return option_ == name; }

  // The value of the present option, read as what the name says.
  const char* Text();
  std::uint64_t Size();    // bytes; "300MiB", "4KiB", "1GiB" or a plain number
  std::uint64_t Number();  // a whole number
  double Percent();        // a share, 0 to 1; "10%"
  int OneOf(std::initializer_list<std::string_view> choices);  // index of the choice

  [[noreturn]] void Fail(const char* why) const;

 private:
  double Scaled(char** end);

  int argc_;
  char** argv_;
  const char* usage_;
  int at_ = 0;
  std::string_view option_;
};

}  // namespace memgov::workloads
