#include "governor/daemon.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <csignal>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/base/short_slices.h"
#include "governor/core/explain.h"
#include "governor/identity/namespace_root.h"
#include "governor/identity/tenant.h"
#include "governor/kernel/watch_fd.h"

namespace memgov {
namespace {

// Of the whole tree. inotify tells what comes between, but for a memory controller that is switched on late;
// where there is no inotify, the scan is all there is.
constexpr auto kScanEvery = std::chrono::seconds(15);
constexpr auto kScanEveryWithoutInotify = std::chrono::seconds(5);
constexpr auto kScanAgain = std::chrono::milliseconds(100);  // at most so often, whatever happens
constexpr auto kWholeScanAgain =
    std::chrono::seconds(2);  // after news was lost, which a tenant can bring about
constexpr auto kNodeEvery = std::chrono::milliseconds(250);
constexpr auto kInotifyQuiet = std::chrono::milliseconds(5);
// A tenth of the time, as wake.stall by default; what it shows is judged by the engine.
constexpr kernel::PressureTrigger kStallTrigger{.kind = kernel::PressureTrigger::Kind::kFull,
                                                .stall = std::chrono::milliseconds(50),
                                                .window = std::chrono::milliseconds(500)};
// A tick may ask for fresh readings and be run again; a cgroup that cannot be read must not make it endless.
constexpr int kMostRounds = 3;
constexpr char kNoKernelLog[] =
    "the kernel's log can be read no longer: OOM kills are counted, but their victims are not named; it is "
    "opened "
    "again every minute at least, or at once by a restart of memgovd";
constexpr char kNoWire[] =
    "no usage alarm in some cgroups: a burst between two samples is seen late; it is tried again every "
    "minute "
    "at least";
constexpr char kNoPressureAlarm[] =
    "no pressure alarm in some cgroups: a stall is seen only when they are read; it is tried again every "
    "minute at least";
constexpr char kNoOomAlarm[] =
    "no OOM alarm in some cgroups: a kill is not counted if its cgroup is removed at once; it is tried again "
    "every minute at least";
constexpr char kDeafToTree[] =
    "changes of the tree of cgroups cannot be waited for: new cgroups are noticed by the periodic scan only; "
    "it is tried again at each scan";
constexpr std::size_t kTold = 64;             // of a tenant's connections that are refused
constexpr std::size_t kShareOfOomAlarms = 8;  // of the files that may be open, one part

// Its own processes may make cgroups below it.
bool BelongsToTenant(std::string_view path) {
  const std::string tenant = identity::TenantOfCgroup({path.data(), path.size()});
  return tenant.starts_with("container ") || tenant.starts_with("service ") || tenant.starts_with("user ");
}

std::size_t MostFiles() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<std::size_t>(limit.rlim_cur) : 0;
}

}  // namespace

Daemon::Daemon(DaemonOptions options, kernel::CgroupLayout layout, std::optional<kernel::Guard> guard,
               EventLog* log)
    : options_(std::move(options)),
      layout_(std::move(layout)),
      guard_(std::move(guard)),
      log_(log),
      tree_(layout_, options_.roots, BelongsToTenant),
      alarms_(
          io_, layout_,
          [this](core::CgroupId id) {
            read_now_.insert(id);
            Wake();  // not a tick each: a tenant can make a thousand of them ring at once
          },
          [this](bool failing) { SetDegraded(kNoWire, failing); }),
      kernel_log_(
          io_, {.on_kill = [this](core::KilledProcess victim) { OnKernelKill(std::move(victim)); },
                .on_overrun =
                    [this] {
                      SayDegraded(
                          "the kernel's log was overwritten before it was read: a victim may not be named");
                    },
                .on_end =
                    [this](const absl::Status& why) {
                      if (said_.Say(TextOf(why))) {
                        log_->Warn(EventLine(clock_.Now(), "degraded"), TextOf(why));
                      }
                      kernel_log_retries_.Failed(core::kNodeId);
                    }}),
      kernel_log_retries_(
          io_, {}, [this](core::CgroupId) { FollowKernelLogAgain(); },
          [this](bool failing) { SetDegraded(kNoKernelLog, failing); }),
      oom_alarms_(
          io_, layout_, MostFiles() / kShareOfOomAlarms,
          [this](core::CgroupId id, bool first) { OnOomLook(id, first); },
          [this](bool failing) { SetDegraded(kNoOomAlarm, failing); }),
      pressure_(io_, layout_,
                {.on_stall =
                     [this](core::CgroupId id) {
                       read_now_.insert(id);
                       Wake();
                     },
                 .on_degraded = [this](const std::string& what) { SayUnlessChecked("psi triggers", what); },
                 .on_failing = [this](bool failing) { SetDegraded(kNoPressureAlarm, failing); }}),
      cgroup_names_(io_, identity::LookInFiles(), {},
                    [this](core::CgroupNamed named) { OnNamed(std::move(named)); }),
      engine_(core::Policy{}),
      owner_budget_(OwnerBudget::LimitsFor(MostFiles(), options_.clients_per_tenant)),
      scan_pace_(kScanAgain) {}

