#include "governor/doctor.h"

#include <errno.h>
#include <linux/capability.h>

#include <algorithm>
#include <functional>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace memgov {
namespace {

using kernel::CgroupLayout;
using kernel::MemoryVersion;
using kernel::NodeFacts;
using testing::HasSubstr;

// A node on which nothing is wanting.
NodeFacts Good() {
  NodeFacts facts;
  facts.kernel = "6.12.1-amd64";
  facts.layout = CgroupLayout{.memory_version = MemoryVersion::kV2,
                              .memory_mount = "/sys/fs/cgroup",
                              .pressure_mount = "/sys/fs/cgroup",
                              .hybrid = false};
  facts.roots = {{.path = "/", .exists = true, .has_memory = true}};
  facts.cgroups = 100;
  facts.own_cgroup = true;
  facts.system_pressure = facts.cgroup_pressure = facts.triggers_on_cgroup = true;
  facts.fast_trigger = facts.slow_trigger = 0;
  facts.memory_high = facts.oom_counter = facts.memory_reclaim = facts.reclaim_swappiness = 0;
  facts.freezer = facts.process_madvise = 0;
  facts.mglru = false;
  facts.transparent_huge_pages = "madvise";
  facts.capabilities = ~std::uint64_t{0};
  facts.first_pid_namespace = facts.first_cgroup_namespace = true;
  facts.file_limit = 20'000;
  facts.clients_per_tenant = 1000;
  facts.listen_queue = 4096;
  facts.inotify_watches = 100'000;
  facts.inotify_instances = 128;
  return facts;
}

NodeFacts V1() {
  NodeFacts facts = Good();
  facts.layout->memory_version = MemoryVersion::kV1;
  facts.layout->hybrid = true;
  facts.memory_high = facts.memory_reclaim = facts.reclaim_swappiness = std::nullopt;
  facts.usage_eventfd = 0;
  return facts;
}

Check Find(const NodeFacts& facts, const std::string& name) {
  for (Check& check : Examine(facts)) {
    if (check.name == name) return std::move(check);
  }
  ADD_FAILURE() << "no check " << name;
  return {};
}

TEST(ExamineTest, AGoodNodeLacksNothing) {
  for (const Check& check : Examine(Good())) {
    EXPECT_EQ(check.state, CheckState::kOk) << check.name << ": " << check.found;
    EXPECT_FALSE(check.found.empty()) << check.name;
    EXPECT_EQ(check.lost + check.remedy, "") << check.name;
  }
  EXPECT_EQ(ExitCodeOf(Examine(Good())), 0);
}

struct Case {
  const char* check;
  std::function<void(NodeFacts&)> spoil;
  CheckState state;
  int exit_code;
  const char* words;  // in what is found, lost or to be done
};

void WithoutCapability(NodeFacts& facts, unsigned capability) {
  facts.capabilities &= ~(std::uint64_t{1} << capability);
}

std::vector<Case> Cases() {
  constexpr auto kDegraded = CheckState::kDegraded;
  constexpr auto kMissing = CheckState::kMissing;
  constexpr auto kOk = CheckState::kOk;
  return {
      {"kernel", [](NodeFacts& f) { f.kernel = "4.19.0-26"; }, kDegraded, 1, "5.2"},
      {"kernel", [](NodeFacts& f) { f.kernel = "5.1.9"; }, kDegraded, 1, "5.2"},
      {"kernel", [](NodeFacts& f) { f.kernel = "5.2.0"; }, kOk, 0, "5.2.0"},
      {"kernel", [](NodeFacts& f) { f.kernel = ""; }, kDegraded, 1, "unknown"},
      {"cgroups", [](NodeFacts& f) { f.layout.reset(), f.layout_error = "no"; }, kMissing, 2,
       "--cgroup-mount"},
      {"cgroups", [](NodeFacts& f) { f.layout = V1().layout; }, kDegraded, 1, "hybrid"},
      {"roots", [](NodeFacts& f) { f.roots[0].exists = false; }, kDegraded, 1, "does not exist"},
      {"roots", [](NodeFacts& f) { f.roots[0].has_memory = false; }, kDegraded, 1, "+memory"},
      {"roots", [](NodeFacts& f) { f.roots.clear(); }, kMissing, 2, "--root"},
      {"cgroup writes", [](NodeFacts& f) { f.write_error = EROFS; }, kDegraded, 1,
       "mount the cgroup tree writable"},
      {"cgroup writes", [](NodeFacts& f) { f.write_error = EACCES; }, kDegraded, 1, "root"},
      {"cgroup writes", [](NodeFacts& f) { f.write_error = ENOENT; }, kOk, 0, "not tried"},
      {"psi", [](NodeFacts& f) { f.system_pressure = false; }, kMissing, 1, "psi=1"},
      {"psi of cgroups", [](NodeFacts& f) { f.cgroup_pressure = false; }, kMissing, 1, "cgroup2"},
      {"psi triggers", [](NodeFacts& f) { f.fast_trigger = EINVAL; }, kDegraded, 1, "CAP_SYS_RESOURCE"},
      {"psi triggers", [](NodeFacts& f) { f.fast_trigger = f.slow_trigger = EROFS; }, kMissing, 1,
       "writable"},
      {"psi triggers", [](NodeFacts& f) { f.fast_trigger = f.slow_trigger = EOPNOTSUPP; }, kMissing, 1,
       "psi=1"},
      {"psi triggers", [](NodeFacts& f) { f.fast_trigger = f.slow_trigger = std::nullopt; }, kOk, 0,
       "not tried"},
      {"memory.high", [](NodeFacts& f) { f.memory_high = ENOENT; }, kMissing, 1, "brake"},
      {"memory.high", [](NodeFacts& f) { f.memory_high.reset(); }, kOk, 0, "not tried"},
      {"memory.reclaim", [](NodeFacts& f) { f.memory_reclaim = ENOENT; }, kMissing, 1, "5.19"},
      {"reclaim swappiness=", [](NodeFacts& f) { f.reclaim_swappiness = EINVAL; }, kDegraded, 1, "6.11"},
      {"reclaim swappiness=", [](NodeFacts& f) { f.memory_reclaim = ENOENT; }, kMissing, 1, "6.11"},
      {"kill counters", [](NodeFacts& f) { f.oom_counter = ENOENT; }, kMissing, 1, "not counted"},
      {"freezer", [](NodeFacts& f) { f.freezer = ENOENT; }, kMissing, 1, "5.2"},
      {"process_madvise", [](NodeFacts& f) { f.process_madvise = ENOSYS; }, kMissing, 1, "5.10"},
      {"process_madvise", [](NodeFacts& f) { f.process_madvise = EPERM; }, kMissing, 1, "seccomp"},
      {"process_madvise", [](NodeFacts& f) { WithoutCapability(f, CAP_SYS_NICE); }, kDegraded, 1,
       "ourselves only"},
      {"multi-gen lru", [](NodeFacts& f) { f.mglru = true; }, kOk, 0, "on"},
      {"multi-gen lru", [](NodeFacts& f) { f.mglru.reset(); }, kOk, 0, "not in this kernel"},
      {"huge pages", [](NodeFacts& f) { f.transparent_huge_pages = "always"; }, kDegraded, 1, "madvise"},
      {"huge pages", [](NodeFacts& f) { f.transparent_huge_pages = ""; }, kOk, 0, "none"},
      {"swap", [](NodeFacts& f) { f.swap = core::kGiB; }, kOk, 0, "1024.0 MiB"},
      {"uid", [](NodeFacts& f) { f.uid = 1000; }, kMissing, 2, "uid 0"},
      {"SYS_RESOURCE", [](NodeFacts& f) { WithoutCapability(f, CAP_SYS_RESOURCE); }, kDegraded, 1,
       "CAP_SYS_RESOURCE"},
      {"SYS_PTRACE", [](NodeFacts& f) { WithoutCapability(f, CAP_SYS_PTRACE); }, kDegraded, 1, "estimated"},
      {"KILL", [](NodeFacts& f) { WithoutCapability(f, CAP_KILL); }, kOk, 0, "nothing needs it"},
      {"IPC_LOCK", [](NodeFacts& f) { WithoutCapability(f, CAP_IPC_LOCK); }, kOk, 0, "nothing needs it"},
      {"locked memory", [](NodeFacts& f) { WithoutCapability(f, CAP_IPC_LOCK), f.memlock_limit = 65536; },
       kDegraded, 1, "64.0 KiB"},
      {"SYSLOG", [](NodeFacts& f) { WithoutCapability(f, CAP_SYSLOG), f.kmsg_error = EPERM; }, kDegraded, 1,
       "log"},
      {"pid namespace", [](NodeFacts& f) { f.first_pid_namespace = false; }, kMissing, 2, "hostPID"},
      {"cgroup namespace", [](NodeFacts& f) { f.first_cgroup_namespace = false; }, kDegraded, 1,
       "--cgroup-mount"},
      {"/dev/kmsg", [](NodeFacts& f) { f.kmsg_error = ENOENT; }, kDegraded, 1, "device /dev/kmsg"},
      {"/dev/kmsg", [](NodeFacts& f) { f.kmsg_error = EPERM; }, kDegraded, 1, "victims are not named"},
      {"open files", [](NodeFacts& f) { f.file_limit = 755; }, kDegraded, 1, "756 are wanted"},
      {"open files", [](NodeFacts& f) { f.file_limit = 756; }, kOk, 0, "756"},
      {"clients", [](NodeFacts& f) { f.file_limit = 4000; }, kOk, 0, "1000 of a tenant, 1000 in all"},
      {"clients", [](NodeFacts& f) { f.file_limit = 3999; }, kDegraded, 1, "raise RLIMIT_NOFILE to 4000"},
      {"clients", [](NodeFacts& f) { f.file_limit = 1024; }, kDegraded, 1, "256 of a tenant, 256 in all"},
      {"listen queue", [](NodeFacts& f) { f.listen_queue = 128; }, kDegraded, 1, "net.core.somaxconn=4096"},
      {"listen queue", [](NodeFacts& f) { f.listen_queue = 0; }, kOk, 0, "not known"},
      {"inotify", [](NodeFacts& f) { f.inotify_watches = 199; }, kDegraded, 1, "max_user_watches=400"},
      {"inotify", [](NodeFacts& f) { f.inotify_instances = 0; }, kMissing, 1, "5 s"},
      {"socket directory", [](NodeFacts& f) { f.socket_dir_error = EROFS; }, kMissing, 2, "--socket"},
      {"state directory", [](NodeFacts& f) { f.state_dir_error = EACCES; }, kMissing, 2, "--state-dir"},
      {"state directory", [](NodeFacts& f) { f.state_dir_distrust = "others may write in /x"; }, kMissing, 2,
       "others may write in /x"},
      {"memgovd", [](NodeFacts& f) { f.daemon_pid = 12; }, kOk, 0, "pid 12"},
  };
}

TEST(ExamineTest, SaysOfEachThingWhatIsLostAndHowToGetIt) {
  for (const Case& each : Cases()) {
    NodeFacts facts = Good();
    each.spoil(facts);
    const Check check = Find(facts, each.check);
    const std::string all = check.found + "; " + check.lost + "; " + check.remedy;
    SCOPED_TRACE(std::string(each.check) + ": " + all);
    EXPECT_EQ(check.state, each.state);
    EXPECT_THAT(all, HasSubstr(each.words));
    EXPECT_GE(ExitCodeOf(Examine(facts)), each.exit_code);
    EXPECT_EQ(ExitCodeOf({check}), each.exit_code);
    if (check.state != CheckState::kOk) {
      EXPECT_FALSE(check.lost.empty());
    }
  }
}

TEST(ExamineTest, OnV1TheLeversOfV2AreMissingAndTheEventfdCounts) {
  EXPECT_EQ(Find(V1(), "memory.high").state, CheckState::kMissing);
  EXPECT_EQ(Find(V1(), "memory.reclaim").state, CheckState::kMissing);
  EXPECT_EQ(Find(V1(), "kill counters").found, "memory.oom_control");
  EXPECT_THAT(Find(V1(), "usage alarm").found, HasSubstr("eventfd"));
  NodeFacts facts = V1();
  facts.usage_eventfd = EROFS;
  EXPECT_EQ(Find(facts, "usage alarm").state, CheckState::kMissing);
  EXPECT_EQ(ExitCodeOf(Examine(V1())), 1);
}

TEST(TableTest, FitsAHundredColumnsAndIsPlainWithoutColours) {
  NodeFacts facts = Good();
  for (const Case& each : Cases()) {
    if (facts.layout && std::string(each.check) != "cgroups" && !facts.roots.empty()) each.spoil(facts);
  }
  facts.roots = {{.path = "/" + std::string(60, 'x') + "\x1b[2J", .exists = true}};
  const std::string table = TableOf(Examine(facts), false);
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
  EXPECT_EQ(table.find('\x1b'), std::string::npos);
  EXPECT_NE(TableOf(Examine(facts), true).find('\x1b'), std::string::npos);
}

TEST(TableTest, AlignsWhatIsFoundLostAndToBeDone) {
  EXPECT_EQ(
      TableOf({{.name = "a", .found = "good"},
               {.name = "b", .state = CheckState::kMissing, .found = "bad", .lost = "x", .remedy = "y"}},
              false),
      "a                   ok        good\n"
      "b                   missing   bad\n"
      "                              lost:   x\n"
      "                              get it: y\n");
}

TEST(JsonTest, IsAnArrayOfChecks) {
  EXPECT_EQ(JsonOf({}), "[\n]\n");
  EXPECT_EQ(
      JsonOf({{.name = "a", .state = CheckState::kDegraded, .found = "\"x\"", .lost = "l", .remedy = "r"},
              {.name = "b"}}),
      "[\n  {\"check\": \"a\", \"state\": \"degraded\", \"found\": \"\\\"x\\\"\", \"lost\": \"l\", "
      "\"remedy\": \"r\"},\n  {\"check\": \"b\", \"state\": \"ok\", \"found\": \"\", \"lost\": \"\", "
      "\"remedy\": \"\"}\n]\n");
}

}  // namespace
}  // namespace memgov
