#include "governor/kernel/parse.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using core::kMiB;

TEST(ParseBytesTest, IsOneNumberAndALineEnd) {
  EXPECT_EQ(ParseBytes("0\n"), 0);
  EXPECT_EQ(ParseBytes("1073741824\n"), 1073741824);
  EXPECT_EQ(ParseBytes("1152921504606846976\n"), core::kMostBytes);
}

// Sums of what is read must stay in range, whatever a limit is set to.
TEST(ParseBytesTest, RefusesMoreThanAnyMachineHas) {
  EXPECT_EQ(ParseBytes("1152921504606846977\n"), std::nullopt);
  EXPECT_EQ(ParseBytes("9223372036854775807\n"), std::nullopt);
  EXPECT_EQ(ParseMemInfo("MemTotal: 9007199254740991 kB\nMemAvailable: 1 kB\nSwapFree: 1 kB\n").has_value(),
            false);
}

TEST(ParseBytesTest, RefusesWhatTheKernelDoesNotWrite) {
  for (const char* text : {"", "\n", "12", "12 \n", " 12\n", "-1\n", "+1\n", "0x10\n", "12\n13\n", "12\n\n",
                           "max\n", "1e3\n", "9223372036854775808\n", "18446744073709551616\n",
                           "99999999999999999999999999999999999999999999\n"}) {
    EXPECT_EQ(ParseBytes(text), std::nullopt) << text;
  }
  EXPECT_EQ(ParseBytes(std::string_view("1\0\n", 3)), std::nullopt);
}

TEST(ParseLimitTest, MaxAndPageCounterMaxAreNoLimit) {
  EXPECT_EQ(ParseLimit("max\n"), Limit{});
  EXPECT_EQ(ParseLimit("9223372036854771712\n"), Limit{});  // 4 KiB pages
  EXPECT_EQ(ParseLimit("9223372036854710272\n"), Limit{});  // 64 KiB pages
  EXPECT_EQ(ParseLimit("104857600\n"), Limit{.bytes = 100 * kMiB});
  EXPECT_EQ(ParseLimit("0\n"), Limit{.bytes = 0});
  // Somebody's value all the same, which is not to be written over; but nothing can reach it.
  EXPECT_EQ(ParseLimit("9223372036854600000\n"), Limit{.bytes = 9223372036854600000});
  EXPECT_EQ(ParseLimit("9223372036854600000\n")->Reachable(), std::nullopt);
  EXPECT_EQ(ParseLimit("9223372036854775808\n"), std::nullopt);
  EXPECT_EQ(ParseLimit("104857600\n")->Reachable(), 100 * kMiB);
  for (const char* text : {"", "max", "max\n\n", "Max\n", "ma\n", "-1\n", "10M\n"}) {
    EXPECT_EQ(ParseLimit(text), std::nullopt) << text;
  }
}

class ParseMemoryStatTest : public testing::TestWithParam<MemoryVersion> {};
INSTANTIATE_TEST_SUITE_P(Versions, ParseMemoryStatTest,
                         testing::Values(MemoryVersion::kV1, MemoryVersion::kV2),
                         [](const auto& test) { return test.param == MemoryVersion::kV1 ? "V1" : "V2"; });

TEST_P(ParseMemoryStatTest, TakesTheHierarchicalFields) {
  const auto stat = ParseMemoryStat(GetParam(), StatText(GetParam()));
  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->anon, 1 * kMiB);
  EXPECT_EQ(stat->file, 2 * kMiB);
  EXPECT_EQ(stat->shmem, 3 * kMiB);
  EXPECT_EQ(stat->inactive_anon, 4 * kMiB);
  EXPECT_EQ(stat->active_anon, 5 * kMiB);
  EXPECT_EQ(stat->inactive_file, 6 * kMiB);
  EXPECT_EQ(stat->active_file, 7 * kMiB);
  EXPECT_EQ(stat->unevictable, 8 * kMiB);
  EXPECT_EQ(stat->pgmajfault, 9U);
  EXPECT_EQ(stat->workingset_refault_file, 10U);
  EXPECT_EQ(stat->slab, GetParam() == MemoryVersion::kV1 ? std::nullopt : std::optional(11 * kMiB));
}

TEST_P(ParseMemoryStatTest, AnOlderKernelLacksWhatCameLater) {
  std::string text = StatText(GetParam());
  for (const std::string_view line : {"workingset_refault_file 10\n", "slab 11534336\n"}) {
    const std::size_t at = text.find(line);
    if (at == std::string::npos) continue;
    const std::size_t start = text.rfind('\n', at) + 1;
    text.erase(start, at + line.size() - start);
  }
  const auto stat = ParseMemoryStat(GetParam(), text);
  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->workingset_refault_file, std::nullopt);
  EXPECT_EQ(stat->slab, std::nullopt);
  EXPECT_EQ(stat->pgmajfault, 9U);
}

TEST_P(ParseMemoryStatTest, RefusesTextThatWasCutOffAnywhere) {
  const std::string text = StatText(GetParam());
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(ParseMemoryStat(GetParam(), text.substr(0, length)).has_value()) << length;
  }
}

