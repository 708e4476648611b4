// The loop: wait -> sample -> tick -> dispatch. It owns the rooms and passes values between them; it decides
// nothing itself.
//
// One control thread (the io_context) owns all state. The session thread posts events to it; what may wait
// for the kernel or a disk has a worker each: brakes, freezes, alarms, triggers, reclaim, pod names, the
// policy's files, status.json, and the trying out of levers. The log has a thread of its own.

#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "governor/core/engine.h"
#include "governor/event_log.h"
#include "governor/identity/acceptor.h"
#include "governor/identity/cgroup_names.h"
#include "governor/journal/recorder.h"
#include "governor/kernel/alarms.h"
#include "governor/kernel/brake_knob.h"
#include "governor/kernel/cgroup_tree.h"
#include "governor/kernel/clock.h"
#include "governor/kernel/freeze_knob.h"
#include "governor/kernel/guard.h"
#include "governor/kernel/kernel_log.h"
#include "governor/kernel/node.h"
#include "governor/kernel/oom_alarm.h"
#include "governor/kernel/pressure_triggers.h"
#include "governor/kernel/probe.h"
#include "governor/kernel/process_table.h"
#include "governor/kernel/reclaimer.h"
#include "governor/kernel/retries.h"
#include "governor/kernel/scan_pace.h"
#include "governor/owner_budget.h"
#include "governor/owner_looks.h"
#include "governor/policy/watcher.h"
#include "governor/said_once.h"
#include "governor/session/server.h"
#include "governor/status_file.h"
#include "governor/status_writer.h"

namespace memgov {

struct DaemonOptions {
  std::string policy_file;  // or directory; empty: the built-in policy, which observes
  bool observe = false;     // observe whatever the policy says: the kill switch
  std::vector<std::string> roots{"/"};
  std::string socket_path = "/run/memgov/memgov.sock";
  std::string state_dir = "/run/memgov";
  std::optional<std::string> cgroup_mount;
  std::optional<std::string> cgroup_namespace_root;  // absent: found by looking
  std::string journal;                               // the directory of the journal; empty: none is kept
  std::uint64_t journal_size = 256 << 20;            // of all its segments, bytes
  std::size_t clients_per_tenant = 1000;
  std::vector<std::string> guard_command;  // starts another guard when the first has died (Guard::Restart)
};

// `try_out`: with harmless trials in cgroups of its own, which observe mode does not make.
kernel::ProbeRequest ProbeRequestOf(const DaemonOptions& options, bool try_out);

class Daemon {
 public:
  // `layout` and `guard` come from main, because the guard must fork before any thread exists.
  static absl::StatusOr<std::unique_ptr<Daemon>> Create(DaemonOptions options, kernel::CgroupLayout layout,
                                                        std::optional<kernel::Guard> guard, EventLog* log);
  ~Daemon();

  // Serves until SIGTERM or SIGINT. OK: everything that is ours has been restored then. The policy is read
  // again when it changes and on SIGHUP; one that is bad leaves the old one in force.
  absl::Status Run();

  // Something that is wanting since the start; said unless the check of that name (doctor.h) says it already.
  void SayUnlessChecked(const std::string& check, const std::string& what);

 private:
  // A client's process, between accept and detach.
  struct Owner {
    boost::asio::posix::stream_descriptor pidfd;  // readable when the process has exited
    identity::Peer peer;
    std::string tenant;
    std::optional<core::ClientId> client;  // set by on_attach
  };
  struct ClientName {
    int pid = 0;
    std::string name;
    std::string cgroup;
    std::string container;
    std::string tenant;
    std::uint64_t cookie = 0;
    core::CgroupId at{};     // as the engine has it
    bool enforcing = false;  // as it was told
  };

  struct Frozen {
    std::string path;  // outlives the cgroup
    core::Instant thaw_by;
  };

  // Who was in a cgroup when it became critical or was about to lose one.
  struct KeptProcesses {
    std::string cgroup;
    core::Instant at;
    kernel::ProcessTable table;
  };

  Daemon(DaemonOptions options, kernel::CgroupLayout layout, std::optional<kernel::Guard> guard,
         EventLog* log);
  absl::Status StartRooms();
  bool Enforces() const;  // any rule; otherwise nothing is written, not even to try it

