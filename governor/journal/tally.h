// What a stretch of decisions comes to: needs, requests, whom and when, for comparing two policies on the
// same node.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/snapshot.h"

namespace memgov::journal {

// Who is who; both sides of a comparison share it.
struct Names {
  std::map<core::CgroupId, std::string> paths{{core::kNodeId, "/"}};
  std::map<core::ClientId, std::string> clients;  // "redis (pid 12)"

  void Learn(const core::Snapshot& snapshot, const std::vector<core::ClientEvent>& events);
  std::string PathOf(core::CgroupId id) const;
};

// What was asked of one container.
struct Asked {
  std::uint64_t requests = 0;
  core::Bytes bytes = 0;
  std::uint64_t would_requests = 0;  // observe mode: would have been asked
  core::Bytes would_bytes = 0;
  std::optional<core::Instant> first;  // either
  std::set<std::string> whom;          // clients, and "the kernel"
};

class Tally {
 public:
  void Add(const core::Decisions& decisions, const Names& names);
  // Ids mean other cgroups and clients from here on; what was open stays open.
  void Forget() { needs_.clear(); }

  Asked total;
  std::map<std::string, Asked> containers;     // by path
  std::map<std::string, std::uint64_t> notes;  // by kind
  std::uint64_t needs = 0;                     // of domains that woke
  std::uint64_t ended = 0;                     // relaxed again, and nobody had been killed in them
  std::uint64_t kills = 0;                     // by the kernel: recorded, so the same whatever the policy
  std::uint64_t kills_asked = 0;  // in a domain of which somebody had been asked, or would have been
  core::Duration longest_lead{};  // from that to the kill

 private:
  struct Need {
    std::optional<core::Instant> asked_at;
    bool killed = false;
  };
  void AddRequest(const core::Note& note, const Names& names);
  void AddKill(const core::Note& note, const Names& names);

  std::map<std::string, Need> needs_;  // open ones, by the domain's path
};

}  // namespace memgov::journal
