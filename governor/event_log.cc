#include "governor/event_log.h"

#include <fmt/format.h>
#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <iterator>
#include <utility>

namespace memgov {
namespace {

constexpr std::size_t kWaitingLines = 1024;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Length of the UTF-8 sequence at the front of `text`, 0 when there is none.
std::size_t SequenceLength(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(0) < 0x80 ? 1 : byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : 2;
  if (byte(0) >= 0x80 && (byte(0) < 0xC2 || byte(0) > 0xF4)) return 0;
  if (text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, surrogates and what lies above U+10FFFF.
  if ((byte(0) == 0xE0 && byte(1) < 0xA0) || (byte(0) == 0xED && byte(1) > 0x9F) ||
      (byte(0) == 0xF0 && byte(1) < 0x90) || (byte(0) == 0xF4 && byte(1) > 0x8F)) {
    return 0;
  }
  return length;
}

double SecondsOf(core::Instant at) { return std::chrono::duration<double>(at.time_since_epoch()).count(); }

}  // namespace

std::string JsonEscaped(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 2);
  while (!text.empty()) {
    const char c = text.front();
    const std::size_t length = SequenceLength(text);
    if (length == 0) {
      out += kReplacement;
      text.remove_prefix(1);
      continue;
    }
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return out;
}

EventLine::EventLine(core::Instant at, std::string_view event) : at_(at) {
  json_ = fmt::format("{{\"t\": {:.6f}, \"event\": \"{}\"", SecondsOf(at), JsonEscaped(event));
}

void EventLine::Key(std::string_view key) {
  fmt::format_to(std::back_inserter(json_), "{}\"{}\": ", first_in_object_ ? "" : ", ", key);
  first_in_object_ = false;
}

EventLine& EventLine::Add(std::string_view key, std::string_view value) {
  Key(key);
  fmt::format_to(std::back_inserter(json_), "\"{}\"", JsonEscaped(value));
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
  return fmt::format("{:.3f} {}{}", SecondsOf(line.at()), warning ? "warning: " : "", sentence);
}

void EventLog::Write(EventLine line, std::string_view sentence) {
  logger_->info("{}", Render(std::move(line), sentence, false));
}

void EventLog::Warn(EventLine line, std::string_view sentence) {
  logger_->warn("{}", Render(std::move(line), sentence, true));
}

}  // namespace memgov
