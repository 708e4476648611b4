// An observer that keeps events and lets a test wait for one.

#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "client/c/memgov.h"
#include "client/c/testing/fake_governor.h"

namespace memgov::testing {

struct RecordedEvent {
  memgov_event event;  // its text points nowhere
  std::string text;
};

// Thread-safe. Must outlive the agent that it observes.
class Recorder {
 public:
  // Options that observe with this recorder. They refer to `socket`, which the caller keeps.
  memgov_options OptionsFor(const std::string& socket) {
    memgov_options options = MEMGOV_OPTIONS_INIT;
    options.socket = socket.c_str();
    options.name = "test";
    options.on_event = [](void* user, const memgov_event* event) {
      static_cast<Recorder*>(user)->Add(*event);
    };
    options.user = this;
    return options;
  }

  bool WaitFor(const std::function<bool(const std::vector<RecordedEvent>&)>& enough) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return enough(events_); });
  }

  // Waits for the n-th event of a kind. Its kind is 0 when patience ends.
  RecordedEvent Wait(memgov_event_kind kind, int n = 1) {
    RecordedEvent found = {};
    WaitFor([&](const std::vector<RecordedEvent>& events) {
      int seen = 0;
      for (const RecordedEvent& each : events) {
        if (each.event.kind != kind || ++seen < n) continue;
        found = each;
        return true;
      }
      return false;
    });
    return found;
  }

  int Count(memgov_event_kind kind) {
    const std::lock_guard<std::mutex> lock(mutex_);
    int count = 0;
    for (const RecordedEvent& each : events_) count += each.event.kind == kind ? 1 : 0;
    return count;
  }

 private:
  void Add(const memgov_event& event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    events_.push_back({event, event.text});
    events_.back().event.text = nullptr;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<RecordedEvent> events_;
};

}  // namespace memgov::testing
