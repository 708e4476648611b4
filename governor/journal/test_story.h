// A small node that lives for a while, for tests: cgroups that grow and vanish, clients that report, answer
// and leave, a policy that changes. Whoever listens hears all that the engine hears and decides.

#pragma once

#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "governor/core/engine.h"
#include "governor/journal/recorder.h"

namespace memgov::journal {

class Story {
 public:
  explicit Story(unsigned seed, Recorder* recorder = nullptr);

  // One tick, 10 to 300 ms after the last.
  core::Decisions Step();

  core::Instant now() const { return now_; }
  int asked() const { return asked_; }

 private:
  struct Cgroup {
    core::CgroupAppeared appeared;
    core::CgroupSample sample;
  };

  std::int64_t Below(std::int64_t bound) {
    return std::uniform_int_distribution<std::int64_t>(0, bound - 1)(random_);
  }
  bool OneIn(std::int64_t n) { return Below(n) == 0; }
  void AddCgroup(core::CgroupId parent, const std::string& path, core::Bytes limit);
  void MovePolicy();
  void MoveCgroups();
  void MoveClients();
  void Answer(const core::Decisions& decisions);

  std::mt19937_64 random_;
  Recorder* recorder_;
  core::Engine engine_;
  core::Instant now_{std::chrono::hours(1)};
  std::map<core::CgroupId, Cgroup> cgroups_;
  std::map<core::ClientId, core::CgroupId> clients_;
  std::uint32_t next_cgroup_ = 1;
  std::uint64_t next_client_ = 1;
  core::Snapshot snapshot_;  // for the next tick
  std::vector<core::ClientEvent> events_;
  int asked_ = 0;
};

}  // namespace memgov::journal
