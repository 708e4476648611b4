// The checks themselves: what a fact means for the people who run memgovd here.

#include <errno.h>
#include <fmt/format.h>
#include <linux/capability.h>

#include <cstdio>
#include <system_error>
#include <utility>

#include "governor/core/explain.h"
#include "governor/doctor.h"
#include "governor/identity/acceptor.h"
#include "governor/owner_budget.h"

namespace memgov {
namespace {

using identity::kListenQueue;
using kernel::HasCapability;
using kernel::MemoryVersion;
using kernel::NodeFacts;

constexpr int kFilesPerCgroup = 5;  // usage, limit, events, stat, pressure
constexpr int kFilesBesides = 256;  // clients, alarms, ourselves
constexpr char kWantsV2[] = "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1)";

Check Ok(std::string name, std::string found) {
  return {.name = std::move(name), .state = CheckState::kOk, .found = std::move(found)};
}

Check Short(CheckState state, std::string name, std::string found, std::string lost, std::string remedy) {
  return {.name = std::move(name),
          .state = state,
          .found = std::move(found),
          .lost = std::move(lost),
          .remedy = std::move(remedy)};
}

Check Degraded(std::string name, std::string found, std::string lost, std::string remedy) {
  return Short(CheckState::kDegraded, std::move(name), std::move(found), std::move(lost), std::move(remedy));
}

Check Missing(std::string name, std::string found, std::string lost, std::string remedy) {
  return Short(CheckState::kMissing, std::move(name), std::move(found), std::move(lost), std::move(remedy));
}

Check Essential(Check check) {
  check.essential = true;
  return check;
}

std::string ErrorText(int error) { return std::generic_category().message(error); }

bool IsV1(const NodeFacts& facts) {
  return facts.layout && facts.layout->memory_version == MemoryVersion::kV1;
}

// --- the node and its cgroups
// -----------------------------------------------------------------------------------

Check Kernel(const NodeFacts& facts) {
  int major = 0;
  int minor = 0;
  if (std::sscanf(facts.kernel.c_str(), "%d.%d", &major, &minor) != 2) {  // NOLINT(cert-err34-c)
    return Degraded("kernel", facts.kernel.empty() ? "unknown" : facts.kernel, "what it offers is not known",
                    "");
  }
  if (major > 5 || (major == 5 && minor >= 2)) return Ok("kernel", facts.kernel);
  return Degraded("kernel", facts.kernel, "pressure of cgroups, the v2 freezer, reliable counts of kills",
                  "use Linux 5.2 or newer");
}

Check Layout(const NodeFacts& facts) {
  if (!facts.layout) {
    return Essential(Missing("cgroups", facts.layout_error, "everything",
                             "mount the host's /sys/fs/cgroup, and name it with --cgroup-mount"));
  }
  const std::string& mount = facts.layout->memory_mount;
  if (!IsV1(facts)) return Ok("cgroups", "v2 at " + mount);
  return Degraded(
      "cgroups",
      fmt::format("v1 at {}{}", mount, facts.layout->hybrid ? ", with a v2 tree beside it (hybrid)" : ""),
      "the brake and bounded reclaim: fast growth is seen in time, but cannot be slowed", kWantsV2);
}

Check Roots(const NodeFacts& facts) {
  std::string absent;
  std::string bare;
  for (const kernel::RootFacts& root : facts.roots) {
    if (!root.exists) absent += (absent.empty() ? "" : ", ") + root.path;
    if (root.exists && !root.has_memory) bare += (bare.empty() ? "" : ", ") + root.path;
  }
  if (facts.roots.empty()) {
    return Essential(
        Missing("roots", "none is a path of a cgroup", "everything", "name one with --root /PATH"));
  }
  if (!bare.empty()) {
    return Degraded("roots", "no memory controller below " + bare, "cgroups there are not seen",
                    "echo +memory > cgroup.subtree_control, there and above");
  }
  if (!absent.empty()) {
    return Degraded("roots", absent + " does not exist", "nothing is watched there until it does",
                    "check --root against /proc/PID/cgroup");
  }
  return Ok("roots", fmt::format("{} cgroup{} below {}", facts.cgroups, facts.cgroups == 1 ? "" : "s",
                                 facts.roots.size() == 1 ? facts.roots.front().path
                                                         : fmt::format("{} roots", facts.roots.size())));
}

Check Writing(const NodeFacts& facts) {
  if (facts.write_error == 0) return Ok("cgroup writes", "allowed");
  if (facts.write_error == ENOENT) return Ok("cgroup writes", "not tried: the first root does not exist");
  return Degraded(
      "cgroup writes", ErrorText(facts.write_error),
      "every lever and alarm in cgroups: memgovd can observe and ask clients only",
      facts.write_error == EROFS ? "mount the cgroup tree writable" : "run as root, with the tree delegated");
}

// --- pressure
// ---------------------------------------------------------------------------------------------------

Check SystemPressure(const NodeFacts& facts) {
  if (facts.system_pressure) return Ok("psi", "on");
  return Missing("psi", "/proc/pressure/memory cannot be read", "stalls of the node are not seen",
                 "boot with psi=1 (kernel with CONFIG_PSI)");
}

Check CgroupPressure(const NodeFacts& facts) {
  if (facts.cgroup_pressure) return Ok("psi of cgroups", "memory.pressure in each cgroup");
  return Missing("psi of cgroups", "no memory.pressure",
                 "a cgroup that thrashes is not told from one that is busy",
                 facts.system_pressure ? "mount a cgroup2 tree beside v1, writable" : "boot with psi=1");
}

Check Triggers(const NodeFacts& facts) {
  const std::string where = facts.triggers_on_cgroup ? "of a cgroup" : "of the node";
  if (facts.fast_trigger == 0) return Ok("psi triggers", "windows from 500 ms, " + where);
  if (facts.slow_trigger == 0) {
    return Degraded("psi triggers", "windows of 2 s only, " + where, "a stall is told up to 2 s late",
                    "give CAP_SYS_RESOURCE");
  }
  if (!facts.slow_trigger) return Ok("psi triggers", "not tried");
  return Missing("psi triggers", ErrorText(*facts.slow_trigger), "stalls are seen by polling only",
                 *facts.slow_trigger == EROFS ? "mount the cgroup tree writable" : "boot with psi=1");
}

// --- levers
// -----------------------------------------------------------------------------------------------------

// A lever that only cgroup v2 has.
Check V2Lever(const NodeFacts& facts, std::string name, const kernel::Trial& trial, std::string lost,
              std::string remedy) {
  if (IsV1(facts)) return Missing(std::move(name), "not on cgroup v1", std::move(lost), kWantsV2);
  if (!trial) return Ok(std::move(name), "not tried");
  if (*trial == 0) return Ok(std::move(name), "works");
  return Missing(std::move(name), ErrorText(*trial), std::move(lost), std::move(remedy));
}

Check Swappiness(const NodeFacts& facts) {
  if (facts.memory_reclaim == 0 && facts.reclaim_swappiness.value_or(0) != 0) {
    return Degraded("reclaim swappiness=", "not known to this kernel",
                    "reclaim cannot be told to spare anonymous memory where there is swap",
                    "use Linux 6.11 or newer");
  }
  return V2Lever(facts, "reclaim swappiness=", facts.memory_reclaim, "reclaim cannot choose what it takes",
                 "use Linux 6.11 or newer");
}

Check KillCounter(const NodeFacts& facts) {
  const std::string file = IsV1(facts) ? "memory.oom_control" : "memory.events";
  if (!facts.oom_counter) return Ok("kill counters", "not tried");
  if (*facts.oom_counter == 0) return Ok("kill counters", file);
  return Missing("kill counters", file + ": " + ErrorText(*facts.oom_counter), "OOM kills are not counted",
                 "enable the memory controller below the roots");
}

Check UsageAlarm(const NodeFacts& facts) {
  if (!IsV1(facts)) return Ok("usage alarm", "memory.high rings and brakes at once");
  if (!facts.usage_eventfd) return Ok("usage alarm", "not tried");
  if (*facts.usage_eventfd == 0) return Ok("usage alarm", "eventfd on memory.usage_in_bytes");
  return Missing("usage alarm", ErrorText(*facts.usage_eventfd), "a burst between two samples is seen late",
                 "mount the memory hierarchy writable");
}

Check Freezer(const NodeFacts& facts) {
  if (!facts.freezer) return Ok("freezer", "not tried");
  if (*facts.freezer == 0) return Ok("freezer", IsV1(facts) ? "freezer.state" : "cgroup.freeze");
  return Missing("freezer", ErrorText(*facts.freezer), "pausing a cgroup (opt-in)",
                 IsV1(facts) ? "mount the v1 freezer controller writable" : "use Linux 5.2 or newer");
}

Check ProcessMadvise(const NodeFacts& facts) {
  const char* const name = "process_madvise";
  const char* const lost = "memory that a process freed lazily cannot be collected without a client in it";
  if (!facts.process_madvise) return Ok(name, "not tried");
  if (*facts.process_madvise != 0) {
    return Missing(
        name, ErrorText(*facts.process_madvise), lost,
        *facts.process_madvise == ENOSYS ? "use Linux 5.10 or newer" : "allow it in the seccomp profile");
  }
  if (HasCapability(facts.capabilities, CAP_SYS_PTRACE) && HasCapability(facts.capabilities, CAP_SYS_NICE)) {
    return Ok(name, "works, on other processes too");
  }
  return Degraded(name, "works on ourselves only", lost, "give CAP_SYS_PTRACE and CAP_SYS_NICE");
}

Check Mglru(const NodeFacts& facts) {
  if (!facts.mglru) return Ok("multi-gen lru", "not in this kernel: two lists age the pages");
  return Ok("multi-gen lru", *facts.mglru ? "on" : "off: two lists age the pages");
}

Check HugePages(const NodeFacts& facts) {
  const std::string& mode = facts.transparent_huge_pages;
  if (mode.empty()) return Ok("huge pages", "none");
  if (mode != "always") return Ok("huge pages", mode);
  return Degraded(
      "huge pages", mode,
      "memory given back from the middle of a huge page stays charged, so requests seem to return less",
      "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
}

Check Swap(const NodeFacts& facts) {
  return Ok("swap", facts.swap == 0 ? "none: at its limit a cgroup is killed, not swapped"
                                    : core::TextOf(facts.swap));
}

// --- rights
// -----------------------------------------------------------------------------------------------------

Check Uid(const NodeFacts& facts) {
  if (facts.uid == 0) return Ok("uid", "0");
  return Essential(Missing("uid", std::to_string(facts.uid),
                           "other users' processes and cgroups cannot be governed",
                           "run as uid 0; no capability is needed for the core"));
}

Check Capability(const NodeFacts& facts, std::string name, unsigned capability, std::string lost) {
  if (HasCapability(facts.capabilities, capability)) return Ok(std::move(name), "held");
  if (lost.empty()) return Ok(std::move(name), "not held; nothing needs it");
  std::string remedy = "give CAP_" + name;
  return Degraded(std::move(name), "not held", std::move(lost), std::move(remedy));
}

Check PidNamespace(const NodeFacts& facts) {
  if (facts.first_pid_namespace) return Ok("pid namespace", "the host's");
  return Essential(Missing("pid namespace", "a private one",
                           "clients outside of it have no pid here and are refused",
                           "hostPID: true (Kubernetes), --pid=host (Docker, podman)"));
}

Check CgroupNamespace(const NodeFacts& facts) {
  if (facts.first_cgroup_namespace) return Ok("cgroup namespace", "the host's");
  return Degraded("cgroup namespace", "a private one",
                  "cgroups of clients are named relative to our own (/../..)",
                  "mount the host's /sys/fs/cgroup and name it with --cgroup-mount; or --cgroupns=host");
}

Check KernelLog(const NodeFacts& facts) {
  if (facts.kmsg_error == 0) return Ok("/dev/kmsg", "readable");
  return Degraded("/dev/kmsg", ErrorText(facts.kmsg_error),
                  "OOM kills are counted, but their victims are not named",
                  facts.kmsg_error == ENOENT ? "give the container the device /dev/kmsg"
                                             : "give CAP_SYSLOG, or set kernel.dmesg_restrict=0");
}

// --- limits
// -----------------------------------------------------------------------------------------------------

Check Files(const NodeFacts& facts) {
  const std::uint64_t wanted = facts.cgroups * kFilesPerCgroup + kFilesBesides;
  const std::string found = fmt::format("{} may be open, {} are wanted", facts.file_limit, wanted);
  if (facts.file_limit >= wanted) return Ok("open files", found);
  return Degraded("open files", found, "reading some cgroups costs five times as much",
                  "raise RLIMIT_NOFILE (LimitNOFILE= in the unit)");
}

Check Clients(const NodeFacts& facts) {
  const OwnerBudget::Limits limits = OwnerBudget::LimitsFor(facts.file_limit, facts.clients_per_tenant);
  const std::string found = fmt::format("{} of a tenant, {} in all", limits.per_tenant, limits.most);
  if (limits.per_tenant >= facts.clients_per_tenant) return Ok("clients", found);
  return Degraded(
      "clients", found,
      fmt::format("of more processes of one tenant (--clients-per-tenant {}) only the largest are "
                  "served: a quarter of the files that may be open are for clients",
                  facts.clients_per_tenant),
      fmt::format("raise RLIMIT_NOFILE to {} (LimitNOFILE= in the unit)",
                  OwnerBudget::FilesFor(facts.clients_per_tenant)));
}

Check ListenQueue(const NodeFacts& facts) {
  if (facts.listen_queue == 0) return Ok("listen queue", "not known");
  const std::string found = fmt::format("{} connections", facts.listen_queue);
  if (facts.listen_queue >= std::uint64_t{kListenQueue}) return Ok("listen queue", found);
  return Degraded("listen queue", found, "many clients that start at once wait for each other",
                  fmt::format("sysctl net.core.somaxconn={}", kListenQueue));
}

Check Inotify(const NodeFacts& facts) {
  const std::string found =
      fmt::format("{} watches, {} instances", facts.inotify_watches, facts.inotify_instances);
  if (facts.inotify_instances == 0) {
    return Missing("inotify", "none", "new cgroups are noticed up to 5 s late",
                   "use a kernel with CONFIG_INOTIFY_USER");
  }
  if (facts.inotify_watches >= 2 * facts.cgroups) return Ok("inotify", found);
  return Degraded("inotify", found, "some new cgroups are noticed up to 5 s late",
                  fmt::format("sysctl fs.inotify.max_user_watches={}", 4 * facts.cgroups));
}

Check LockedMemory(const NodeFacts& facts) {
  if (HasCapability(facts.capabilities, CAP_IPC_LOCK) || !facts.memlock_limit)
    return Ok("locked memory", "no limit");
  return Degraded("locked memory", core::TextOf(static_cast<core::Bytes>(*facts.memlock_limit)),
                  "memgovd itself may wait for its pages when memory is short",
                  "give CAP_IPC_LOCK, or LimitMEMLOCK=infinity");
}

// --- places
// -----------------------------------------------------------------------------------------------------

Check Place(std::string name, int error, const std::string& distrust, std::string lost, std::string remedy) {
  if (error == 0 && distrust.empty()) return Ok(std::move(name), "can be written");
  return Essential(
      Missing(std::move(name), error == 0 ? distrust : ErrorText(error), std::move(lost), std::move(remedy)));
}

Check Running(const NodeFacts& facts) {
  return Ok("memgovd",
            facts.daemon_pid ? fmt::format("runs here, pid {}", *facts.daemon_pid) : "does not run here");
}

}  // namespace

std::vector<Check> Examine(const NodeFacts& facts) {
  std::vector<Check> checks = {Kernel(facts), Layout(facts)};
  if (facts.layout) {
    for (auto check : {Roots, Writing, SystemPressure, CgroupPressure, Triggers})
      checks.push_back(check(facts));
    checks.push_back(V2Lever(facts, "memory.high", facts.memory_high, "the brake: growth cannot be slowed",
                             "enable the memory controller below the roots"));
    checks.push_back(V2Lever(facts, "memory.reclaim", facts.memory_reclaim,
                             "memory of processes without a client cannot be reclaimed in small steps",
                             "use Linux 5.19 or newer"));
    for (auto check : {Swappiness, KillCounter, UsageAlarm, Freezer}) checks.push_back(check(facts));
  }
  for (auto check : {ProcessMadvise, Mglru, HugePages, Swap, Uid}) checks.push_back(check(facts));
  checks.push_back(Capability(facts, "SYS_RESOURCE", CAP_SYS_RESOURCE,
                              "pressure windows below 2 s; memgovd is not spared by the OOM killer"));
  checks.push_back(Capability(facts, "SYS_PTRACE", CAP_SYS_PTRACE,
                              "lazily freed memory of other users' processes is estimated, not confirmed"));
  checks.push_back(Capability(facts, "SYS_NICE", CAP_SYS_NICE,
                              "lazily freed memory of processes without a client stays where it is"));
  checks.push_back(Capability(facts, "KILL", CAP_KILL, ""));
  checks.push_back(
      Capability(facts, "IPC_LOCK", CAP_IPC_LOCK,
                 facts.memlock_limit ? "memgovd's own memory cannot be locked beyond the limit" : ""));
  checks.push_back(
      Capability(facts, "SYSLOG", CAP_SYSLOG,
                 facts.kmsg_error == 0 ? "" : "the kernel's log, where kernel.dmesg_restrict is 1"));
  for (auto check :
       {PidNamespace, CgroupNamespace, KernelLog, Files, Clients, ListenQueue, Inotify, LockedMemory}) {
    checks.push_back(check(facts));
  }
  checks.push_back(Place("socket directory", facts.socket_dir_error, facts.socket_dir_distrust,
                         "clients cannot connect",
                         "make it writable to root alone, or name another with --socket"));
  checks.push_back(Place("state directory", facts.state_dir_error, facts.state_dir_distrust,
                         "what must be restored cannot be remembered",
                         "make it writable to root alone, or name another with --state-dir"));
  checks.push_back(Running(facts));
  return checks;
}

}  // namespace memgov