  // The policy, daemon_policy.cc.
  absl::Status LoadFirstPolicy();
  void UsePolicy(core::Policy policy);
  void TakePolicy(policy::Watcher::News news);
  enum class PolicyAsk { kPoll, kAnyway, kReload };  // each does what those before it do
  struct PolicyLook {
    std::optional<policy::Watcher::News> news;
    absl::Status heard;
    std::optional<core::Instant> due;
  };
  void StartFollowingPolicy();
  void AskPolicy(PolicyAsk ask);
  void OnPolicyLook(PolicyLook look);
  void HearOfPolicy(const absl::Status& heard);
  void WaitForPolicy();
  void Reload();

  // Waiting.
  void WaitForInotify();
  void HearNews();
  absl::Status WaitForSignals();
  void NextSignal();
  void WaitForGuard();
  void LookAtGuard();
  void Wake();  // a tick as soon as the handlers that wait now are done
  void ScheduleTick();

  // Sampling and deciding.
  void Tick();
  void Sample(core::Instant now, core::Snapshot* snapshot);
  void Scan(core::Instant now, core::Snapshot* snapshot);
  void NameNewcomers(core::Snapshot* snapshot);
  void OnNamed(core::CgroupNamed named);
  void ForgetVanished(const core::Snapshot& snapshot);
  void Dispatch(const core::Decisions& decisions);
  void ApplyWire(const core::SetWire& wire);
  void ApplyPressureAlarm(const core::SetPressureAlarm& alarm);
  void ExamineLevers();
  void TryLevers();
  void UseLevers(const kernel::ReclaimAbilities& abilities);
  void StartReclaim(const core::Reclaim& request);
  void StartFreezer();
  void ApplyFreeze(const core::SetFreeze& freeze);
  core::Instant LatestThaw(core::Instant now) const;
  absl::Status ThawAll();
  void OnBrakeLost(core::BrakeLost lost);
  void TellNotLetGo(const absl::Status& why, const std::string& lost, std::string* said);
  void TellGuard(core::Instant now);
  void OnGuardDied();
  void StartGuardAgain();
  void StartGuardLater();
  void WriteNote(const core::Note& note);
  void WriteKill(const core::Note& note);
  void AddFacts(const core::DomainFacts& facts, EventLine* line) const;

  // The kernel's witness, daemon_witness.cc.
  void FollowKernelLog();
  void FollowKernelLogAgain();
  void OnKernelKill(core::KilledProcess victim);
  void WatchForKills(const core::Snapshot& snapshot);
  void OnOomLook(core::CgroupId id, bool first);
  void KeepProcesses(const std::string& path);
  std::vector<core::ProcessSize> ProcessesFor(const core::KillReport& report) const;
  std::string PlaceOf(const core::KilledProcess& victim) const;
  void ExamineNode();
  // Logged the first time each; status.json shows what is so at present.
  void SetDegraded(const std::string& what, bool is);
  void SayDegraded(const std::string& what) { SetDegraded(what, true); }
  void WriteStatusFile();
  void OnStatusWritten(const absl::Status& status);

  // The journal, daemon_journal.cc: the engine's inputs pass here, so that none is forgotten.
  void StartJournal();
  void SetEnginePolicy(core::Policy policy);
  void SetKernelLevers(core::KernelLevers levers);
  core::Decisions Decide(core::Instant now, const core::Snapshot& snapshot,
                         const std::vector<core::ClientEvent>& events);
  void HearJournal(core::Instant now);

  // Who is connected, daemon_owners.cc. On the control thread.
  void OnConnection(identity::AcceptedConnection connection);
  absl::Status AdmitOwner(identity::AcceptedConnection* connection, bool* unheard);
  void OnConnectionEnded(const session::ConnectionEnd& end);
  void EndOwner(std::uint64_t cookie, const absl::Status& why);
  void WatchOwner(std::uint64_t cookie);
  void KeepHouse(core::Instant now);
  void LookAtOwners(std::size_t most);
  void LookAtOwner(std::uint64_t cookie, const Owner& owner);

  // Clients, daemon_clients.cc. On the control thread.
  void OnAttach(session::AttachRequest request);
  const core::Rule& RuleAt(core::CgroupId cgroup, const identity::Peer& peer) const;
  void TellModes();
  void OnOutcome(core::ClientOutcome outcome);
  void OnDetached(core::ClientId client, const std::string& why);

  void Stop();

