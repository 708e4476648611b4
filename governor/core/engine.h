// The heart: from what the kernel and the clients said to what shall be done, with reasons.
//
// Pure: a tick reads its arguments and the engine's own memory, nothing else; the same inputs give the same
// decisions, byte for byte. The order of one tick: take in the snapshot and the events, close requests by
// what the cgroups show, judge every domain that was read, ask for what is missing, set wires and brakes,
// choose how often to look again.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "governor/core/apportion.h"
#include "governor/core/client_event.h"
#include "governor/core/decision.h"
#include "governor/core/ledger.h"
#include "governor/core/oom_kills.h"
#include "governor/core/policy.h"
#include "governor/core/snapshot.h"
#include "governor/core/world.h"

namespace memgov::core {

// A domain that is full so soon has no time for evidence over many seconds.
inline constexpr Duration kSecondsLeft = std::chrono::seconds(5);

class Engine {
 public:
  explicit Engine(Policy policy);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Takes effect from the next tick on. Requests in flight stay.
  void SetPolicy(Policy policy);

  // What this node lets the kernel do for us. None until told.
  void SetKernelLevers(KernelLevers levers);

  // `now` never runs backwards. One thread.
  Decisions Tick(Instant now, const Snapshot& snapshot, std::span<const ClientEvent> events);

 private:
  // Deepest first, so that a container's own need is met before its ancestors count what they lack.
  using NeedOrder = std::pair<int, CgroupId>;  // negative depth, id

  // One rung that a client could climb now.
  struct Offer {
    ActionKind kind = ActionKind::kRelease;
    Promise promise = Promise::kEstimate;
    int rung = 0;
    Bytes expected = 0;
  };
  // The collected heaps that share one limit as soft limits, and where they are.
  struct Sharing {
    struct Home {
      int heaps = 0;
      Bytes reported = 0;   // what these heaps report to hold
      Bytes of_others = 0;  // ... and what its other clients do
      Bytes of_heaps = 0;   // what is in it, less that of others: garbage is in no report
    };
    std::vector<ClientState*> heaps;
    std::vector<Heap> sizes;                    // of each
    absl::flat_hash_map<CgroupId, Home> homes;  // of all clients
    Bytes of_heaps = 0;                         // in all homes
  };
  // How one domain's clients stand: those that may really be asked, or those that observe mode would ask.
  struct Survey {
    std::vector<Candidate> candidates;
    Bytes coming = 0;  // expected of requests in flight
    int hopes = 0;     // requests in flight to those who cannot tell what they hold
    int busy = 0, cooling = 0, empty = 0, unreadable = 0;
    int others = 0;                   // of the other kind: not looked at
    int over_budget = 0;              // collections that would cost their clients too much CPU
    std::optional<Instant> again_at;  // when the first of those who wait may be asked
  };
  // What one request is about.
  struct Terms {
    Bytes bytes = 0;        // asked
    Bytes expected = 0;     // counted on
    Bytes estimated = 0;    // the client's own words for it
    bool outdated = false;  // its own words are no more (Promise::kOutdated)
  };

  // engine.cc: the order of a tick, and what follows from the cgroups.
  void TakeIn(const ClientEvent& event);
  bool CloseRequests();
  void ReportKills(const Snapshot& snapshot, const World::Changes& changes);
  void Judge(CgroupState& domain);
  std::optional<Duration> TimeToLimit(const CgroupState& domain) const;
  DomainView ViewOf(const CgroupState& domain) const;
  bool NeedsStat(CgroupState& domain, const DomainView& view);
  bool WasJustRead(const CgroupState& cgroup) const;
  void SetWireOf(CgroupState& domain);
  void SetBrakeOf(CgroupState& domain);
  void SetCadenceOf(CgroupState& cgroup);
  void WakeAt(std::optional<Instant> when);
  void Touch(CgroupState& cgroup) { touched_.emplace(cgroup.id, &cgroup); }
  Note NoteOn(const CgroupState& domain, NoteKind kind) const;

