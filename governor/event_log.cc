#include "governor/event_log.h"

#include <fmt/format.h>
#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <iterator>
#include <utility>
#include <vector>

#include "governor/core/json.h"
#include "governor/core/printable.h"

namespace memgov {
namespace {

constexpr std::size_t kWaitingLines = 1024;

double SecondsOf(core::Instant at) { return std::chrono::duration<double>(at.time_since_epoch()).count(); }

}  // namespace

EventLine::EventLine(core::Instant at, std::string_view event) : at_(at) {
  json_ = fmt::format("{{\"t\": {:.6f}, \"event\": {}", SecondsOf(at), core::JsonString(event));
}

void EventLine::Key(std::string_view key) {
  fmt::format_to(std::back_inserter(json_), "{}\"{}\": ", first_in_object_ ? "" : ", ", key);
  first_in_object_ = false;
}

EventLine& EventLine::Add(std::string_view key, std::string_view value) {
  Key(key);
  json_ += core::JsonString(value);
  return *this;
}

EventLine& EventLine::Add(std::string_view key, std::int64_t value) {
  Key(key);
  json_ += std::to_string(value);
  return *this;
}

EventLine& EventLine::Add(std::string_view key, double value) {
  Key(key);
  if (std::isfinite(value)) {
    fmt::format_to(std::back_inserter(json_), "{:.6g}", value);
  } else {
    json_ += "null";
  }
  return *this;
}

EventLine& EventLine::BoundBy(LogBudget::Cause cause, std::string tenant) {
  bound_.emplace(cause, std::move(tenant));
  return *this;
}

EventLine& EventLine::BeginObject(std::string_view key) {
  Key(key);
  json_ += '{';
  first_in_object_ = true;
  return *this;
}

EventLine& EventLine::EndObject() {
  json_ += '}';
  first_in_object_ = false;
  return *this;
}

EventLine& EventLine::BeginArray(std::string_view key) {
  Key(key);
  json_ += '[';
  return *this;
}

EventLine& EventLine::BeginItem() {
  if (json_.back() == '}') json_ += ", ";
  json_ += '{';
  first_in_object_ = true;
  return *this;
}

EventLine& EventLine::EndArray() {
  json_ += ']';
  return *this;
}

EventLog::EventLog(LogFormat format) : format_(format) {
  spdlog::init_thread_pool(kWaitingLines, 1);
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  logger_ = std::make_shared<spdlog::async_logger>("memgovd", std::move(sink), spdlog::thread_pool(),
                                                   spdlog::async_overflow_policy::overrun_oldest);
  logger_->set_pattern("%v");
  logger_->flush_on(spdlog::level::info);
}

EventLog::~EventLog() {
  logger_->flush();
  logger_.reset();
  spdlog::shutdown();
}

std::string EventLog::Render(EventLine line, std::string_view sentence, bool warning) const {
  if (format_ == LogFormat::kJson) {
    if (warning) line.Add("level", "warning");
    line.Add("text", sentence);
    return line.json() + "}";
  }
  return fmt::format("{:.3f} {}{}", SecondsOf(line.at()), warning ? "warning: " : "",
                     core::Printable(sentence));
}

bool EventLog::Allows(const EventLine& line, std::size_t bytes) {
  if (!line.bound()) return true;
  const std::lock_guard lock(budgeting_);
  return budget_.Allows(line.bound()->first, line.bound()->second, line.at(), bytes);
}

void EventLog::TellLeftOut(core::Instant now) {
  std::vector<base::Tally::Line> lines;
  {
    const std::lock_guard lock(budgeting_);
    lines = budget_.TakeLeftOut(now);
  }
  for (const base::Tally::Line& left_out : lines) {
    const std::string who = left_out.who.empty() ? "other tenants" : "tenant " + left_out.who;
    EventLine line(now, "left_out");
    line.Add("tenant", left_out.who).Add("lines", static_cast<std::int64_t>(left_out.count));
    Write(std::move(line), fmt::format("{} lines about {} were left out in the last {:.0f} s", left_out.count,
                                       who, SecondsOf(core::Instant(left_out.over))));
  }
}

void EventLog::Write(EventLine line, std::string_view sentence) {
  const std::size_t bytes = line.bytes() + sentence.size();
  if (!Allows(line, bytes)) return;
  logger_->info("{}", Render(std::move(line), sentence, false));
}

void EventLog::Warn(EventLine line, std::string_view sentence) {
  const std::size_t bytes = line.bytes() + sentence.size();
  if (!Allows(line, bytes)) return;
  logger_->warn("{}", Render(std::move(line), sentence, true));
}

}  // namespace memgov
