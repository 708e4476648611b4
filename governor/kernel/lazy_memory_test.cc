#include "governor/kernel/lazy_memory.h"

#include <fcntl.h>

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "governor/kernel/test_cgroups.h"
#include "gtest/gtest.h"
#include "tests/cpp/temporary_directory.h"

namespace memgov::kernel {
namespace {

using core::kKiB;
using testing::ElementsAre;
using testing::HasSubstr;

std::string Mapping(const std::string& range, const std::string& name, int anon_kb, int lazy_kb) {
  return absl::StrCat(range, " rw-p 00000000 00:00 0                          ", name,
                      "\nSize:             102400 kB\nRss:               51200 kB\nAnonymous:        ",
                      anon_kb, " kB\nLazyFree:          ", lazy_kb, " kB\nAnonHugePages:      2048 kB\n",
                      "Locked:                0 kB\nTHPeligible:           0\nVmFlags: rd wr mr mw me ac \n");
}

absl::StatusOr<LazyMap> Parse(std::string_view text, std::size_t piece = 1 << 20, std::size_t most = 100) {
  SmapsParser parser(most);
  while (!text.empty()) {
    absl::Status fed = parser.Feed(text.substr(0, piece));
    if (!fed.ok()) return fed;
    text.remove_prefix(std::min(piece, text.size()));
  }
  return parser.Finish();
}

TEST(SmapsParserTest, KeepsTheMappingsThatHoldLazilyFreedPages) {
  const std::string text = Mapping("7f0000000000-7f0006400000", "", 4096, 0) +
                           Mapping("7f1000000000-7f1006400000", "[heap]", 51200, 40960) +
                           Mapping("ffffffffff600000-ffffffffff601000", "[vsyscall]", 0, 0);
  for (const std::size_t piece : {1UL, 7UL, 1UL << 20}) {
    const auto map = Parse(text, piece);
    ASSERT_TRUE(map.ok()) << map.status();
    EXPECT_THAT(map->ranges, ElementsAre(LazyRange{.start = 0x7f1000000000,
                                                   .length = 0x6400000,
                                                   .lazy = 40960 * kKiB,
                                                   .anon = 51200 * kKiB,
                                                   .huge = 2048 * kKiB}));
    EXPECT_EQ(map->lazy, 40960 * kKiB);
    EXPECT_EQ(map->anon, 55296 * kKiB);
    EXPECT_FALSE(map->more);
  }
}

TEST(SmapsParserTest, IsNotFooledByWhatAMappingIsCalled) {
  // The kernel writes a line end in a name as \012, so all of it stays on the header's line.
  const std::string lies =
      "/tmp/x\\012LazyFree: 999999 kB\\01200400000-7f0000000000 rw-p 00000000 00:00 0 LazyFree:    999 kB";
  const auto map =
      Parse(Mapping("1000-2000", lies, 4, 0) + Mapping("3000-4000", "[anon:LazyFree: 7 kB]", 4, 4));
  ASSERT_TRUE(map.ok()) << map.status();
  EXPECT_EQ(map->lazy, 4 * kKiB);
  EXPECT_EQ(map->ranges.size(), 1U);
}

TEST(SmapsParserTest, ANameOfAnyLengthIsPassedOverToItsEnd) {
  for (const std::size_t length : {60UL, 90UL, 127UL, 128UL, 129UL, 20'000UL}) {
    const std::string name = std::string(length, 'n') + "3000-4000 rw-p LazyFree: 8 kB";
    const auto map = Parse(Mapping("1000-2000", name, 4, 4), 16);
    ASSERT_TRUE(map.ok()) << map.status();
    EXPECT_EQ(map->ranges.size(), 1U);
    EXPECT_EQ(map->lazy, 4 * kKiB);
  }
}

TEST(SmapsParserTest, KeepsTheLargestWhereThereAreTooMany) {
  std::string text;
  for (int i = 1; i <= 50; ++i) {
    const int kb = 4 * (i % 2 == 0 ? i : 100 - i);
    absl::StrAppend(&text, Mapping(absl::StrCat(absl::Hex(i * 0x10000), "-", absl::Hex(i * 0x10000 + 0x1000)),
                                   "", kb, kb));
  }
  const auto map = Parse(text, 1 << 20, 3);
  ASSERT_TRUE(map.ok()) << map.status();
  EXPECT_TRUE(map->more);
  ASSERT_EQ(map->ranges.size(), 3U);
  EXPECT_EQ(map->ranges[0].lazy, 4 * 99 * kKiB);
  EXPECT_EQ(map->ranges[1].lazy, 4 * 97 * kKiB);
  EXPECT_EQ(map->ranges[2].lazy, 4 * 95 * kKiB);
  EXPECT_GT(map->lazy, 50 * 4 * kKiB);  // of all, nevertheless
}

TEST(SmapsParserTest, NoTextIsAProcessWithoutMemory) {
  const auto map = Parse("");
  ASSERT_TRUE(map.ok());
  EXPECT_TRUE(map->ranges.empty());
}

TEST(SmapsParserTest, ATextThatIsCutOffIsRefusedWhereverThatIs) {
  const std::string text = Mapping("1000-2000", "[heap]", 4, 4);
  const std::size_t whole = text.find("THPeligible");
  for (std::size_t length = 1; length < text.size(); ++length) {
    const auto map = Parse(text.substr(0, length));
    if (length >= whole && text[length - 1] == '\n') continue;  // everything of interest was there
    EXPECT_TRUE(absl::IsDataLoss(map.status())) << length << ": " << map.status();
  }
}

TEST(SmapsParserTest, WhatTheKernelWouldNotWriteIsRefusedWithItsText) {
  const std::string good = Mapping("1000-2000", "", 4, 4);
  const auto error = [](const std::string& text) { return std::string(Parse(text).status().message()); };
  EXPECT_THAT(error("LazyFree: 4 kB\n"), HasSubstr("a field before any mapping in \"LazyFree: 4 kB\""));
  EXPECT_THAT(error(good + "LazyFree: 4 kB\n"), HasSubstr("second time"));
  EXPECT_THAT(error("2000-1000 rw-p 0 0 0\n"), HasSubstr("impossible range"));
  EXPECT_THAT(error("0-ffffffffffffffff rw-p 0 0 0\n"), HasSubstr("impossible range"));
  EXPECT_THAT(error("zzz\n"), HasSubstr("neither a mapping nor a field in \"zzz\""));
  EXPECT_THAT(error("\n"), HasSubstr("neither"));
  EXPECT_THAT(error(std::string("1000-2000 rw\0p 0\n", 17)), HasSubstr("neither"));
  EXPECT_THAT(error("1000-2000 rw-p 0 0 0\nLazyFree: -4 kB\n"), HasSubstr("no amount in kB"));
  EXPECT_THAT(error("1000-2000 rw-p 0 0 0\nLazyFree: 4 MB\n"), HasSubstr("no amount in kB"));
  EXPECT_THAT(error("1000-2000 rw-p 0 0 0\nLazyFree: 99999999999999999999 kB\n"), HasSubstr("no amount"));
  EXPECT_THAT(error("1000-2000 rw-p 0 0 0\nLazyFree: 9223372036854775807 kB\n"), HasSubstr("no amount"));
  EXPECT_THAT(error("1000-2000 rw-p 0 0 0\nVmFlags\n"), HasSubstr("no colon"));
  std::string vast;
  for (int i = 0; i < 2; ++i) {
    vast += "1000-2000 rw-p 0 0 0\nAnonymous: 9007199254740991 kB\nLazyFree: 0 kB\nLocked: 0 kB\n";
  }
  EXPECT_THAT(error(vast), HasSubstr("more memory than can be"));
}

TEST(SmapsParserTest, AKernelThatDoesNotTellIsUnimplemented) {
  EXPECT_TRUE(absl::IsUnimplemented(Parse("1000-2000 rw-p 0 0 0\nAnonymous: 4 kB\nLocked: 0 kB\n").status()));
}

TEST(SmapsParserTest, WhateverTheTextItEndsInAnAnswer) {
  const std::string good = Mapping("1000-2000", "[heap]", 4, 4) + Mapping("ffff0000-ffff8000", "a b", 64, 0);
  std::mt19937 random(7);  // NOLINT(bugprone-random-generator-seed): the same every time
  int understood = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = good;
    for (unsigned changes = 1 + random() % 3; changes > 0; --changes) {
      const std::size_t at = random() % text.size();
      if (random() % 4 == 0) {
        text.erase(at, random() % 40);
      } else {
        text[at] = random() % 8 == 0 ? '\n' : static_cast<char>(random());
      }
      if (text.empty()) text = "\n";
    }
    const auto map = Parse(text, 1 + random() % 200, 1);
    if (!map.ok()) continue;
    ++understood;
    EXPECT_LE(map->ranges.size(), 1U);
  }
  EXPECT_GT(understood, 0);  // most of the text is of no interest to us
}

// --- files

class LazyFilesTest : public testing::Test {
 protected:
  const TemporaryDirectory directory_;
  const UniqueFd process_{::open(directory_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
};

TEST_F(LazyFilesTest, AProcessThatIsGoneIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(ReadLazyTotal(process_.get()).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadLazyMap(process_.get(), 10).status()));
}

TEST_F(LazyFilesTest, ReadsWhatTheFilesSay) {
  WriteFile(
      directory_.path() + "/smaps_rollup",
      "55d0-7ffe ---p 00000000 00:00 0       [rollup]\nAnonymous: 64 kB\nLazyFree: 16 kB\nLocked: 0 kB\n");
  WriteFile(directory_.path() + "/smaps", Mapping("1000-2000", "", 64, 16));
  EXPECT_EQ(*ReadLazyTotal(process_.get()), 16 * kKiB);
  EXPECT_EQ(ReadLazyMap(process_.get(), 10)->ranges.size(), 1U);
}

TEST_F(LazyFilesTest, ReadingCanBeGivenUpBetweenTwoReads) {
  std::string text;
  for (int i = 1; i < 1000; ++i) text += Mapping("1000-2000", "", 64, 16);
  WriteFile(directory_.path() + "/smaps", text);
  int asked = 0;
  const auto map = ReadLazyMap(process_.get(), 10, [&] { return ++asked < 3; });
  EXPECT_TRUE(absl::IsCancelled(map.status()));
  EXPECT_EQ(asked, 3);
}

TEST(LazyMemoryTest, ReadsOurOwn) {
  const UniqueFd self(::open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto total = ReadLazyTotal(self.get());
  const auto map = ReadLazyMap(self.get(), 10);
  ASSERT_TRUE(total.ok()) << total.status();
  ASSERT_TRUE(map.ok()) << map.status();
  EXPECT_GT(map->anon, 0);
}

}  // namespace
}  // namespace memgov::kernel