  // engine_ask.cc: who is asked for how much.
  void MeetNeeds(bool all);
  void Ask(CgroupState& domain);
  Bytes NeedOf(const CgroupState& domain) const;
  Survey Look(const CgroupState& domain, bool act);
  void LookAt(const CgroupState& domain, const CgroupState& home, ClientState& client, bool act,
              Survey* survey);
  bool HasGcBudget(const CgroupState& domain, const ClientState& client, Bytes expected, Survey* survey);
  bool Give(CgroupState& domain, Bytes missing, Survey survey);
  std::optional<Offer> OfferOf(const CgroupState& domain, const CgroupState& home,
                               const ClientState& client) const;
  bool IsFresh(CgroupState& cgroup);
  void WantReading(CgroupState& cgroup);
  bool HelpIsPossible(const CgroupState& domain) const;
  bool HelpIsComing(const CgroupState& domain) const;
  void Withhold(CgroupState& domain, Bytes missing, const Survey& survey);

  // engine_haste.cc: what changes where time is short.
  bool TimeIsShort(const CgroupState& domain) const;
  static bool IsForecastToWake(const CgroupState& domain, std::optional<Duration> left);
  bool IsFullBefore(const CgroupState& domain, const Learned& learned, Instant at) const;
  Instant AskAgainAt(const CgroupState& domain, const Learned& learned) const;
  Reason ReasonToAsk(const CgroupState& domain, const Learned& learned) const;
  Bytes WorthCollectingInHaste(const CgroupState& domain) const;
  bool MayHideGarbage(const CgroupState& domain, const ClientState& client) const;
  static bool IsLargeHeap(const CgroupState& domain, const ClientState& client);

  // engine_reclaim.cc: what the kernel does by itself, and is made to do.
  void CloseReclaims(const Snapshot& snapshot);
  Bytes CollectLazilyFreed(CgroupState& domain, Bytes missing);
  bool SendReclaim(const CgroupState& domain, CgroupState& cgroup, Bytes bytes);
  bool MayCollect(const CgroupState& cgroup) const;
  static bool MayReclaim(const CgroupState& domain, const CgroupState& cgroup);
  void SetPressureAlarmOf(CgroupState& domain);
  void NoteStall(const CgroupState& domain, const StallView& stall);

  // engine_freeze.cc: who stands still meanwhile.
  void FreezeAndThaw(const Snapshot& snapshot);
  void SetFreezeOf(CgroupState& domain, const Snapshot& snapshot);
  const CgroupState* FastestGrower(const CgroupState& domain);

  // engine_heaps.cc: collected heaps, and what no collection can free.
  void SendSoftLimit(ClientId id);
  Sharing SharingIn(const CgroupState& domain);
  void ShareOutSoftLimits(CgroupState& domain);
  void FollowLimits(const ClientReport& report);
  Bytes FloorOf(const CgroupState& domain, bool* hope) const;
  void WatchForLeak(CgroupState& domain);
  void GiveUpOn(CgroupState& domain);
  static bool IsCritical(const CgroupState& domain, Bytes floor);
  void SayUnsavable(CgroupState& domain, Bytes floor, std::string why);

  // engine_modes.cc: how their allocators give freed memory back.
  void SendEagerMode(CgroupState& domain);
  void SendLazyMode(ClientId id);

  // engine_send.cc: what they are sent.
  void Send(const CgroupState& domain, ClientState& client, const Action& action, const Reason& reason,
            const Terms& terms);
  static bool MayAct(const CgroupState& domain, const Rule& client_rule);
  bool MayAct(const CgroupState& domain, const ClientState& client) const;
  static bool Lists(const Rule& rule, ActionKind kind);
  const Rule& RuleOf(const ClientState& client) const;

  Policy policy_;
  bool policy_is_new_ = false;
  bool waits_for_reading_ = false;  // a request, in this tick or the last one
  World world_;
  Ledger ledger_;
  OomKills oom_kills_;
  std::set<NeedOrder> in_need_;
  std::set<CgroupId> braking_;
  std::map<CgroupId, CgroupId> frozen_in_;  // domains, and who stands still in each
  std::uint64_t next_directive_ = 1;
  KernelLevers levers_;
  std::map<ReclaimId, Reclaim> reclaims_;  // under way
  std::uint64_t next_reclaim_ = 1;

  // Of the tick that runs.
  Instant now_;
  Decisions decisions_;
  absl::btree_map<CgroupId, CgroupState*> touched_;  // those whose wire and cadence may change
  std::map<CgroupId, BrakeLost> lost_;
};

}  // namespace memgov::core
