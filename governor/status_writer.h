// Writes the newest state of a file that is replaced as a whole, on a thread of its own: a rename may wait
// for a disk, and is wanted just when a node is short of memory. States that were overtaken meanwhile are
// skipped.

#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"

namespace memgov {

// All calls, the callback and the destructor on the thread that runs the io_context, which outlives it.
class StatusWriter {
 public:
  using Write = std::function<absl::Status(const std::string& text)>;

  // `write` runs on the worker, one call at a time; `on_written` is called with what it returned, from
  // io.run().
  StatusWriter(boost::asio::io_context& io, Write write, std::function<void(absl::Status)> on_written);
  // Writes what waits.
  ~StatusWriter();
  StatusWriter(const StatusWriter&) = delete;
  StatusWriter& operator=(const StatusWriter&) = delete;

  // Never waits.
  void Put(std::string text);

 private:
  struct State;

  static void Run(boost::asio::io_context& io, const std::shared_ptr<State>& state);

  boost::asio::io_context& io_;
  const std::shared_ptr<State> state_;
  boost::asio::thread_pool worker_{1};
};

}  // namespace memgov