TEST_P(ParseMemoryStatTest, RefusesAMissingARepeatedAndABrokenLine) {
  const std::string text = StatText(GetParam());
  const std::string line = GetParam() == MemoryVersion::kV1 ? "total_shmem 3145728\n" : "shmem 3145728\n";
  const std::size_t at = text.find(line);
  ASSERT_NE(at, std::string::npos);
  const auto with = [&](const std::string& other) {
    return ParseMemoryStat(GetParam(), std::string(text).replace(at, line.size(), other));
  };
  const std::string name = line.substr(0, line.find(' '));
  EXPECT_TRUE(with(line).has_value());
  EXPECT_FALSE(with("").has_value());
  EXPECT_FALSE(with(line + line).has_value());
  EXPECT_FALSE(with(name + "\n").has_value());
  EXPECT_FALSE(with(name + " \n").has_value());
  EXPECT_FALSE(with(name + " x\n").has_value());
  EXPECT_FALSE(with(name + " -1\n").has_value());
  EXPECT_FALSE(with(name + " 9223372036854775808\n").has_value());
  EXPECT_FALSE(with(name + " 99999999999999999999999\n").has_value());
  EXPECT_TRUE(with(line + "a line of tomorrow\n\nanother\n").has_value());
}

TEST(ParseMemoryStatTest, DoesNotTakeAV1FileForV2) {
  EXPECT_FALSE(ParseMemoryStat(MemoryVersion::kV2, StatText(MemoryVersion::kV1)).has_value());
  EXPECT_FALSE(ParseMemoryStat(MemoryVersion::kV1, StatText(MemoryVersion::kV2)).has_value());
}

TEST(ParseOomKillsTest, ReadsEventsAndOomControl) {
  EXPECT_EQ(ParseOomKills("low 0\nhigh 12\nmax 3\noom 2\noom_kill 5\noom_group_kill 0\n"), 5U);
  EXPECT_EQ(ParseOomKills("oom_kill_disable 0\nunder_oom 1\noom_kill 7\n"), 7U);
  EXPECT_EQ(ParseOomKills("oom_kill_disable 0\nunder_oom 0\n"), std::nullopt);  // before Linux 4.13
  EXPECT_EQ(ParseOomKills("oom_kill 7"), std::nullopt);
  EXPECT_EQ(ParseOomKills("oom_kill many\n"), std::nullopt);
  EXPECT_EQ(ParseOomKills(""), std::nullopt);
}

TEST(ParsePressureTest, TakesBothTotals) {
  const auto totals = ParsePressure(
      "some avg10=1.53 avg60=0.87 avg300=0.20 total=123456\nfull avg10=0.00 avg60=0.00 avg300=0.00 "
      "total=789\n");
  ASSERT_TRUE(totals.has_value());
  EXPECT_EQ(totals->some_us, 123456U);
  EXPECT_EQ(totals->full_us, 789U);
}

TEST(ParsePressureTest, RefusesOtherText) {
  const std::string some = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n";
  const std::string full = "full avg10=0.00 avg60=0.00 avg300=0.00 total=2\n";
  for (const std::string& text :
       {std::string(), some, full + some, absl::StrCat(some, full, full), some + full.substr(0, 20),
        some + "full avg10=0.00 total=\n", some + "full total=2\n", "some\nfull\n" + some}) {
    EXPECT_FALSE(ParsePressure(text).has_value()) << text;
  }
}

TEST(ParseMemInfoTest, IsInBytes) {
  const auto info = ParseMemInfo(
      "MemTotal:       24684084 kB\nMemFree: 1 kB\nMemAvailable:   24281236 kB\nBuffers: 1 kB\nSwapFree: 3 "
      "kB\n");
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->total, 24684084 * core::kKiB);
  EXPECT_EQ(info->available, 24281236 * core::kKiB);
  EXPECT_EQ(info->swap_free, 3 * core::kKiB);
}

TEST(ParseMemInfoTest, RefusesOtherText) {
  for (const char* text :
       {"", "MemTotal: 1 kB\n", "MemTotal: 1 kB\nMemAvailable: 1 kB\n",
        "MemAvailable: 1 kB\nSwapFree: 1 kB\n", "MemTotal: 1 kB\nMemAvailable: 1 kB\nSwapFree: 1 kB",
        "MemTotal: 1\nMemAvailable: 1 kB\nSwapFree: 1 kB\n",
        "MemTotal: x kB\nMemAvailable: 1 kB\nSwapFree: 1 kB\n",
        "MemTotal: kB\nMemAvailable: 1 kB\nSwapFree: 1 kB\n",
        "MemTotal:   kB\nMemAvailable: 1 kB\nSwapFree: 1 kB\n",
        "MemTotal: 9223372036854775807 kB\nMemAvailable: 1 kB\nSwapFree: 1 kB\n"}) {
    EXPECT_FALSE(ParseMemInfo(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace memgov::kernel
