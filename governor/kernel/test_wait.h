// For tests of what happens on other threads and comes back by way of a loop.

#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>

namespace memgov::kernel {

// Runs the loop until the condition holds. False: it did not within 20 s.
template <typename Condition>
bool RunUntil(boost::asio::io_context& io, Condition condition) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    io.restart();
    io.run_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace memgov::kernel
