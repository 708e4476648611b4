// memgovd: flags, signals, wiring. Everything else is in the rooms.

#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <exception>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "governor/core/printable.h"
#include "governor/daemon.h"
#include "governor/doctor.h"
#include "governor/kernel/process.h"
#include "governor/policy/check.h"
#include "governor/policy/loader.h"
#include "governor/status_file.h"

namespace {

constexpr char kFooter[] = R"(
Without --policy memgovd observes: it watches, decides and says what it would have asked, and neither writes
a kernel file nor sends a request.

A policy is a file, or a directory whose *.yaml files are one policy, in the order of their names. It is read
again when it changes; one that is bad is said and leaves the old one in force.

Signals: SIGTERM and SIGINT restore every knob and end; SIGHUP reads the policy again at once.

Exit codes: 0 ended as asked, 1 could not start, 2 bad flags or a bad policy. Of doctor: 0 nothing is degraded
or missing, 1 something is, 2 and memgovd cannot work without it.

Examples:
  memgovd
  memgovd --policy /etc/memgov/policy.yaml
  memgovd --policy policy.yaml --root /kubepods.slice --log-format json
  memgovd --check policy.yaml
  memgovd --policy /etc/memgov/policy.d
  memgovd --restore
  memgovd doctor
  memgovd doctor --json --root /kubepods.slice
)";

struct Flags {
  memgov::DaemonOptions daemon;
  std::string check;
  bool restore = false;
  std::string guard;
  std::string log_format = "text";
  bool doctor = false;
  bool json = false;
};

int Fail(int code, const absl::Status& status) {
  std::cerr << "memgovd: " << memgov::core::PrintableLines(memgov::TextOf(status)) << "\n";
  return code;
}

int Check(const std::string& file) {
  const memgov::policy::CheckResult result = memgov::policy::CheckPolicy(file);
  (result.ok ? std::cout : std::cerr) << result.text;
  return result.ok ? 0 : 2;
}

// Says what this node offers, changes nothing, and needs no daemon; one that runs here is heard too.
int Doctor(const Flags& flags) {
  const auto facts = memgov::kernel::ProbeNode(memgov::ProbeRequestOf(flags.daemon, true));
  std::vector<memgov::Check> checks = memgov::Examine(facts);
  if (facts.daemon_pid) memgov::AddRunningDaemon(flags.daemon.state_dir, *facts.daemon_pid, &checks);
  std::cout << (flags.json ? memgov::JsonOf(checks) : memgov::TableOf(checks, ::isatty(STDOUT_FILENO) == 1));
  return memgov::ExitCodeOf(checks);
}

