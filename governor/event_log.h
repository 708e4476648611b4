// The governor's running record on stderr: one line per event, for people or as JSON for machines.
//
// Writing never blocks the control thread: lines go through a bounded queue to a thread of their own, and
// when the reader of our stderr is too slow the oldest waiting lines are dropped.
//
// Whatever others named is written so that it can neither forge a line nor command a terminal
// (core/printable.h).

#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "governor/core/units.h"
#include "governor/log_budget.h"

namespace spdlog {
class logger;
}

namespace memgov {

enum class LogFormat { kText, kJson };

// One event under construction. Fields come out in the order of adding; JSON has them all, text has the time
// and the sentence.
class EventLine {
 public:
  EventLine(core::Instant at, std::string_view event);
  EventLine& Add(std::string_view key, std::string_view value);
  EventLine& Add(std::string_view key, std::int64_t value);
  EventLine& Add(std::string_view key, double value);
  // A nested object, "key": {...}; fields added until EndObject belong to it.
  EventLine& BeginObject(std::string_view key);
  EventLine& EndObject();
  // "key": [...], of objects: each between BeginItem and EndObject.
  EventLine& BeginArray(std::string_view key);
  EventLine& BeginItem();
  EventLine& EndArray();

  // A tenant can bring this line about as often as it likes: it counts in its budget (log_budget.h), and is
  // left out where that is used up.
  EventLine& BoundBy(LogBudget::Cause cause, std::string tenant);

  core::Instant at() const { return at_; }
  const std::optional<std::pair<LogBudget::Cause, std::string>>& bound() const { return bound_; }
  std::size_t bytes() const { return json_.size(); }  // so far, as JSON
  // The object without its closing brace.
  const std::string& json() const { return json_; }

 private:
  void Key(std::string_view key);

  core::Instant at_;
  std::string json_;
  std::optional<std::pair<LogBudget::Cause, std::string>> bound_;
  bool first_in_object_ = false;
};

// The message of a status: Abseil's string_view is a type of its own in Debian's build.
inline std::string TextOf(const absl::Status& status) { return std::string(status.message()); }

class EventLog {
 public:
  explicit EventLog(LogFormat format);
  ~EventLog();  // writes out what waits
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // `sentence` is for people; JSON carries it as "text". Any thread.
  void Write(EventLine line, std::string_view sentence);
  void Warn(EventLine line, std::string_view sentence);

  // Says how many lines of whom were left out, where that is due. Once a second or so.
  void TellLeftOut(core::Instant now);

  LogFormat format() const { return format_; }

 private:
  bool Allows(const EventLine& line, std::size_t bytes);
  std::string Render(EventLine line, std::string_view sentence, bool warning) const;

  const LogFormat format_;
  std::mutex budgeting_;
  LogBudget budget_;  // guarded by budgeting_
  std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace memgov