  const DaemonOptions options_;
  const kernel::CgroupLayout layout_;
  std::optional<kernel::Guard> guard_;
  EventLog* const log_;
  kernel::MonotonicClock clock_;

  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_{io_};
  boost::asio::steady_timer timer_{io_};
  boost::asio::steady_timer inotify_quiet_{io_};
  std::optional<boost::asio::posix::stream_descriptor> inotify_;
  std::optional<boost::asio::posix::stream_descriptor> guard_ended_;
  boost::asio::steady_timer guard_pause_{io_};
  core::Duration guard_wait_{};  // before the next one is started
  bool guard_is_due_ = false;    // it has died, and guard_pause_ runs
  core::Instant guard_started_;

  kernel::NodeSampler node_;
  kernel::CgroupTree tree_;
  kernel::Alarms alarms_;
  kernel::KernelLog kernel_log_;
  kernel::Retries kernel_log_retries_;  // of one thing, under the node's id
  kernel::OomAlarms oom_alarms_;
  kernel::PressureTriggers pressure_;
  std::unique_ptr<kernel::BrakeKnob> brake_;      // v2, outside of observe mode
  std::unique_ptr<kernel::Reclaimer> reclaimer_;  // outside of observe mode
  std::unique_ptr<kernel::FreezeKnob> freezer_;   // v1, outside of observe mode
  std::map<core::CgroupId, Frozen> frozen_;       // as decided
  std::string not_braked_, not_thawed_;           // what could not be let go of, as it stands in degraded_
  std::optional<core::Instant> guard_lets_go_;    // as the guard was told
  std::string no_freezer_ = "nobody is frozen in observe mode, nor on cgroup v2";
  std::unique_ptr<session::SessionServer> sessions_;
  std::unique_ptr<identity::Acceptor> acceptor_;
  identity::CgroupNames cgroup_names_;

  // Absent: the built-in policy. The worker's alone once the loop runs, but for its descriptor.
  std::optional<policy::Watcher> policy_watch_;
  bool policy_asked_ = false;
  bool policy_waiting_ = false;
  std::optional<PolicyAsk> policy_ask_again_;
  std::string policy_deaf_;  // as it stands in degraded_
  std::optional<boost::asio::posix::stream_descriptor> policy_changed_;
  boost::asio::steady_timer policy_due_{io_};
  boost::asio::steady_timer policy_quiet_{io_};
  core::Policy policy_;
  core::Engine engine_;                         // by SetEnginePolicy, SetKernelLevers and Decide alone
  std::unique_ptr<journal::Recorder> journal_;  // absent: none is kept
  std::string journal_degraded_;                // as it stands in degraded_
  std::vector<core::ClientEvent> events_;       // since the last tick
  std::set<core::CgroupId> read_now_;           // alarmed, or with an outcome to verify
  core::Snapshot early_;                        // scanned outside of a tick, for the next one
  std::map<std::uint64_t, Owner> owners_;       // by socket cookie
  OwnerBudget owner_budget_;
  identity::AttestorOptions attestor_;
  core::Instant next_house_;
  OwnerLooks looks_;
  std::uint64_t looked_at_ = 0;  // the last one
  std::map<core::ClientId, ClientName> names_;
  std::vector<core::ClientId> left_;       // their names go with the next tick
  std::set<core::CgroupId> failed_wires_;  // said once each
  core::Instant next_node_;
  core::Instant last_scan_;
  core::Instant next_scan_;
  core::Instant last_whole_scan_;
  core::Instant next_whole_scan_;
  kernel::ScanPace scan_pace_;
  std::set<std::string> degraded_;                           // at present
  SaidOnce said_;                                            // of degraded_
  std::vector<std::pair<std::string, std::string>> unsaid_;  // checks and words, until the node is examined
  std::set<std::string> tree_degraded_;                      // as of the last scan
  DaemonStatus status_;
  std::set<core::CgroupId> read_whole_;       // where a kill may have been counted
  std::deque<KeptProcesses> kept_processes_;  // newest last
  bool sees_all_pids_ = false;
  absl::Status restored_;  // what Run returns
  std::optional<core::Instant> engine_next_;
  std::optional<kernel::ReclaimAbilities> tried_levers_;  // what was found by trying, once
  bool trying_levers_ = false;
  bool in_loop_ = false;  // handlers run; nothing may wait any more
  bool tick_posted_ = false;
  bool stopping_ = false;
  std::optional<StatusWriter> status_writer_;  // absent before the loop runs
  // Last, so that they end first: what runs there uses us.
  boost::asio::thread_pool policy_worker_{1};
  boost::asio::thread_pool trial_worker_{1};
};

}  // namespace memgov
