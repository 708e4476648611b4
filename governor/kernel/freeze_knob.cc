#include "governor/kernel/freeze_knob.h"

#include <chrono>
#include <thread>
#include <utility>

namespace memgov::kernel {
namespace {

constexpr auto kPatience = std::chrono::seconds(2);
constexpr auto kPause = std::chrono::milliseconds(20);

}  // namespace

FreezeKnob::FreezeKnob(const CgroupLayout& memory, FreezerLayout freezer, std::string state_file,
                       boost::asio::io_context& io, HoldQueue::OnFailing on_failing)
    : freezer_(memory, std::move(freezer), std::move(state_file)),
      queue_(
          io, [this](const std::string& path, bool last) { return freezer_.Thaw(path, last); },
          std::move(on_failing)) {
  queue_.Owe(freezer_.Frozen());
}

void FreezeKnob::Freeze(const std::string& path, HoldQueue::Done done) {
  queue_.Take(
      path, [this, path](const HoldQueue::Wanted& wanted) { return freezer_.Freeze(path, wanted); },
      std::move(done));
}

void FreezeKnob::Thaw(const std::string& path) { queue_.LetGo(path, {}); }

absl::Status FreezeKnob::ThawAll() {
  queue_.Stop();  // a freeze that waits for a process to stop ends by that
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  do {
    for (const std::string& path : freezer_.Frozen()) freezer_.Thaw(path, /*last=*/false).IgnoreError();
  } while (!queue_.IdleWithin(kPause) && std::chrono::steady_clock::now() < give_up);
  queue_.Join();
  for (;;) {
    absl::Status status = freezer_.ThawAll();
    if (status.ok() || std::chrono::steady_clock::now() + kPause > give_up) return status;
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace memgov::kernel
