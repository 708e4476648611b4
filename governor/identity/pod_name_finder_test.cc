#include "governor/identity/pod_name_finder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <vector>

namespace memgov::identity {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using testing::ElementsAre;

const PodName kNginx{.pod_namespace = "shop", .pod = "web", .container = "nginx"};

// A disk that answers when it is told to.
class PodNameFinderTest : public testing::Test {
 protected:
  ~PodNameFinderTest() override { Unblock(); }

  PodNameFinder::Look SlowDisk() {
    return [this, answers = answers_.get_future().share()](const ContainerName&) {
      looker_ = std::this_thread::get_id();
      answers.wait();
      return kNginx;
    };
  }
  void Unblock() {
    if (!std::exchange(unblocked_, true)) answers_.set_value();
  }
  PodNameFinder::Done Note() {
    return [this](PodName name) { found_.push_back(std::move(name)); };
  }
  void RunUntilFound(std::size_t count) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (found_.size() < count && std::chrono::steady_clock::now() < give_up) {
      io_.restart();
      io_.run_one_for(milliseconds(100));
    }
    EXPECT_EQ(found_.size(), count);
  }

  boost::asio::io_context io_;
  std::promise<void> answers_;
  bool unblocked_ = false;
  std::thread::id looker_;  // read after the answer
  std::vector<PodName> found_;
};

TEST_F(PodNameFinderTest, LooksOnAThreadOfItsOwnAndAnswersOnOurs) {
  PodNameFinder finder(io_, SlowDisk(), {.patience = hours(1)});
  Unblock();
  finder.Find({}, Note());
  EXPECT_TRUE(found_.empty()) << "never from within Find";
  RunUntilFound(1);
  EXPECT_THAT(found_, ElementsAre(kNginx));
  EXPECT_NE(looker_, std::this_thread::get_id());
}

TEST_F(PodNameFinderTest, ADiskThatDoesNotAnswerKeepsNobodyWaiting) {
  PodNameFinder finder(io_, SlowDisk(), {.patience = milliseconds(1)});
  finder.Find({}, Note());
  finder.Find({}, Note());
  RunUntilFound(2);  // the first look still waits for its disk
  EXPECT_THAT(found_, ElementsAre(PodName{}, PodName{}));
  Unblock();
}

TEST_F(PodNameFinderTest, EachIsAnsweredOnceAndTheNextIsFound) {
  PodNameFinder finder(io_, SlowDisk(), {.patience = milliseconds(1)});
  finder.Find({}, Note());
  RunUntilFound(1);
  Unblock();
  // With a disk that answers at once no patience is needed, on however slow a machine: ask until it is found.
  while (found_.back() != kNginx) {
    finder.Find({}, Note());
    RunUntilFound(found_.size() + 1);
  }
}

TEST_F(PodNameFinderTest, WhoComesWhileTooManyWaitIsAnsweredAtOnce) {
  PodNameFinder finder(io_, SlowDisk(), {.patience = hours(1), .most_queued = 2});
  for (int i = 0; i < 5; ++i) finder.Find({}, Note());
  RunUntilFound(3);
  EXPECT_THAT(found_, ElementsAre(PodName{}, PodName{}, PodName{}));
  Unblock();
  RunUntilFound(5);
  EXPECT_EQ(found_[3], kNginx);
  EXPECT_EQ(found_[4], kNginx);
  finder.Find({}, Note());  // and there is room again
  RunUntilFound(6);
  EXPECT_EQ(found_[5], kNginx);
}

TEST_F(PodNameFinderTest, WhoIsNotAnsweredAtItsEndNeverIs) {
  {
    PodNameFinder finder(io_, SlowDisk(), {.patience = milliseconds(1)});
    finder.Find({}, Note());
    finder.Find({}, Note());
    Unblock();
  }
  while (io_.run() > 0) io_.restart();
  EXPECT_TRUE(found_.empty());
}

}  // namespace
}  // namespace memgov::identity
