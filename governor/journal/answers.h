// Gives an engine whose requests are not those of the journal the answers that the journal has.
//
// Requests are numbered by the engine that makes them. An answer in the journal goes to the oldest open
// request of the same kind to the same client (or, of the kernel's levers, for the same cgroup); one that
// finds none is left out, and a request that finds none expires.

#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/snapshot.h"

namespace memgov::journal {

class Answers {
 public:
  // What an engine decided: the recorded one, and the one that replays.
  void Recorded(const core::Decisions& decisions);
  void Replayed(const core::Decisions& decisions);

  // The journal's inputs of a tick as the replaying engine shall have them.
  core::Snapshot For(const core::Snapshot& snapshot);
  std::vector<core::ClientEvent> For(const std::vector<core::ClientEvent>& events);

 private:
  // Client and kind of action; cgroup and lever.
  using Request = std::pair<core::ClientId, std::size_t>;
  using Lever = std::pair<core::CgroupId, core::ReclaimLever>;

  std::map<core::DirectiveId, Request> recorded_;
  std::map<core::ReclaimId, Lever> recorded_levers_;
  std::map<Request, std::deque<core::DirectiveId>> open_;
  std::map<Lever, std::deque<core::ReclaimId>> open_levers_;
};

}  // namespace memgov::journal