Daemon::~Daemon() = default;

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Create(DaemonOptions options, kernel::CgroupLayout layout,
                                                       std::optional<kernel::Guard> guard, EventLog* log) {
  // The loop and the threads are made by constructors, which throw where there is no descriptor or thread
  // left.
  std::unique_ptr<Daemon> daemon;
  try {
    daemon.reset(new Daemon(std::move(options), std::move(layout), std::move(guard), log));
    daemon->StartJournal();
  } catch (const std::exception& error) {
    return absl::ResourceExhaustedError(absl::StrCat("the event loop cannot be made: ", error.what()));
  }
  if (absl::Status status = daemon->LoadFirstPolicy(); !status.ok()) return status;
  if (absl::Status status = daemon->StartRooms(); !status.ok()) return status;
  return daemon;
}

bool Daemon::Enforces() const {
  return std::any_of(policy_.rules.begin(), policy_.rules.end(),
                     [](const core::Rule& rule) { return rule.mode == core::Mode::kEnforce; });
}

absl::Status Daemon::StartRooms() {
  const bool v2 = layout_.memory_version == kernel::MemoryVersion::kV2;
  if (v2 && guard_ && !options_.observe) {
    brake_ = std::make_unique<kernel::BrakeKnob>(
        layout_, options_.state_dir + "/brake.state", io_,
        [this](core::BrakeLost lost) { OnBrakeLost(lost); },
        [this](const absl::Status& why) {
          TellNotLetGo(why, "a brake slows a cgroup for longer than it may", &not_braked_);
        });
  }
  ExamineLevers();
  StartFreezer();
  session::SessionServer::Options session_options;
  session_options.version = "memgovd " MEMGOV_VERSION;
  session_options.now = [this] { return clock_.Now(); };
  // Beyond what is admitted a few are told why they are not.
  session_options.max_per_tenant = owner_budget_.limits().per_tenant + kTold;
  session_options.max_connections = owner_budget_.limits().most + kTold;
  session::SessionServer::Callbacks callbacks{
      .on_attach =
          [this](session::AttachRequest request) {
            boost::asio::post(
                io_, [this, request = std::move(request)]() mutable { OnAttach(std::move(request)); });
          },
      .on_report =
          [this](core::ClientReport report) {
            boost::asio::post(io_, [this, report] {
              events_.emplace_back(report);
              Wake();
            });
          },
      .on_outcome =
          [this](core::ClientOutcome outcome) {
            boost::asio::post(
                io_, [this, outcome = std::move(outcome)]() mutable { OnOutcome(std::move(outcome)); });
          },
      .on_detached =
          [this](core::ClientId client, std::string why) {
            boost::asio::post(io_, [this, client, why = std::move(why)] { OnDetached(client, why); });
          },
      .on_closed =
          [this](session::ConnectionEnd end) {
            boost::asio::post(io_, [this, end = std::move(end)] { OnConnectionEnded(end); });
          }};
  auto sessions = session::SessionServer::Start(std::move(session_options), std::move(callbacks));
  if (!sessions.ok()) return sessions.status();
  sessions_ = *std::move(sessions);

  identity::AcceptorOptions acceptor_options;
  acceptor_options.socket_path = options_.socket_path;
  acceptor_options.attestor.cgroup_namespace_root = options_.cgroup_namespace_root
                                                        ? options_.cgroup_namespace_root
                                                        : identity::FindNamespaceRoot(layout_.memory_mount);
  if (!acceptor_options.attestor.cgroup_namespace_root) {
    log_->Warn(EventLine(clock_.Now(), "degraded"),
               layout_.memory_mount + " does not hold memgovd's own cgroup: every client will be refused");
  }
  attestor_ = acceptor_options.attestor;
  auto acceptor = identity::Acceptor::Listen(
      io_, std::move(acceptor_options),
      [this](identity::AcceptedConnection connection) { OnConnection(std::move(connection)); });
  if (!acceptor.ok()) return acceptor.status();
  acceptor_ = *std::move(acceptor);
  return absl::OkStatus();
}

