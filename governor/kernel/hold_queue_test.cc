#include "governor/kernel/hold_queue.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <mutex>
#include <optional>
#include <thread>

#include "gmock/gmock.h"
#include "governor/kernel/test_wait.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

using testing::ElementsAre;

// Something that blocks the thread it is called on until the test opens it.
class Gate {
 public:
  void Pass() {
    reached_.set_value();
    open_.get_future().wait();
  }
  void AwaitReached() { reached_.get_future().wait(); }
  void Open() { open_.set_value(); }

 private:
  std::promise<void> reached_;
  std::promise<void> open_;
};

class HoldQueueTest : public testing::Test {
 protected:
  // What befell the knob of a path, in order.
  void Note(const std::string& what) {
    const std::lock_guard lock(mutex_);
    story_.push_back(what);
  }
  std::vector<std::string> Story() {
    const std::lock_guard lock(mutex_);
    return story_;
  }
  HoldQueue::Done Into(std::optional<absl::Status>& answer) {
    return [&answer](absl::Status status) { answer = std::move(status); };
  }
  HoldQueue::Taking Taking(const std::string& what) {
    return [this, what](const HoldQueue::Wanted& wanted) -> absl::Status {
      if (!wanted()) return absl::CancelledError("");
      Note(what);
      return absl::OkStatus();
    };
  }
  template <typename Condition>
  bool Becomes(Condition condition) {
    return RunUntil(io_, condition);
  }
  absl::Status LetGo(const std::string& path, bool last) {
    Note((last ? "let go " : "early let go ") + path);
    if (block_letting_go_ != nullptr) std::exchange(block_letting_go_, nullptr)->Pass();
    return --failures_ >= 0 ? absl::ResourceExhaustedError("no descriptors") : absl::OkStatus();
  }

  std::mutex mutex_;
  std::vector<std::string> story_;
  std::atomic<int> failures_ = 0;  // of the next lettings go
  Gate gate_;
  Gate* block_letting_go_ = nullptr;  // the next one
  std::vector<absl::Status> failing_;
  boost::asio::io_context io_;
  HoldQueue queue_{io_, [this](const std::string& path, bool last) { return LetGo(path, last); },
                   [this](absl::Status why) { failing_.push_back(std::move(why)); }};
};

TEST_F(HoldQueueTest, TakesAndLetsGoInOrder) {
  std::optional<absl::Status> taken;
  std::optional<absl::Status> let_go;
  queue_.Take("/a", Taking("take"), Into(taken));
  ASSERT_TRUE(Becomes([&] { return taken.has_value(); }));
  queue_.LetGo("/a", Into(let_go));
  ASSERT_TRUE(Becomes([&] { return let_go.has_value(); }));
  EXPECT_TRUE(taken->ok() && let_go->ok());
  EXPECT_THAT(Story(), ElementsAre("take", "let go /a"));
}

TEST_F(HoldQueueTest, LettingGoDoesNotWaitForTheTakingOfAnother) {
  std::optional<absl::Status> let_go;
  queue_.Take("/slow", [&](const HoldQueue::Wanted&) { return gate_.Pass(), absl::OkStatus(); }, {});
  gate_.AwaitReached();
  queue_.LetGo("/a", Into(let_go));
  EXPECT_TRUE(Becomes([&] { return let_go.has_value(); }));
  EXPECT_THAT(Story(), ElementsAre("let go /a"));
  gate_.Open();
}

TEST_F(HoldQueueTest, AWriteThatComesAfterTheLettingGoIsUndone) {
  std::optional<absl::Status> let_go;
  queue_.Take("/a",
              [&](const HoldQueue::Wanted& wanted) {
                EXPECT_TRUE(wanted());  // and now it is put aside for long, just before its write
                gate_.Pass();
                EXPECT_FALSE(wanted());
                Note("late write");
                return absl::OkStatus();
              },
              {});
  gate_.AwaitReached();
  queue_.LetGo("/a", Into(let_go));
  ASSERT_TRUE(Becomes([&] { return let_go.has_value(); })) << "it waits for the taking";
  EXPECT_TRUE(Becomes([&] { return Story().size() >= 3; })) << "tried again while that lasts";
  gate_.Open();
  ASSERT_TRUE(Becomes([&] { return Story().back() == "let go /a"; }));
  const std::vector<std::string> story = Story();
  EXPECT_EQ(story.front(), "early let go /a");
  EXPECT_EQ(std::count(story.begin(), story.end(), "late write"), 1);
  EXPECT_EQ(std::count(story.begin(), story.end(), "let go /a"), 1);
  EXPECT_TRUE(failing_.empty());
}

TEST_F(HoldQueueTest, TakingHoldWaitsForALettingGoThatIsUnderWay) {
  block_letting_go_ = &gate_;
  std::optional<absl::Status> taken;
  queue_.LetGo("/a", {});
  gate_.AwaitReached();
  queue_.Take("/a", Taking("take"), Into(taken));
  EXPECT_FALSE(queue_.IdleWithin(std::chrono::milliseconds(20)));
  EXPECT_THAT(Story(), ElementsAre("let go /a"));
  gate_.Open();
  ASSERT_TRUE(Becomes([&] { return taken.has_value(); }));
  EXPECT_THAT(Story(), ElementsAre("let go /a", "take"));
}

