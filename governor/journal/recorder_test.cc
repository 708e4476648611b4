// From the engine through the files back into an engine.

#include "governor/journal/recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "governor/journal/reader.h"
#include "governor/journal/replay.h"
#include "governor/journal/test_story.h"
#include "tests/cpp/temporary_directory.h"

namespace memgov::journal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kManySteps = 2000;

class RecorderTest : public ::testing::Test {
 protected:
  RecorderOptions Options() const {
    return {.directory = directory_, .buffer_bytes = 64 << 20, .memgov_version = "test"};
  }
  std::vector<std::string> Files() const {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
  }
  static std::uintmax_t SizeOf(const std::vector<std::string>& files) {
    std::uintmax_t size = 0;
    for (const std::string& file : files) size += std::filesystem::file_size(file);
    return size;
  }
  // Steps until the recorder has news; the writer is another thread.
  static absl::Status News(Story* story, Recorder* recorder, std::chrono::milliseconds pause = {}) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < deadline) {
      story->Step();
      if (auto news = recorder->TakeNews()) return *std::move(news);
      std::this_thread::sleep_for(pause);
    }
    return absl::DeadlineExceededError("no news");
  }

  const TemporaryDirectory parent_;
  const std::string directory_ = parent_.path() + "/journal";
};

TEST_F(RecorderTest, AStoryIsReplayedIdentically) {
  int asked = 0;
  {
    Recorder recorder(Options());
    Story story(1, &recorder);
    for (int i = 0; i < kManySteps; ++i) story.Step();
    asked = story.asked();
    EXPECT_EQ(recorder.TakeNews(), std::nullopt);
  }
  const auto result = Replay(directory_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->difference, IsEmpty());
  EXPECT_THAT(result->troubles, IsEmpty());
  EXPECT_EQ(result->ticks, static_cast<std::uint64_t>(kManySteps));
  EXPECT_GT(asked, 100);
  EXPECT_GT(result->decisions, static_cast<std::uint64_t>(asked));
  EXPECT_EQ(result->unjudged_ticks, 0u);
  EXPECT_EQ(result->versions, std::set<std::string>{"test"});
}

TEST_F(RecorderTest, AChangedDecisionIsFoundWithItsPlace) {
  {
    Recorder recorder(Options());
    core::Engine engine({});
    recorder.SetPolicy({});
    const core::Instant now{std::chrono::hours(1)};
    core::Snapshot snapshot{
        .appeared = {{.id = core::CgroupId{1}, .path = "/a"}},
        .samples = {{.id = core::CgroupId{1}, .taken_at = now, .usage = 960, .limit = 1000}}};
    core::Decisions decisions = engine.Tick(now, snapshot, {});
    ASSERT_FALSE(decisions.notes.empty());
    decisions.notes[0].bytes = 77;
    recorder.Tick(now, snapshot, {}, decisions);
  }
  const auto result = Replay(directory_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->different, 1u);
  EXPECT_THAT(result->difference,
              ElementsAre("tick 1, at 3600.000000 s:", "  notes[0].bytes: recorded 77, replayed 0"));
}

TEST_F(RecorderTest, SegmentsContinueEachOther) {
  {
    RecorderOptions options = Options();
    options.segment_bytes = 50'000;
    Recorder recorder(options);
    Story story(2, &recorder);
    for (int i = 0; i < kManySteps; ++i) story.Step();
  }
  EXPECT_GT(Files().size(), 4u);
  const auto result = Replay(directory_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->difference, IsEmpty());
  EXPECT_THAT(result->troubles, IsEmpty());
  EXPECT_EQ(result->runs, 1u);
  EXPECT_EQ(result->ticks, static_cast<std::uint64_t>(kManySteps));
}