absl::Status Daemon::Run() {
  if (absl::Status status = WaitForSignals(); !status.ok()) return status;
  WaitForInotify();
  ExamineNode();
  FollowKernelLog();
  guard_started_ = clock_.Now();
  WaitForGuard();
  StartFollowingPolicy();
  const core::Instant now = clock_.Now();
  next_node_ = next_scan_ = now;
  Tick();
  log_->Write(
      EventLine(now, "ready")
          .Add("socket", options_.socket_path)
          .Add("memory_mount", layout_.memory_mount)
          .Add("memory_version", layout_.memory_version == kernel::MemoryVersion::kV2 ? std::int64_t{2} : 1)
          .Add("cgroups", static_cast<std::int64_t>(tree_.size())),
      fmt::format("ready: watching {} cgroups below {} in {}, serving {}", tree_.size(),
                  fmt::join(options_.roots, ", "), layout_.memory_mount, options_.socket_path));
  status_writer_.emplace(
      io_, [dir = options_.state_dir](const std::string& text) { return WriteStatusText(dir, text); },
      [this](const absl::Status& status) { OnStatusWritten(status); });
  in_loop_ = true;
  base::AskForShortSlices();  // not earlier: threads inherit it, and those that do slow work have begun
  io_.run();
  status_writer_.reset();
  return restored_;
}

// --- waiting
// -------------------------------------------------------------------------------------------------

absl::Status Daemon::WaitForSignals() {
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) {
    boost::system::error_code error;
    signals_.add(number, error);
    // Whoever ended us then would leave everything to the guard.
    if (error) return absl::ErrnoToStatus(error.value(), fmt::format("waiting for signal {}", number));
  }
  NextSignal();
  return absl::OkStatus();
}

void Daemon::NextSignal() {
  signals_.async_wait([this](const boost::system::error_code& error, int number) {
    if (error) return;
    if (number == SIGHUP) {
      Reload();
      NextSignal();
    } else {
      Stop();
    }
  });
}

void Daemon::WaitForInotify() {
  if (!inotify_) {
    if (tree_.inotify_fd() < 0) return;  // the tree says so; then there are only the scans
    auto watched = kernel::WatchCopyOf(io_, tree_.inotify_fd(), "the tree of cgroups");
    SetDegraded(kDeafToTree, !watched.ok());
    if (!watched.ok()) return;  // tried again at the next whole scan
    inotify_ = *std::move(watched);
  }
  inotify_->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& error) {
                         if (error) return;
                         HearNews();
                         // A tenant that makes cgroups or writes its knobs all the time must not own our
                         // loop.
                         inotify_quiet_.expires_after(kInotifyQuiet);
                         inotify_quiet_.async_wait([this](const boost::system::error_code& stopped) {
                           if (!stopped) WaitForInotify();
                         });
                       });
}

void Daemon::HearNews() {
  const kernel::CgroupTree::News news = tree_.ReadInotify();
  if (news.scan_needed) next_scan_ = std::min(next_scan_, last_scan_ + kScanAgain);
  if (tree_.lost_news()) {
    next_whole_scan_ = std::min(next_whole_scan_, last_whole_scan_ + kWholeScanAgain);
    next_scan_ = std::min(next_scan_, next_whole_scan_);
  }
  read_now_.insert(news.knobs_written.begin(), news.knobs_written.end());
  // The scan has its time; only what was written is worth a tick at once.
  if (!news.knobs_written.empty() || next_scan_ <= clock_.Now()) return Wake();
  ScheduleTick();
}

void Daemon::Wake() {
  if (tick_posted_ || stopping_) return;
  tick_posted_ = true;
  boost::asio::post(io_, [this] {
    tick_posted_ = false;
    Tick();
  });
}

