// What a client of memgov sends passes, each known flood ends, however the bytes are cut.

#include "governor/base/frame_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace memgov::base {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr core::Instant kStart{seconds(100)};
constexpr char kMagic[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr int kEndStream = 0x1, kAck = 0x1, kEndHeaders = 0x4;
enum { kData, kHeaders, kPriority, kReset, kSettings, kPush, kPing, kGoaway, kWindowUpdate, kContinuation };

std::string Frame(int type, int flags, std::size_t length, int stream = 1) {
  std::string frame;
  for (const std::size_t byte : {length >> 16, length >> 8, length}) frame.push_back(static_cast<char>(byte));
  frame.push_back(static_cast<char>(type));
  frame.push_back(static_cast<char>(flags));
  for (const int shift : {24, 16, 8, 0}) frame.push_back(static_cast<char>(stream >> shift));
  return frame + std::string(length, 'x');
}

std::string Repeat(const std::string& frame, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += frame;
  return all;
}

std::string Greeting() {
  return kMagic + Frame(kSettings, 0, 18, 0) + Frame(kSettings, kAck, 0, 0) + Frame(kWindowUpdate, 0, 4, 0) +
         Frame(kHeaders, kEndHeaders, 200);
}

TEST(FrameGuard, PassesADayOfAClient) {
  FrameGuard guard;
  ASSERT_EQ(guard.Take(Greeting(), kStart), absl::OkStatus());
  for (int second = 0; second < 86400; second += 10) {
    const core::Instant now = kStart + seconds(second);
    // Ten reports, a directive with its ping, window updates and outcome.
    ASSERT_EQ(guard.Take(Repeat(Frame(kData, 0, 60), 11), now), absl::OkStatus()) << second;
    ASSERT_EQ(guard.Take(Frame(kPing, 0, 8, 0) + Repeat(Frame(kWindowUpdate, 0, 4), 4), now),
              absl::OkStatus());
  }
  EXPECT_EQ(guard.Take(Frame(kData, kEndStream, 0), kStart + seconds(86400)), absl::OkStatus());
}

TEST(FrameGuard, CountsFramesAlsoWhereTheyAreCut) {
  const std::string bytes = Greeting() + Frame(kData, 0, 300) + Frame(kPing, 0, 8);
  FrameGuard whole, cut;
  ASSERT_EQ(whole.Take(bytes, kStart), absl::OkStatus());
  for (const char byte : bytes) ASSERT_EQ(cut.Take({&byte, 1}, kStart), absl::OkStatus());
  EXPECT_EQ(whole.frames(), 6u);
  EXPECT_EQ(cut.frames(), 6u);
}

TEST(FrameGuard, OnlyHttp2Passes) {
  for (const std::string& bytes : {std::string("GET / HTTP/1.1\r\n"), std::string(3, '\x16'),
                                   std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\rX")}) {
    FrameGuard guard;
    EXPECT_THAT(guard.Take(bytes, kStart).message(), HasSubstr("not HTTP/2")) << bytes;
    EXPECT_FALSE(guard.Take(Greeting(), kStart).ok()) << "it stays refused";
  }
}

struct Flood {
  const char* name;
  std::string frames;
  int passes;  // so many times at once
};

TEST(FrameGuard, EachFloodEnds) {
  const Flood floods[] = {
      {"calls", Frame(kHeaders, kEndHeaders, 100), 15},  // the greeting had one
      {"calls", Frame(kHeaders, kEndHeaders | kEndStream, 100), 15},
      {"calls", Frame(kHeaders, kEndHeaders, 100) + Frame(kReset, 0, 4), 15},
      {"RST_STREAM", Frame(kReset, 0, 4), 16},
      {"SETTINGS", Frame(kSettings, 0, 6, 0), 14},
      {"SETTINGS", Frame(kSettings, kAck, 0, 0), 14},
      {"PING", Frame(kPing, 0, 8, 0), 64},
      {"PING", Frame(kPing, kAck, 8, 0), 64},
      {"WINDOW_UPDATE", Frame(kWindowUpdate, 0, 4), 255},
      {"empty DATA", Frame(kData, 0, 0), 16},
      {"no client of memgov", Frame(kPriority, 0, 5), 16},
      {"no client of memgov", Frame(kGoaway, 0, 8, 0), 16},
      {"no client of memgov", Frame(200, 0, 0, 0), 16},
      {"PUSH_PROMISE", Frame(kPush, kEndHeaders, 50), 0},
  };
  for (const Flood& flood : floods) {
    FrameGuard guard;
    ASSERT_EQ(guard.Take(Greeting(), kStart), absl::OkStatus());
    EXPECT_EQ(guard.Take(Repeat(flood.frames, flood.passes), kStart), absl::OkStatus()) << flood.name;
    EXPECT_THAT(guard.Take(flood.frames, kStart).message(), HasSubstr(flood.name));
  }
}

TEST(FrameGuard, ARateThatIsLowPassesForEver) {
  FrameGuard guard;
  ASSERT_EQ(guard.Take(Greeting(), kStart), absl::OkStatus());
  for (int i = 1; i < 2000; ++i) {
    const core::Instant now = kStart + i * milliseconds(1100);
    ASSERT_EQ(guard.Take(Frame(kSettings, 0, 6, 0) + Frame(kHeaders, kEndHeaders, 100) + Frame(kReset, 0, 4) +
                             Frame(kData, 0, 0),
                         now),
              absl::OkStatus())
        << i;
  }
}

TEST(FrameGuard, AHeaderBlockIsBounded) {
  const std::string open = kMagic + Frame(kSettings, 0, 0, 0);
  FrameGuard endless;
  ASSERT_EQ(endless.Take(open + Frame(kHeaders, 0, 10), kStart), absl::OkStatus());
  EXPECT_EQ(endless.Take(Repeat(Frame(kContinuation, 0, 0), 4), kStart), absl::OkStatus());
  EXPECT_THAT(endless.Take(Frame(kContinuation, 0, 0), kStart).message(), HasSubstr("CONTINUATION"));

  FrameGuard large;
  ASSERT_EQ(large.Take(open + Frame(kHeaders, 0, 8000), kStart), absl::OkStatus());
  EXPECT_THAT(large.Take(Frame(kContinuation, kEndHeaders, 193).substr(0, 9), kStart).message(),
              HasSubstr("a header block of 8193 bytes"))
      << "refused before the bytes have come";

  FrameGuard whole;
  EXPECT_EQ(whole.Take(open + Frame(kHeaders, 0, 8000) + Frame(kContinuation, kEndHeaders, 192), kStart),
            absl::OkStatus());
  EXPECT_FALSE(whole.Take(Frame(kContinuation, kEndHeaders, 1), kStart).ok()) << "the block has ended";

  FrameGuard interrupted;
  EXPECT_FALSE(interrupted.Take(open + Frame(kHeaders, 0, 10) + Frame(kData, 0, 1), kStart).ok());
}

TEST(FrameGuard, FramesAndSettingsAreBounded) {
  FrameGuard frame;
  EXPECT_THAT(frame.Take(kMagic + Frame(kData, 0, 16385).substr(0, 9), kStart).message(),
              HasSubstr("a frame of 16385 bytes"));
  FrameGuard settings;
  EXPECT_FALSE(settings.Take(kMagic + Frame(kSettings, 0, 33 * 6, 0), kStart).ok());
}

TEST(FrameGuard, CuttingChangesNoVerdict) {
  std::minstd_rand random(1);
  for (int round = 0; round < 200; ++round) {
    std::string bytes = kMagic;
    for (int i = 0; i < 60; ++i) {
      bytes += Frame(static_cast<int>(random() % 11), static_cast<int>(random() % 8), random() % 40);
    }
    FrameGuard whole, cut;
    const absl::Status expected = whole.Take(bytes, kStart);
    absl::Status got;
    for (std::size_t at = 0; at < bytes.size() && got.ok();) {
      const std::size_t size = 1 + random() % 30;
      got = cut.Take(absl::string_view(bytes).substr(at, size), kStart);
      at += size;
    }
    ASSERT_EQ(got, expected) << round;
    ASSERT_EQ(cut.frames(), whole.frames()) << round;
  }
}

}  // namespace
}  // namespace memgov::base
