// The heart: from what the kernel and the clients said to what shall be done, with reasons.
//
// Pure: a tick reads its arguments and the engine's own memory, nothing else; the same inputs give the same
// decisions, byte for byte. The order of one tick: take in the snapshot and the events, close requests by
// what the cgroups show, judge every domain that was read, ask for what is missing, set wires and brakes,
// choose how often to look again.

#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "governor/core/apportion.h"
#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/ledger.h"
#include "governor/core/policy.h"
#include "governor/core/snapshot.h"
#include "governor/core/world.h"

namespace memgov::core {

class Engine {
 public:
  explicit Engine(Policy policy);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Takes effect from the next tick on. Requests in flight stay.
  void SetPolicy(Policy policy);

  // `now` never runs backwards. One thread.
  Decisions Tick(Instant now, const Snapshot& snapshot, std::span<const ClientEvent> events);

 private:
  // Deepest first, so that a container's own need is met before its ancestors count what they lack.
  using NeedOrder = std::pair<int, CgroupId>;  // negative depth, id

  void CloseRequests();
  void Judge(CgroupState& domain);
  void Ask(CgroupState& domain);
  bool AskForMemory(CgroupState& domain, Bytes deficit, std::string* why_not);
  bool ReadingsAreFresh(const std::vector<Share>& shares);
  void SendSettings(CgroupState& domain);
  void SendSoftLimits();
  void SetWireOf(CgroupState& domain);
  void SetCadenceOf(CgroupState& cgroup);
  void ScheduleNextTick();

  Bytes DeficitOf(const CgroupState& domain) const;
  bool HelpIsPossible(const CgroupState& domain) const;
  bool HelpIsComing(const CgroupState& domain) const;
  bool MayAct(const CgroupState& domain, const ClientState& client) const;
  const Rule& RuleOf(const ClientState& client) const;
  std::optional<Action> GivingAction(const ClientState& client, Bytes bytes) const;

  void Send(const CgroupState& domain, ClientState& client, Action action, Bytes expected, const Rule& rule);
  void Withhold(CgroupState& domain, std::string why);
  Note NoteOn(const CgroupState& domain, NoteKind kind) const;

  Policy policy_;
  World world_;
  Ledger ledger_;
  std::set<NeedOrder> in_need_;
  std::uint64_t next_directive_ = 1;

  // Of the tick that runs.
  Instant now_;
  Decisions decisions_;
};

}  // namespace memgov::core