void Daemon::ScheduleTick() {
  core::Instant next = std::min(next_node_, next_scan_);
  if (const auto due = tree_.NextDue()) next = std::min(next, *due);
  if (const auto due = tree_.SuspectsDue()) next = std::min(next, std::max(*due, last_scan_ + kScanAgain));
  if (engine_next_) next = std::min(next, *engine_next_);
  next = std::min(next, looks_.Next(owners_.size()));
  timer_.expires_at(std::chrono::steady_clock::time_point(next.time_since_epoch()));
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) Tick();
  });
}

// --- sampling and deciding
// -----------------------------------------------------------------------------------

void Daemon::Tick() {
  if (stopping_) return;
  LookAtGuard();
  for (int round = 0; round < kMostRounds; ++round) {
    const core::Instant now = clock_.Now();
    KeepHouse(now);
    core::Snapshot snapshot = std::exchange(early_, {});
    Sample(now, &snapshot);
    NameNewcomers(&snapshot);
    ForgetVanished(snapshot);
    WatchForKills(snapshot);
    const std::vector<core::ClientEvent> events = std::exchange(events_, {});
    const core::Decisions decisions = Decide(now, snapshot, events);
    Dispatch(decisions);
    for (const core::ClientId client : std::exchange(left_, {})) names_.erase(client);
    engine_next_ = decisions.next_tick;
    read_now_.insert(decisions.read_now.begin(), decisions.read_now.end());
    if (read_now_.empty()) break;
  }
  // What was asked for in the last round is read in a tick of its own, so that others have their turn first.
  if (!read_now_.empty()) Wake();
  TellGuard(clock_.Now());
  ScheduleTick();
}

void Daemon::Sample(core::Instant now, core::Snapshot* snapshot) {
  // A tenant that makes and removes cgroups all the time must not own our loop.
  const auto due = tree_.SuspectsDue();
  const bool scan_again = due && *due <= now && now >= last_scan_ + kScanAgain;
  if (now >= next_scan_ || scan_again) Scan(now, snapshot);
  tree_.CollectDue(now, snapshot);
  for (const core::CgroupId id : std::exchange(read_now_, {})) {
    if (id == core::kNodeId) {
      next_node_ = now;
    } else if (!tree_.Sample(id, now, true, snapshot)) {
      tree_.Drop(id, snapshot);
    }
  }
  for (const core::CgroupId id : std::exchange(read_whole_, {})) tree_.Sample(id, now, true, snapshot);
  if (now >= next_node_) {
    if (auto sample = node_.Sample(now)) {
      tree_.SetNodeHasSwap(sample->swap_left.value_or(0) > 0);
      snapshot->samples.push_back(*sample);
    }
    next_node_ = now + kNodeEvery;
  }
}

void Daemon::NameNewcomers(core::Snapshot* snapshot) {
  for (core::CgroupAppeared& cgroup : snapshot->appeared) {
    cgroup.names = cgroup_names_.Add(cgroup.id, cgroup.path);
  }
}

void Daemon::OnNamed(core::CgroupNamed named) {
  const auto by_name = [](const core::Rule& rule) { return core::AsksForNames(rule.names); };
  if (!named.names.pending && named.names.pod.empty() &&
      std::any_of(policy_.rules.begin(), policy_.rules.end(), by_name)) {
    SayDegraded(
        "the names of some pods are not in the files of this node: rules that match by namespace, pod or "
        "container do not govern them");
  }
  early_.named.push_back(std::move(named));
  TellModes();
  Wake();
}

void Daemon::ForgetVanished(const core::Snapshot& snapshot) {
  for (const core::CgroupId id : snapshot.vanished) {
    alarms_.Disarm(id);
    pressure_.Disarm(id);
    oom_alarms_.Disarm(id);
    failed_wires_.erase(id);
    cgroup_names_.Forget(id);
    if (brake_) brake_->Forget(id);
  }
}

void Daemon::Scan(core::Instant now, core::Snapshot* snapshot) {
  if (now >= next_whole_scan_) {
    tree_.Scan(now, snapshot);
    last_whole_scan_ = now;
    if (!inotify_) WaitForInotify();
    next_whole_scan_ =
        now + scan_pace_.After(tree_.incomplete(), tree_.hears_all() ? kScanEvery : kScanEveryWithoutInotify);
  } else {
    tree_.ScanSuspects(now, snapshot);
    if (tree_.incomplete() && !scan_pace_.hurries()) {
      next_whole_scan_ = std::min(next_whole_scan_, now + kScanAgain);
    }
  }
  last_scan_ = now;
  next_scan_ = next_whole_scan_;
  const std::vector<std::string> present = tree_.degraded();
  for (const std::string& what : std::exchange(tree_degraded_, {present.begin(), present.end()})) {
    if (!tree_degraded_.contains(what)) SetDegraded(what, false);
  }
  for (const std::string& what : present) SetDegraded(what, true);
}

