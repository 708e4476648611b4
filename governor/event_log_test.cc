#include "governor/event_log.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace memgov {
namespace {

EventLine Line() { return EventLine(core::Instant(std::chrono::seconds(1)), "x"); }

TEST(EventLineTest, NestsObjectsAndArraysOfThem) {
  EventLine line = Line();
  line.BeginArray("none").EndArray().BeginArray("some");
  for (std::int64_t i = 0; i < 2; ++i) line.BeginItem().Add("i", i).Add("s", "a").EndObject();
  line.EndArray().BeginObject("o").Add("d", 0.5).EndObject().Add("last", "z");
  EXPECT_EQ(line.json() + "}",
            R"({"t": 1.000000, "event": "x", "none": [], "some": [{"i": 0, "s": "a"}, {"i": 1, "s": "a"}], )"
            R"("o": {"d": 0.5}, "last": "z"})");
}

TEST(EventLineTest, NamesCannotBreakOutOfTheirString) {
  EventLine line = Line();
  line.Add("k", "\"}\n\\\xff");
  EXPECT_EQ(line.json(), "{\"t\": 1.000000, \"event\": \"x\", \"k\": \"\\\"}\\u000a\\\\\xEF\xBF\xBD\"");
}

// What the log writes to stderr by its end.
std::string Written(LogFormat format, const std::function<void(EventLog*)>& write) {
  testing::internal::CaptureStderr();
  {
    EventLog log(format);
    write(&log);
  }
  return testing::internal::GetCapturedStderr();
}

TEST(EventLogTest, TextOfOthersForgesNoLine) {
  const auto write = [](EventLog* log) {
    log->Write(Line(), "killed x\n9.9 stopped\x1b[2J\u009b\u202e\xff");
    log->Warn(Line(), "a\rb");
  };
  EXPECT_EQ(Written(LogFormat::kText, write),
            "1.000 killed x\\n9.9 stopped\\x1b[2J\\u{9b}\\u{202e}\\xff\n1.000 warning: a\\rb\n");
  const std::string json = Written(LogFormat::kJson, write);
  EXPECT_EQ(std::count(json.begin(), json.end(), '\n'), 2);
  EXPECT_EQ(json.find('\x1b'), std::string::npos);
}

TEST(EventLogTest, WhatATenantBringsAboutIsBoundAndCounted) {
  const std::string out = Written(LogFormat::kText, [](EventLog* log) {
    for (int i = 0; i < 5000; ++i) {
      EventLine line = Line();
      log->Write(std::move(line.BoundBy(LogBudget::Cause::kConnection, "/evil")), "evil");
      if (i % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));  // a bounded queue
    }
    EventLine line = Line();
    log->Write(std::move(line.BoundBy(LogBudget::Cause::kConnection, "/good")), "good");
    log->TellLeftOut(Line().at());
    log->TellLeftOut(Line().at() + std::chrono::seconds(10));
  });
  EXPECT_NE(out.find("1.000 good\n"), std::string::npos);
  EXPECT_NE(out.find("11.000 3500 lines about tenant /evil were left out in the last 10 s\n"),
            std::string::npos)
      << out.substr(out.size() - 200);
}

}  // namespace
}  // namespace memgov
