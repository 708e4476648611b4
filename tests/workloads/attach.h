// How a service of the tests attaches.

#pragma once

#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>

#include "client/cpp/memgov.hpp"

namespace memgov::workloads {

// Begins a session and waits until a governor has welcomed us, 5 s at most: without one a service works all
// the same. False: it cannot begin; stderr has why, after the name of the `program`.
inline bool Attach(std::optional<Session>* session, const char* program) {
  session->emplace();
  if (!**session) {
    std::fprintf(stderr, "%s: memgov: %s\n", program, (*session)->error().message().c_str());
    return false;
  }
  for (int i = 0; i < 500 && Session::Status() < MEMGOV_OBSERVING; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

}  // namespace memgov::workloads
