#include "governor/status_writer.h"

#include <chrono>
#include <future>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace memgov {
namespace {

using testing::ElementsAre;

TEST(StatusWriterTest, ADiskThatStandsStillHoldsUpNobodyAndTheNewestStateWins) {
  boost::asio::io_context io;
  std::promise<void> begun;
  std::promise<void> disk;
  std::shared_future<void> goes_on(disk.get_future());
  std::vector<std::string> written;
  int told = 0;
  {
    StatusWriter writer(
        io,
        [&](const std::string& text) {
          if (written.empty()) begun.set_value();
          written.push_back(text);
          goes_on.wait();
          return absl::OkStatus();
        },
        [&](const absl::Status& status) { told += status.ok() ? 1 : 0; });
    writer.Put("1");
    begun.get_future().wait();
    for (const char* text : {"2", "3", "4"}) writer.Put(text);  // returns while the disk stands still
    disk.set_value();
    while (told < 2) {
      io.restart();
      io.run_one_for(std::chrono::milliseconds(50));
    }
    writer.Put("5");
  }
  EXPECT_THAT(written, ElementsAre("1", "4", "5")) << "what waits at the end is written";
}

TEST(StatusWriterTest, AnErrorIsTold) {
  boost::asio::io_context io;
  std::vector<absl::Status> told;
  StatusWriter writer(
      io, [](const std::string&) { return absl::ResourceExhaustedError("the disk is full"); },
      [&](const absl::Status& status) { told.push_back(status); });
  writer.Put("1");
  while (told.empty()) {
    io.restart();
    io.run_one_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(told[0].message(), "the disk is full");
}

}  // namespace
}  // namespace memgov
