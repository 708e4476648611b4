#include "governor/core/explain.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "governor/core/words.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;

TEST(Explain, AUsageReasonIsOneSentence) {
  EXPECT_EQ(TextOf(Reason{.rule = "default",
                          .signal = Signal::kUsage,
                          .observed = 86.21,
                          .threshold = 85,
                          .held = milliseconds(12)}),
            "rule default: usage 86.2 % of the limit, threshold 85 %, for 12 ms");
}

TEST(Explain, AForecastReasonIsOneSentence) {
  EXPECT_EQ(TextOf(Reason{.rule = "pods",
                          .signal = Signal::kTimeToLimit,
                          .observed = 0.42,
                          .threshold = 1,
                          .held = milliseconds(3)}),
            "rule pods: 0.42 s to the limit at the present growth, threshold 1.00 s, for 3 ms");
}

TEST(Explain, BytesArePrintedForPeople) {
  EXPECT_EQ(TextOf(Bytes{0}), "0 B");
  EXPECT_EQ(TextOf(Bytes{1023}), "1023 B");
  EXPECT_EQ(TextOf(1536 * Bytes{1}), "1.5 KiB");
  EXPECT_EQ(TextOf(61 * kMiB + 400 * kKiB), "61.4 MiB");
  EXPECT_EQ(TextOf(5 * kGiB), "5120.0 MiB");
  EXPECT_EQ(TextOf(12 * kGiB), "12.0 GiB");
  EXPECT_EQ(TextOf(-3 * kMiB), "-3.0 MiB");
  EXPECT_EQ(TextOf(std::numeric_limits<Bytes>::min()), "-8589934592.0 GiB");
}

TEST(Explain, EveryNoteHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (int kind = 0; kind <= static_cast<int>(NoteKind::kOomKill); ++kind) {
    names.insert(NameOf(static_cast<NoteKind>(kind)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(NoteKind::kOomKill) + 1);
  EXPECT_FALSE(names.contains("unknown"));
}

TEST(Explain, ActionsLevelsAndSignalsHaveTheWordsOfTheProtocol) {
  EXPECT_EQ(NameOf(Action{SetReleaseMode{}}), "set_release_mode");
  EXPECT_EQ(NameOf(Action{SetSoftLimit{}}), "set_soft_limit");
  EXPECT_EQ(NameOf(Action{Release{}}), "release");
  EXPECT_EQ(NameOf(Action{Collect{}}), "collect");
  EXPECT_EQ(NameOf(Action{Shed{}}), "shed");
  EXPECT_EQ(NameOf(Level::kCalm), "calm");
  EXPECT_EQ(NameOf(Level::kWake), "wake");
  EXPECT_EQ(NameOf(Level::kCritical), "critical");
  EXPECT_EQ(NameOf(Signal::kUsage), "usage");
  EXPECT_EQ(NameOf(Signal::kTimeToLimit), "time_to_limit");
  EXPECT_EQ(NameOf(Signal::kStall), "stall");
  EXPECT_EQ(NameOf(Signal::kSoftLimit), "soft_limit");
  EXPECT_EQ(NameOf(Signal::kCalm), "calm");
}

}  // namespace
}  // namespace memgov::core
