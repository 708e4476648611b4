// A segment is read as far as it is whole, whatever has happened to its bytes.

#include "governor/journal/segment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "governor/journal/reader.h"
#include "governor/journal/replay.h"
#include "tests/cpp/temporary_directory.h"

namespace memgov::journal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class SegmentTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& bytes, std::uint64_t sequence = 1) const {
    const std::string path = directory_.path() + "/" + SegmentName(sequence);
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    return path;
  }

  static std::string Frame(std::string_view payload) {
    std::string bytes;
    AppendFrame(payload, &bytes);
    return bytes;
  }

  // A start of a daemon and ten ticks.
  static std::string Run(std::int64_t run, std::uint64_t sequence = 1) {
    std::string bytes = SegmentStart({.sequence = sequence, .run_started_ns = run, .memgov_version = "test"});
    std::string payload;
    core::Instant now{std::chrono::hours(1)};
    EncodeKeyframe(now, {}, &payload);
    bytes += Frame(payload);
    for (int i = 0; i < 10; ++i) {
      payload.clear();
      const core::Instant before = std::exchange(now, now + std::chrono::seconds(1));
      EncodeTick(before, now, {.samples = {{.taken_at = now, .usage = i}}}, {}, {}, &payload);
      bytes += Frame(payload);
    }
    return bytes;
  }

  // The payloads, and what is wrong behind them.
  static std::pair<std::vector<std::string>, std::string> Read(const std::string& path) {
    auto reader = SegmentReader::Open(path);
    if (!reader.ok()) return {{}, std::string(reader.status().message())};
    std::vector<std::string> payloads;
    while (const auto payload = reader->Next()) payloads.emplace_back(*payload);
    return {payloads, reader->damage()};
  }

  const TemporaryDirectory directory_;
};

TEST_F(SegmentTest, NamesSortLikeNumbers) {
  EXPECT_EQ(SegmentName(42), "journal-00000042.mgj");
  EXPECT_EQ(SequenceOf("journal-00000042.mgj"), 42u);
  EXPECT_EQ(SequenceOf("journal-123456789.mgj"), 123456789u);
  for (const char* other : {"journal-.mgj", "journal-1.mg", "journal-x1.mgj", "journal--1.mgj", "a", ""}) {
    EXPECT_EQ(SequenceOf(other), std::nullopt) << other;
  }
}

TEST_F(SegmentTest, WhatWasWrittenIsRead) {
  const std::string long_one(1000, 'x');
  const std::string path =
      Write(SegmentStart({.sequence = 3, .run_started_ns = 5, .boot_id = "b", .memgov_version = "1.2"}) +
            Frame("one") + Frame(long_one));
  const auto reader = SegmentReader::Open(path);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(reader->header().sequence, 3u);
  EXPECT_EQ(reader->header().memgov_version, "1.2");
  EXPECT_THAT(Read(path), ::testing::Pair(ElementsAre("one", long_one), ""));
}

TEST_F(SegmentTest, ATornTailKeepsAllBeforeIt) {
  const std::string start = SegmentStart({.sequence = 1}) + Frame("one");
  const std::string whole = start + Frame("two");
  for (std::size_t size = start.size() + 1; size < whole.size(); ++size) {
    const auto [payloads, damage] = Read(Write(whole.substr(0, size)));
    EXPECT_THAT(payloads, ElementsAre("one"));
    EXPECT_THAT(damage, HasSubstr("a record is cut off at byte " + std::to_string(start.size())));
  }
}

TEST_F(SegmentTest, ZerosThatAFileSystemLeftAreNoRecords) {
  const auto [payloads, damage] =
      Read(Write(SegmentStart({.sequence = 1}) + Frame("one") + std::string(4096, '\0')));
  EXPECT_THAT(payloads, ElementsAre("one"));
  EXPECT_THAT(damage, HasSubstr("the length of a record is garbled"));
}

TEST_F(SegmentTest, AFlippedBitIsNoticed) {
  std::string bytes = SegmentStart({.sequence = 1}) + Frame("one") + Frame("two");
  bytes.back() = static_cast<char>(bytes.back() ^ 4);
  const auto [payloads, damage] = Read(Write(bytes));
  EXPECT_THAT(payloads, ElementsAre("one"));
  EXPECT_THAT(damage, HasSubstr("a record does not have its checksum"));
}

TEST_F(SegmentTest, WhatIsNoSegmentIsSaidToBeNone) {
  EXPECT_THAT(Read(Write("#!/bin/sh\n")).second, HasSubstr("not a segment of a memgov journal"));
  EXPECT_THAT(Read(Write("")).second, HasSubstr("empty"));
  EXPECT_THAT(Read(Write("mem")).second, HasSubstr("cut off in its header"));
  EXPECT_THAT(Read(Write("memgovJ\x01")).second, HasSubstr("cut off in its header"));
  EXPECT_THAT(Read(Write("memgovJ\x02 who knows")).second,
              HasSubstr("in format 2; this memgov reads format 1"));
  EXPECT_THAT(Read(directory_.path() + "/none").second, HasSubstr("No such file"));
}

TEST_F(SegmentTest, ADamagedSegmentDoesNotHideTheNext) {
  const std::string first = Run(7);
  Write(first.substr(0, first.size() - 3), 1);
  Write("garbage", 2);
  Write(Run(8, 3), 3);
  const auto result = Replay(directory_.path());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->runs, 2u);
  EXPECT_EQ(result->ticks, 19u);
  EXPECT_THAT(result->troubles, ElementsAre(HasSubstr("00000001.mgj: a record is cut off"),
                                            HasSubstr("00000002.mgj: not a segment")));
}

TEST_F(SegmentTest, AnEmptyDirectoryIsNoJournal) {
  EXPECT_THAT(std::string(Replay(directory_.path()).status().message()), HasSubstr("no journal-*.mgj in it"));
  EXPECT_THAT(std::string(Replay(directory_.path() + "/none").status().message()), HasSubstr("No such file"));
}

// Whatever happens to the bytes: what is before the damage is read, the other segment too, nothing crashes.
TEST_F(SegmentTest, RandomDamage) {
  std::mt19937_64 random(1);
  const std::string whole = Run(7);
  Write(Run(8, 2), 2);
  for (int i = 0; i < 500; ++i) {
    std::string bytes = whole;
    const std::size_t at = random() % bytes.size();
    if (random() % 2 == 0) {
      bytes.resize(at);
    } else {
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
    }
    Write(bytes, 1);
    const auto result = Replay(directory_.path());
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_GE(result->ticks, 10u);
    EXPECT_LE(result->ticks, 20u);
    // A segment that ends between two records is not damaged, only short.
    if (result->ticks + result->unjudged_ticks < 20 && bytes.size() == whole.size()) {
      EXPECT_THAT(result->troubles, ::testing::Not(IsEmpty()));
    }
  }
}

}  // namespace
}  // namespace memgov::journal
