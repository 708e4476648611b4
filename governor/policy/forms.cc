#include "governor/policy/forms.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/time/time.h"
#include "governor/core/units.h"
#include "governor/policy/error_list.h"
#include "governor/policy/suggest.h"

namespace memgov::policy {
namespace {

struct ByteUnit {
  std::string_view name;
  core::Bytes bytes;
};
constexpr std::array<ByteUnit, 5> kByteUnits{
    {{"B", 1}, {"KiB", core::kKiB}, {"MiB", core::kMiB}, {"GiB", core::kGiB}, {"TiB", 1024 * core::kGiB}}};

constexpr std::size_t kNone = std::string_view::npos;
constexpr std::size_t kLongestGlob = 256;
constexpr std::size_t kLongestName = 63;
constexpr std::size_t kLongestNameGlob = 253;

absl::Status Wrong(std::string_view text, std::string_view why, std::string_view hint) {
  return absl::InvalidArgumentError(fmt::format("{}{}{}", Quoted(text), why, hint));
}

// Digits with at most one point: no sign, no exponent, no "inf" or "nan".
std::optional<double> ParseDecimal(std::string_view text) {
  if (text.find_first_not_of("0123456789.") != kNone || text.starts_with('.')) return std::nullopt;
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

absl::StatusOr<double> ParseNumber(std::string_view text) {
  if (const auto value = ParseDecimal(text)) return *value;
  return Wrong(text, " is not a number such as 2 or 0.5", "");
}

absl::StatusOr<double> ParsePercent(std::string_view text) {
  if (ParseDecimal(text)) return Wrong(text, " has no unit", DidYouMean(fmt::format("{}%", text)));
  if (text.ends_with('%')) {
    if (const auto value = ParseDecimal(text.substr(0, text.size() - 1))) return *value;
  }
  return Wrong(text, " is not a percentage such as 85%", "");
}

// What an author may have meant by a unit of another system: 256Mi, 256MB, 256m, 256mib.
std::string MeantBytes(std::string_view number, std::string_view unit) {
  if (unit.size() > 3) return "";
  for (const ByteUnit& known : kByteUnits) {
    if (known.bytes > 1 &&
        absl::ascii_toupper(static_cast<unsigned char>(unit.front())) == known.name.front()) {
      return DidYouMean(fmt::format("{}{}", number, known.name));
    }
  }
  return "";
}

absl::StatusOr<double> ParseBytes(std::string_view text) {
  const std::size_t end = std::min(text.find_first_not_of("0123456789."), text.size());
  const auto value = ParseDecimal(text.substr(0, end));
  if (!value) return Wrong(text, " is not a size such as 256MiB", "");
  const std::string_view unit = text.substr(end);
  for (const ByteUnit& known : kByteUnits) {
    if (unit == known.name) return *value * static_cast<double>(known.bytes);
  }
  if (!unit.empty()) {
    return Wrong(text, " is not a size such as 256MiB", MeantBytes(text.substr(0, end), unit));
  }
  if (*value == 0) return 0.0;
  return Wrong(text, " has no unit; write for example 256MiB", "");
}

absl::StatusOr<double> ParseDuration(std::string_view text) {
  if (ParseDecimal(text)) return Wrong(text, " has no unit; write for example 250ms, 30s or 5m", "");
  absl::Duration duration;
  // absl takes "inf" and negative durations too.
  if (!absl::ParseDuration(absl::string_view(text.data(), text.size()), &duration) ||
      duration < absl::ZeroDuration() || duration == absl::InfiniteDuration()) {
    return Wrong(text, " is not a duration such as 250ms, 30s or 5m", "");
  }
  return absl::ToDoubleNanoseconds(duration);
}

absl::Status CheckGlob(std::string_view text) {
  if (text.empty()) return absl::InvalidArgumentError("the glob is empty; write \"/**\" for every cgroup");
  if (text.size() > kLongestGlob) {
    return Wrong(text, fmt::format(" is longer than {} bytes", kLongestGlob), "");
  }
  if (text.front() != '/' && !text.starts_with("**")) {
    return Wrong(text, " must begin with / or **", DidYouMean(fmt::format("/{}", text)));
  }
  if (const std::size_t at = text.find_first_of("?[]{}"); at != kNone) {
    return Wrong(text, fmt::format(" has a {}; only * and ** are wild", text.substr(at, 1)), "");
  }
  if (text.find("***") != kNone) return Wrong(text, " has more than two stars in a row", "");
  if (text.find("//") != kNone) return Wrong(text, " has an empty name between slashes", "");
  if (text.size() > 1 && text.back() == '/') {
    return Wrong(text, " ends with a slash, so no path matches it",
                 DidYouMean(fmt::format("{}/**", text.substr(0, text.size() - 1))));
  }
  return absl::OkStatus();
}

absl::Status CheckName(std::string_view text) {
  const auto fits = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
  };
  if (text.empty()) return absl::InvalidArgumentError("the name is empty");
  if (text.size() > kLongestName) {
    return Wrong(text, fmt::format(" is longer than {} bytes", kLongestName), "");
  }
  if (!std::all_of(text.begin(), text.end(), fits) ||
      !absl::ascii_isalnum(static_cast<unsigned char>(text.front()))) {
    return Wrong(text, " is no name: letters, digits, '-', '_' and '.', a letter or digit first", "");
  }
  return absl::OkStatus();
}

// Pods have the longest names that Kubernetes allows. Capitals and underscores are common mistakes.
absl::Status CheckNameGlob(std::string_view text) {
  const auto fits = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return absl::ascii_islower(byte) || absl::ascii_isdigit(byte) || c == '-' || c == '.' || c == '*';
  };
  if (text.empty()) return absl::InvalidArgumentError("the name is empty; leave the key out for any");
  if (text.size() > kLongestNameGlob) {
    return Wrong(text, fmt::format(" is longer than {} bytes", kLongestNameGlob), "");
  }
  if (!std::all_of(text.begin(), text.end(), fits)) {
    std::string meant = absl::AsciiStrToLower(std::string(text));
    std::replace(meant.begin(), meant.end(), '_', '-');
    const bool possible = std::all_of(meant.begin(), meant.end(), fits);
    return Wrong(text,
                 " can be no name in Kubernetes: lower case letters, digits, '-', '.', and * for any part",
                 possible ? DidYouMean(meant) : "");
  }
  if (text.find("**") != kNone) return Wrong(text, " has more than one star in a row", "");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<double> ParseQuantity(Form form, std::string_view text) {
  switch (form) {
    case v1::KeyOptions::FORM_BYTES:
      return ParseBytes(text);
    case v1::KeyOptions::FORM_PERCENT:
      return ParsePercent(text);
    case v1::KeyOptions::FORM_DURATION:
      return ParseDuration(text);
    case v1::KeyOptions::FORM_NUMBER:
      return ParseNumber(text);
    default:
      return absl::InternalError("not the form of a quantity");
  }
}

absl::Status CheckForm(Form form, std::string_view text) {
  if (form == v1::KeyOptions::FORM_GLOB) return CheckGlob(text);
  if (form == v1::KeyOptions::FORM_NAME) return CheckName(text);
  if (form == v1::KeyOptions::FORM_NAME_GLOB) return CheckNameGlob(text);
  return absl::OkStatus();
}

}  // namespace memgov::policy