// What needs no thread, or must come before the first.
int Run(const Flags& flags) {
  std::signal(SIGPIPE, SIG_IGN);  // whoever reads our log may end; we do not
  if (flags.doctor) return Doctor(flags);
  if (!flags.check.empty()) return Check(flags.check);

  if (const auto& root = flags.daemon.cgroup_namespace_root;
      root && (!root->starts_with("/") || root->find("/..") != std::string::npos)) {
    return Fail(2, absl::InvalidArgumentError("--cgroup-namespace-root " + *root +
                                              ": must begin with / and lead down, such as /kubepods/pod1/a"));
  }
  auto layout = memgov::kernel::DiscoverCgroups(flags.daemon.cgroup_mount);
  if (!layout.ok()) return Fail(1, layout.status());
  const std::string state_file = flags.daemon.state_dir + "/brake.state";
  if (!flags.guard.empty()) return memgov::kernel::GuardMain(flags.guard, *layout, state_file);
  if (flags.restore) {
    const absl::Status status = memgov::kernel::RestoreLeftovers(*layout, state_file);
    return status.ok() ? 0 : Fail(1, status);
  }
  if (!flags.daemon.policy_file.empty()) {
    const auto policy = memgov::policy::LoadPolicy(flags.daemon.policy_file);
    if (!policy.ok()) return Fail(2, policy.status());
  }

  // Refused to an unprivileged user; then we are killed like anybody else, which changes nothing for others.
  const absl::Status adjusted = memgov::kernel::OomScoreAdjust(-999);
  std::optional<memgov::kernel::Guard> guard;
  absl::Status restored;  // what a pair of daemon and guard left that were both killed
  if (!flags.daemon.observe && !flags.daemon.policy_file.empty()) {
    auto started = memgov::kernel::StartGuard(*layout, state_file);
    if (!started.ok()) return Fail(1, started.status());
    guard = *std::move(started);
    restored = memgov::kernel::RestoreFromState(*layout, state_file);
    restored.Update(memgov::kernel::ThawFromState(*layout, memgov::kernel::FreezeStateBeside(state_file)));
    // What may still come right the daemon tries again itself, and says.
    if (memgov::kernel::MayPass(restored)) restored = absl::OkStatus();
  } else {
    restored = memgov::kernel::RestoreLeftovers(*layout, state_file);
  }
  const auto files = memgov::kernel::RaiseFileLimit();

  memgov::EventLog log(flags.log_format == "json" ? memgov::LogFormat::kJson : memgov::LogFormat::kText);
  memgov::DaemonOptions options = flags.daemon;
  options.guard_command = {"/proc/self/exe", "--state-dir",        options.state_dir,
                           "--cgroup-mount", layout->memory_mount, "--guard"};
  auto daemon = memgov::Daemon::Create(std::move(options), *std::move(layout), std::move(guard), &log);
  if (!daemon.ok()) return Fail(1, daemon.status());
  const absl::Status locked = memgov::kernel::LockMemory();
  const std::pair<const char*, absl::Status> troubles[] = {
      {"SYS_RESOURCE", adjusted}, {"open files", files.status()}, {"locked memory", locked}, {"", restored}};
  for (const auto& [check, status] : troubles) {
    if (!status.ok()) (*daemon)->SayUnlessChecked(check, memgov::TextOf(status));
  }
  const absl::Status status = (*daemon)->Run();
  return status.ok() ? 0 : Fail(1, status);
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app(
      "memgovd watches the memory of this node's cgroups and, before the kernel has to kill, asks the "
      "processes that hold memory they do not need to give it back. It never kills.",
      "memgovd");
  app.footer(kFooter);
  app.set_version_flag("--version", "memgovd " MEMGOV_VERSION);
  app.add_option("--policy", flags.daemon.policy_file,
                 "policy (YAML), a file or a directory of them; without one, observe only")
      ->type_name("PATH");
  app.add_flag("--observe", flags.daemon.observe, "observe only, whatever the policy says");
  app.add_option("--root", flags.daemon.roots, "cgroup to watch with all below it; may be repeated")
      ->type_name("PATH")
      ->default_str("/");
  app.add_option("--socket", flags.daemon.socket_path, "Unix socket for clients")
      ->type_name("PATH")
      ->capture_default_str();
  app.add_option("--state-dir", flags.daemon.state_dir, "where to remember what must be restored")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_option("--cgroup-mount", flags.daemon.cgroup_mount, "cgroup mount to use, such as /host/cgroup")
      ->type_name("DIR");
  app.add_option("--cgroup-namespace-root", flags.daemon.cgroup_namespace_root,
                 "where memgovd's own cgroup namespace begins below the mount, if it cannot tell")
      ->type_name("PATH");
  app.add_option("--log-format", flags.log_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_option(
         "--clients-per-tenant", flags.daemon.clients_per_tenant,
         "most processes of one container (one cgroup outside of containers) that are served; beyond it "
         "large ones take the places of small ones")
      ->type_name("N")
      ->check(CLI::Range(std::size_t{1}, std::size_t{20000}))
      ->capture_default_str();
  app.add_option("--journal", flags.daemon.journal,
                 "record all that is read, said and decided in this directory, for memgovctl replay")
      ->type_name("DIR");
  app.add_option("--journal-size", flags.daemon.journal_size,
                 "most bytes of the journal; the oldest go first (such as 256MiB)")
      ->type_name("SIZE")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::uint64_t{1} << 20, std::uint64_t{1} << 40))
      ->default_str("256MiB");
  app.add_option("--check", flags.check, "check a policy, say all that is wrong with it, and end")
      ->type_name("PATH");
  app.add_flag("--restore", flags.restore,
               "let go of every brake and freeze that a dead memgovd left, and end");
  CLI::App* doctor =
      app.add_subcommand("doctor", "say what this node offers, and what is lost where it does not");
  doctor->add_flag("--json", flags.json, "an array of {check, state, found, lost, remedy}");
  doctor->fallthrough();  // --root, --cgroup-mount, --socket and --state-dir may follow the word
  doctor->footer(
      "Exit codes: 0 nothing is degraded or missing, 1 something is, 2 and memgovd cannot work without it.");
  doctor->callback([&flags] { flags.doctor = true; });
  app.add_option("--guard", flags.guard)->group("");  // how memgovd starts a guard; not for people
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  // A thread or a descriptor that cannot be had, a file system that fails: threads and streams throw.
  try {
    return Run(flags);
  } catch (const std::exception& error) {
    return Fail(1, absl::ResourceExhaustedError(error.what()));
  }
}