TEST_F(RecorderTest, TheOldestSegmentsGoAndTheRestIsStillRead) {
  RecorderOptions options = Options();
  options.segment_bytes = 20'000;
  options.total_bytes = 120'000;
  {
    Recorder recorder(options);
    Story story(3, &recorder);
    for (int i = 0; i < kManySteps; ++i) story.Step();
  }
  EXPECT_GT(Files().size(), 2u);
  // A keyframe comes on top of the records, and a segment ends behind the record that fills it.
  EXPECT_LE(SizeOf(Files()), options.total_bytes + 20'000);
  const auto result = Replay(directory_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->runs, 0u);
  EXPECT_EQ(result->ticks, 0u);
  EXPECT_GT(result->unjudged_ticks, 100u);
  EXPECT_GT(result->unjudged_decisions, 100u);
  EXPECT_THAT(result->troubles, ElementsAre(HasSubstr("the beginning of this run of memgovd is missing")));
}

TEST_F(RecorderTest, AMissingSegmentIsAGap) {
  {
    RecorderOptions options = Options();
    options.segment_bytes = 50'000;
    Recorder recorder(options);
    Story story(4, &recorder);
    for (int i = 0; i < kManySteps; ++i) story.Step();
  }
  const auto files = Files();
  std::filesystem::remove(files[2]);
  const auto result = Replay(directory_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->difference, IsEmpty());
  EXPECT_GT(result->ticks, 0u);
  EXPECT_GT(result->unjudged_ticks, 0u);
  EXPECT_THAT(result->troubles, ElementsAre(::testing::AllOf(HasSubstr("before " + files[3]),
                                                             HasSubstr("records are missing"))));
}

TEST_F(RecorderTest, AnotherRunOfTheDaemonBeginsAnew) {
  for (unsigned run = 0; run < 2; ++run) {
    Recorder recorder(Options());
    Story story(run, &recorder);
    for (int i = 0; i < 300; ++i) story.Step();
  }
  const auto result = Replay(directory_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->runs, 2u);
  EXPECT_EQ(result->ticks, 600u);
  EXPECT_THAT(result->difference, IsEmpty());
}

TEST_F(RecorderTest, WhatCannotBeWrittenIsToldAndGoesOnBehindAGap) {
  std::ofstream(directory_) << "in the way";
  RecorderOptions options = Options();
  options.retry_after = std::chrono::seconds(1);
  std::uint64_t lost = 0;
  {
    Recorder recorder(options);
    Story story(5, &recorder);
    EXPECT_THAT(std::string(News(&story, &recorder).message()), HasSubstr(directory_));
    for (int i = 0; i < 20; ++i) story.Step();
    std::filesystem::remove(directory_);
    EXPECT_TRUE(News(&story, &recorder).ok());
    lost = recorder.lost_ticks();
    EXPECT_GE(lost, 20u);
    for (int i = 0; i < 100; ++i) story.Step();
    EXPECT_EQ(recorder.lost_ticks(), lost);
  }
  const auto result = Replay(directory_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GE(result->unjudged_ticks, 100u);
  EXPECT_EQ(result->ticks, 0u);
  auto reader = Reader::Open(directory_);
  const auto first = reader->Next();
  const auto& keyframe = std::get<Keyframe>(first->record.what);
  EXPECT_EQ(keyframe.beginning, Beginning::kGap);
  EXPECT_EQ(keyframe.lost_ticks, lost);
  EXPECT_THAT(keyframe.lost_why, HasSubstr(directory_));
}

TEST_F(RecorderTest, OneJournalHasOneWriter) {
  Recorder first(Options());
  Story one(1, &first);
  while (!std::filesystem::exists(directory_ + "/" + SegmentName(1))) {
    one.Step();
    std::this_thread::yield();
  }
  Recorder second(Options());
  Story other(2, &second);
  EXPECT_THAT(std::string(News(&other, &second).message()), HasSubstr("another memgovd writes to"));
}

TEST_F(RecorderTest, ABufferThatIsFullLosesTicksInsteadOfWaiting) {
  RecorderOptions options = Options();
  options.buffer_bytes = 20'000;
  options.retry_after = std::chrono::seconds(1);
  std::uint64_t lost = 0;
  {
    Recorder recorder(options);
    Story story(6, &recorder);
    EXPECT_THAT(std::string(News(&story, &recorder).message()), HasSubstr("too slow"));
    // Slower than the disk again.
    EXPECT_TRUE(News(&story, &recorder, std::chrono::milliseconds(20)).ok());
    lost = recorder.lost_ticks();
  }
  EXPECT_GT(lost, 0u);
  const auto result = Replay(directory_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->difference, IsEmpty());
  EXPECT_THAT(result->troubles, ::testing::Contains(HasSubstr("too slow")));
}

}  // namespace
}  // namespace memgov::journal