void Daemon::Dispatch(const core::Decisions& decisions) {
  // Requests first: milliseconds count for them.
  for (const core::Directive& directive : decisions.directives) {
    sessions_->Send(directive, core::TextOf(directive.reason));
  }
  for (const core::SetFreeze& freeze : decisions.freezes) ApplyFreeze(freeze);
  for (const core::Reclaim& request : decisions.reclaims) StartReclaim(request);
  for (const core::SetWire& wire : decisions.wires) ApplyWire(wire);
  for (const core::SetPressureAlarm& alarm : decisions.pressure_alarms) ApplyPressureAlarm(alarm);
  for (const core::SetCadence& cadence : decisions.cadences) tree_.SetCadence(cadence);
  for (const core::Note& note : decisions.notes) {
    WriteNote(note);
    // Whoever could have given may have been moved out of the domain, or into it.
    if (note.kind == core::NoteKind::kWithheld) looks_.Hurry(note.at, owners_.size());
    if (note.kind == core::NoteKind::kCritical) KeepProcesses(tree_.PathOf(note.domain));
  }
}

void Daemon::ApplyWire(const core::SetWire& wire) {
  const std::string path = tree_.PathOf(wire.cgroup);
  if (path.empty()) return;
  const auto complain = [this, id = wire.cgroup, path](const absl::Status& status) {
    // Cancelled: a later request for the same cgroup overtook this one.
    const bool expected = status.ok() || absl::IsNotFound(status) || absl::IsCancelled(status);
    if (expected || !failed_wires_.insert(id).second) return;
    log_->Warn(EventLine(clock_.Now(), "wire_failed")
                   .Add("domain", path)
                   .BoundBy(LogBudget::Cause::kDecision, identity::TenantOfCgroup(path)),
               TextOf(status));
  };
  // A brake that could not be set is not there, so nobody may think it is.
  const auto answer = [this, complain, wire](const absl::Status& status) {
    complain(status);
    if (!wire.at || status.ok() || absl::IsCancelled(status)) return;
    OnBrakeLost({.cgroup = wire.cgroup, .foreign = absl::IsFailedPrecondition(status)});
  };
  if (wire.at) {
    alarms_.Arm(wire.cgroup, path, *wire.at, complain);
  } else {
    alarms_.Disarm(wire.cgroup);
  }
  if (!wire.brake || !brake_) return;
  if (wire.at && !guard_->Running()) {
    // Nobody would let go of the brake if we were killed now.
    answer(absl::UnavailableError("no brake is set while there is no guard"));
    return;
  }
  brake_->Set(wire.cgroup, path, wire.at, answer);
}

void Daemon::ApplyPressureAlarm(const core::SetPressureAlarm& alarm) {
  if (!alarm.on) return pressure_.Disarm(alarm.cgroup);
  const std::string path = tree_.PathOf(alarm.cgroup);
  if (path.empty()) return;
  // Most cgroups of a hybrid host have no counterpart in the v2 tree, and so no pressure; a node without PSI
  // has said so at the start. What is tried again is said by itself.
  pressure_.Arm(alarm.cgroup, path, kStallTrigger, [](const absl::Status&) {});
}

// --- ending
// --------------------------------------------------------------------------------------------------

void Daemon::Stop() {
  stopping_ = true;
  timer_.cancel();
  acceptor_->Stop();
  // Brakes and freezes first: nobody watches them any more.
  if (brake_) restored_ = brake_->RestoreAll();
  restored_.Update(ThawAll());
  sessions_->Shutdown(std::chrono::seconds(1));
  if (restored_.ok()) {
    log_->Write(EventLine(clock_.Now(), "stopped"), "stopped; every knob that was ours is restored");
  } else {
    log_->Warn(EventLine(clock_.Now(), "restore_failed"), TextOf(restored_));
  }
  io_.stop();
}

}  // namespace memgov
