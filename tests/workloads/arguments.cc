#include "tests/workloads/arguments.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace memgov::workloads {

bool Arguments::Next() {
  if (++at_ >= argc_) return false;
  option_ = argv_[at_];
  if (option_ == "--help" || option_ == "-h") {
    std::fputs(usage_, stdout);
    std::exit(0);
  }
  return true;
}

const char* Arguments::Text() {
  if (at_ + 1 >= argc_) Fail("a value is missing");
  return argv_[++at_];
}

double Arguments::Scaled(char** end) {
  const char* text = Text();
  errno = 0;
  const double value = std::strtod(text, end);
  if (*end == text || errno != 0 || !std::isfinite(value) || value < 0) Fail("the value is not a number");
  return value;
}

std::uint64_t Arguments::Size() {
  char* end = nullptr;
  const double value = Scaled(&end);
  const std::string_view unit = end;
  double factor = 1;
  if (unit == "KiB") {
    factor = 1024;
  } else if (unit == "MiB") {
    factor = static_cast<double>(kMiB);
  } else if (unit == "GiB") {
    factor = 1024.0 * static_cast<double>(kMiB);
  } else if (!unit.empty()) {
    Fail("a size ends in KiB, MiB or GiB");
  }
  if (value * factor >= 0x1p62) Fail("the size is too large");
  return static_cast<std::uint64_t>(value * factor);
}

std::uint64_t Arguments::Number() {
  char* end = nullptr;
  const double value = Scaled(&end);
  if (*end != '\0' || value != std::floor(value) || value >= 0x1p53) Fail("the value is not a whole number");
  return static_cast<std::uint64_t>(value);
}

double Arguments::Percent() {
  char* end = nullptr;
  const double value = Scaled(&end);
  if (std::string_view(end) != "%" || value > 100) Fail("a share is written as 10%");
  return value / 100;
}

int Arguments::OneOf(std::initializer_list<std::string_view> choices) {
  const std::string_view text = Text();
  int index = 0;
  for (const std::string_view choice : choices) {
    if (choice == text) return index;
    ++index;
  }
  Fail("not one of the choices");
}

void Arguments::Fail(const char* why) const {
  std::fprintf(stderr, "%s: %.*s: %s\n%s", argv_[0], static_cast<int>(option_.size()), option_.data(), why,
               usage_);
  std::exit(2);
}

}  // namespace memgov::workloads
