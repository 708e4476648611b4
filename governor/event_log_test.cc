#include "governor/event_log.h"

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

}  // namespace
}  // namespace memgov
