#include "governor/status_writer.h"

#include <boost/asio/post.hpp>
#include <mutex>
#include <optional>
#include <utility>

namespace memgov {

struct StatusWriter::State {
  State(Write how, std::function<void(absl::Status)> then)
      : write(std::move(how)), on_written(std::move(then)) {}

  const Write write;
  const std::function<void(absl::Status)> on_written;
  bool ended = false;  // the control thread's
  std::mutex mutex;
  std::optional<std::string> next;  // guarded by mutex
  bool running = false;             // guarded by mutex
};

StatusWriter::StatusWriter(boost::asio::io_context& io, Write write,
                           std::function<void(absl::Status)> on_written)
    : io_(io), state_(std::make_shared<State>(std::move(write), std::move(on_written))) {}

StatusWriter::~StatusWriter() {
  state_->ended = true;
  worker_.join();
}

void StatusWriter::Put(std::string text) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->next = std::move(text);
    if (std::exchange(state_->running, true)) return;
  }
  boost::asio::post(worker_, [&io = io_, state = state_] { Run(io, state); });
}

// On the worker, until there is nothing newer.
void StatusWriter::Run(boost::asio::io_context& io, const std::shared_ptr<State>& state) {
  for (;;) {
    std::string text;
    {
      const std::lock_guard lock(state->mutex);
      if (!state->next) {
        state->running = false;
        return;
      }
      text = *std::exchange(state->next, std::nullopt);
    }
    absl::Status written = state->write(text);
    boost::asio::post(io, [state, written = std::move(written)] {
      if (!state->ended) state->on_written(written);
    });
  }
}

}  // namespace memgov
