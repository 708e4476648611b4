#include "governor/journal/show.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <iterator>
#include <map>
#include <string_view>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "governor/core/json.h"
#include "governor/journal/record_tables.h"

namespace memgov::journal {
namespace {

constexpr std::int64_t kNanoseconds = 1'000'000'000;

std::string SecondsOf(core::Duration time) {
  const std::int64_t count = time.count();
  return fmt::format("{}{}.{:09}", count < 0 ? "-" : "", std::abs(count / kNanoseconds),
                     std::abs(count % kNanoseconds));
}

template <Scalar T>
std::string TextOf(const T& value) {
  if constexpr (std::is_same_v<T, core::Instant>) {
    return SecondsOf(value.time_since_epoch());
  } else if constexpr (std::is_same_v<T, core::Duration>) {
    return SecondsOf(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_same_v<T, double>) {
    return std::isfinite(value) ? fmt::format("{}", value) : fmt::format("\"{}\"", value);
  } else if constexpr (Word<T>) {
    return core::JsonString(NameOf(value));
  } else if constexpr (std::is_enum_v<T>) {
    return fmt::format("{}", static_cast<std::underlying_type_t<T>>(value));
  } else {
    return fmt::format("{}", value);
  }
}

template <typename T>
void AddJson(const T& value, std::string* out);

template <typename T>
void AddMember(std::string_view name, const T& value, std::string* out) {
  if constexpr (kIsOptional<T>) {
    if (value) AddMember(name, *value, out);
  } else {
    if constexpr (kIsVector<T>) {
      if (value.empty()) return;
    }
    fmt::format_to(std::back_inserter(*out), "{}\"{}\": ", out->back() == '{' ? "" : ", ", name);
    AddJson(value, out);
  }
}

template <typename T>
void AddJson(const T& value, std::string* out) {
  if constexpr (Scalar<T>) {
    *out += TextOf(value);
  } else if constexpr (std::is_same_v<T, std::string>) {
    *out += core::JsonString(value);
  } else if constexpr (kIsVector<T>) {
    *out += '[';
    for (const auto& item : value) {
      if (out->back() != '[') *out += ", ";
      AddJson(item, out);
    }
    *out += ']';
  } else if constexpr (kIsVariant<T>) {
    *out += '{';
    std::visit([&](const auto& held) { AddMember(kAlternatives<T>[value.index()], held, out); }, value);
    *out += '}';
  } else {
    *out += '{';
    ForEachField<T>([&](const auto& field) { AddMember(field.name, value.*field.member, out); });
    *out += '}';
  }
}

// Every scalar in a value with its path.
using Leaves = std::vector<std::pair<std::string, std::string>>;

template <typename T>
void AddLeaves(const std::string& path, const T& value, Leaves* leaves) {
  if constexpr (Scalar<T>) {
    leaves->emplace_back(path, TextOf(value));
  } else if constexpr (std::is_same_v<T, std::string>) {
    // Not as JSON, which shows all bytes that are no text alike.
    leaves->emplace_back(path, absl::StrCat("\"", absl::CHexEscape(value), "\""));
  } else if constexpr (kIsOptional<T>) {
    if (value) AddLeaves(path, *value, leaves);
  } else if constexpr (kIsVector<T>) {
    std::size_t index = 0;
    for (const auto& item : value) AddLeaves(absl::StrCat(path, "[", index++, "]"), item, leaves);
  } else if constexpr (kIsVariant<T>) {
    const std::string name(kAlternatives<T>[value.index()]);
    std::visit([&](const auto& held) { AddLeaves(absl::StrCat(path, ".", name), held, leaves); }, value);
  } else {
    ForEachField<T>([&](const auto& field) {
      const std::string name(field.name);
      AddLeaves(path.empty() ? name : absl::StrCat(path, ".", name), value.*field.member, leaves);
    });
  }
}

}  // namespace

std::string JsonOf(const Record& record) {
  std::string out = fmt::format("{{\"now\": {}", TextOf(record.now));
  if (const auto* keyframe = std::get_if<Keyframe>(&record.what)) {
    AddMember("keyframe", *keyframe, &out);
  } else if (const auto* policy = std::get_if<core::Policy>(&record.what)) {
    AddMember("policy", *policy, &out);
  } else if (const auto* levers = std::get_if<core::KernelLevers>(&record.what)) {
    AddMember("kernel_levers", *levers, &out);
  } else {
    const Tick& tick = std::get<Tick>(record.what);
    out += ", \"tick\": {";
    AddMember("snapshot", tick.snapshot, &out);
    AddMember("events", tick.events, &out);
    if (const auto decisions = DecodeDecisions(record.now, tick.decisions); decisions.ok()) {
      AddMember("decisions", *decisions, &out);
    }
    out += '}';
  }
  return out + '}';
}

std::vector<std::string> DifferenceOf(const core::Decisions& recorded, const core::Decisions& replayed,
                                      std::size_t most) {
  Leaves left;
  Leaves right;
  AddLeaves("", recorded, &left);
  AddLeaves("", replayed, &right);
  const std::map<std::string, std::string> others(right.begin(), right.end());
  std::vector<std::string> lines;
  for (const auto& [path, text] : left) {
    const auto other = others.find(path);
    if (other == others.end()) {
      lines.push_back(absl::StrCat(path, ": recorded ", text, ", replayed nothing"));
    } else if (other->second != text) {
      lines.push_back(absl::StrCat(path, ": recorded ", text, ", replayed ", other->second));
    }
  }
  const std::map<std::string, std::string> known(left.begin(), left.end());
  for (const auto& [path, text] : right) {
    if (!known.contains(path)) lines.push_back(absl::StrCat(path, ": recorded nothing, replayed ", text));
  }
  if (lines.size() > most) {
    const std::size_t more = lines.size() - most;
    lines.resize(most);
    lines.push_back(absl::StrCat("and ", more, " more"));
  }
  return lines;
}

}  // namespace memgov::journal