TEST_F(HoldQueueTest, ALettingGoThatALaterTakingOvertookIsDropped) {
  block_letting_go_ = &gate_;
  std::optional<absl::Status> let_go;
  std::optional<absl::Status> taken;
  queue_.LetGo("/b", {});
  gate_.AwaitReached();
  queue_.LetGo("/a", Into(let_go));
  queue_.Take("/a", Taking("take"), Into(taken));
  ASSERT_TRUE(Becomes([&] { return taken.has_value(); }));
  gate_.Open();
  ASSERT_TRUE(Becomes([&] { return let_go.has_value(); }));
  EXPECT_TRUE(absl::IsCancelled(*let_go));
  EXPECT_THAT(Story(), ElementsAre("let go /b", "take"));
}

TEST_F(HoldQueueTest, ATakingThatWasOvertakenWhileItWaitedIsDropped) {
  std::optional<absl::Status> first;
  std::optional<absl::Status> let_go;
  queue_.Take("/slow", [&](const HoldQueue::Wanted&) { return gate_.Pass(), absl::OkStatus(); }, {});
  gate_.AwaitReached();
  queue_.Take("/a", Taking("take"), Into(first));
  queue_.LetGo("/a", Into(let_go));
  ASSERT_TRUE(Becomes([&] { return let_go.has_value(); }));
  gate_.Open();
  ASSERT_TRUE(Becomes([&] { return first.has_value(); }));
  EXPECT_TRUE(absl::IsCancelled(*first));
  EXPECT_THAT(Story(), ElementsAre("let go /a"));
}

TEST_F(HoldQueueTest, WhatFailsIsTriedUntilItSucceedsAndBothAreTold) {
  failures_ = 3;
  std::optional<absl::Status> let_go;
  queue_.LetGo("/a", Into(let_go));
  ASSERT_TRUE(Becomes([&] { return failing_.size() == 2; }));
  EXPECT_TRUE(absl::IsResourceExhausted(*let_go));
  EXPECT_TRUE(absl::IsResourceExhausted(failing_[0]));
  EXPECT_TRUE(failing_[1].ok());
  EXPECT_THAT(Story(), ElementsAre("let go /a", "let go /a", "let go /a", "let go /a"));
}

TEST_F(HoldQueueTest, OthersThatAreLetGoDoNotPutARetryOff) {
  failures_ = 1;
  queue_.LetGo("/a", {});
  ASSERT_TRUE(Becomes([&] { return failing_.size() == 1; }));
  std::atomic<bool> end = false;
  std::thread others([&] {
    while (!end) {
      queue_.LetGo("/b", {});
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  EXPECT_TRUE(Becomes([&] { return failing_.size() == 2; }));
  end = true;
  others.join();
}

TEST_F(HoldQueueTest, TakingAnewEndsTheTrying) {
  failures_ = 1'000'000;
  queue_.LetGo("/a", {});
  ASSERT_TRUE(Becomes([&] { return failing_.size() == 1; }));
  std::optional<absl::Status> taken;
  queue_.Take("/a", Taking("take"), Into(taken));
  ASSERT_TRUE(Becomes([&] { return failing_.size() == 2 && taken; }));
  EXPECT_TRUE(failing_[1].ok());
  EXPECT_EQ(Story().back(), "take");
}

TEST_F(HoldQueueTest, DebtsOfAPredecessorArePaid) {
  queue_.Owe({"/a", "/b"});
  EXPECT_TRUE(Becomes([&] { return Story() == std::vector<std::string>{"let go /a", "let go /b"}; }));
}

TEST_F(HoldQueueTest, NobodyBeginsToLetGoForGoodDuringALook) {
  queue_.Look("/a", [&] { gate_.Pass(); });
  gate_.AwaitReached();
  queue_.LetGo("/a", {});
  EXPECT_TRUE(Becomes([&] { return !Story().empty(); }));
  gate_.Open();
  EXPECT_TRUE(Becomes([&] { return Story().back() == "let go /a"; }));
  EXPECT_EQ(Story().front(), "early let go /a");
}

TEST_F(HoldQueueTest, AfterTheStopNothingBegins) {
  std::optional<absl::Status> waiting;
  std::optional<absl::Status> late;
  queue_.Take("/slow",
              [&](const HoldQueue::Wanted& wanted) {
                gate_.Pass();
                EXPECT_FALSE(wanted());
                return absl::OkStatus();
              },
              {});
  gate_.AwaitReached();
  queue_.Take("/a", Taking("take"), Into(waiting));
  queue_.Stop();
  EXPECT_FALSE(queue_.IdleWithin(std::chrono::milliseconds(1)));
  queue_.LetGo("/a", Into(late));
  gate_.Open();
  EXPECT_TRUE(queue_.IdleWithin(std::chrono::seconds(20)));
  queue_.Join();
  ASSERT_TRUE(Becomes([&] { return waiting.has_value() && late.has_value(); }));
  EXPECT_TRUE(absl::IsFailedPrecondition(*waiting));
  EXPECT_TRUE(absl::IsFailedPrecondition(*late));
  EXPECT_TRUE(Story().empty());
}

}  // namespace
}  // namespace memgov::kernel
