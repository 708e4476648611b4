// What a policy file means: which YAML becomes which policy, and what stays the default.

#include "governor/policy/loader.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "memgov/v1/options.pb.h"
#include "memgov/v1/policy.pb.h"

namespace memgov::policy {
namespace {

using core::ActionKind;
using core::kMiB;
using core::Mode;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::SizeIs;

constexpr char kHead[] = "apiVersion: memgov/v1\nkind: Policy\n";

core::Policy MustParse(const std::string& text) {
  const auto policy = ParsePolicy(text, "policy.yaml");
  EXPECT_TRUE(policy.ok()) << policy.status().message();
  return policy.ok() ? *policy : core::Policy{};
}

// The only rule of a file that has these lines in it, beside its name.
core::Rule MustParseRule(const std::string& flow) {
  const core::Policy policy = MustParse(std::string(kHead) + "rules: [{name: a, " + flow + "}]\n");
  EXPECT_THAT(policy.rules, SizeIs(1));
  return policy.rules.empty() ? core::Rule{} : policy.rules.front();
}

void ExpectSame(const core::Rule& left, const core::Rule& right) {
  EXPECT_EQ(left.cgroup, right.cgroup);
  EXPECT_EQ(left.names, right.names);
  EXPECT_EQ(left.mode, right.mode);
  EXPECT_EQ(left.protect_weight, right.protect_weight);
  EXPECT_EQ(left.wake.usage_percent, right.wake.usage_percent);
  EXPECT_EQ(left.wake.time_to_limit, right.wake.time_to_limit);
  EXPECT_EQ(left.critical.usage_percent, right.critical.usage_percent);
  EXPECT_EQ(left.critical.time_to_limit, right.critical.time_to_limit);
  EXPECT_EQ(left.wake.stall_percent, right.wake.stall_percent);
  EXPECT_EQ(left.critical.stall_percent, right.critical.stall_percent);
  EXPECT_EQ(left.relax_percent, right.relax_percent);
  EXPECT_EQ(left.brake.enabled, right.brake.enabled);
  EXPECT_EQ(left.brake.at_percent, right.brake.at_percent);
  EXPECT_EQ(left.brake.longest, right.brake.longest);
  EXPECT_EQ(left.brake.freeze, right.brake.freeze);
  EXPECT_EQ(left.brake.freeze_longest, right.brake.freeze_longest);
  EXPECT_EQ(left.actions, right.actions);
  EXPECT_EQ(left.pace.cooldown, right.pace.cooldown);
  EXPECT_EQ(left.pace.longest_stall, right.pace.longest_stall);
  EXPECT_EQ(left.pace.deadline, right.pace.deadline);
  EXPECT_EQ(left.pace.ttl, right.pace.ttl);
  EXPECT_EQ(left.pace.gc_cpu_percent, right.pace.gc_cpu_percent);
  EXPECT_EQ(left.soft_limit.follow_percent, right.soft_limit.follow_percent);
  EXPECT_EQ(left.calm.release_mode, right.calm.release_mode);
}

TEST(AnEmptyPolicy, ObservesEverything) {
  for (const char* text : {"", "\n\n", "# nothing yet\n", "---\n", "--- # nothing\n", "\xEF\xBB\xBF", "~"}) {
    const core::Policy policy = MustParse(text);
    EXPECT_THAT(policy.rules, IsEmpty()) << text;
    EXPECT_EQ(core::RuleFor(policy, "/any").mode, Mode::kObserve);
    EXPECT_EQ(policy.node.reserve, core::NodePolicy{}.reserve);
  }
}

TEST(APolicyWithoutRules, IsTheSame) {
  EXPECT_THAT(MustParse(kHead).rules, IsEmpty());
  EXPECT_THAT(MustParse(std::string(kHead) + "rules: []\n").rules, IsEmpty());
  EXPECT_THAT(MustParse(std::string(kHead) + "rules:\n  # none yet\nnode:\n").rules, IsEmpty());
}

TEST(EveryKey, IsRead) {
  const core::Policy policy = MustParse(R"(
apiVersion: memgov/v1
kind: Policy
node:
  reserve: 1.5GiB
rules:
  - name: batch
    match:
      cgroup: /kubepods/besteffort/**
    mode: enforce
    protect:
      weight: 0.5
    wake:
      usage: 70%
      timeToLimit: 2s
    critical:
      usage: 92.5%
      timeToLimit: 400ms
    relax:
      usage: 60%
    brake:
      enabled: false
      at: 65%
      longest: 3s
      freeze: true
      freezeLongest: 250ms
    actions: [release, collect]
    pace:
      cooldown: 1m30s
      longestStall: 20ms
      deadline: 500ms
      ttl: 5m
      gcCpuShare: 2.5%
    softLimit:
      follow: 75%
    calm:
      releaseMode: lazy
  - name: rest
    softLimit: {follow: never}
    calm: {releaseMode: own}
)");
  EXPECT_EQ(policy.node.reserve, 1536 * kMiB);
  ASSERT_THAT(policy.rules, SizeIs(2));
  const core::Rule& rule = policy.rules[0];
  EXPECT_EQ(rule.name, "batch");
  EXPECT_EQ(rule.cgroup, "/kubepods/besteffort/**");
  EXPECT_EQ(rule.mode, Mode::kEnforce);
  EXPECT_EQ(rule.protect_weight, 0.5);
  EXPECT_THAT(rule.wake.usage_percent, Optional(70));
  EXPECT_THAT(rule.wake.time_to_limit, Optional(seconds(2)));
  EXPECT_THAT(rule.critical.usage_percent, Optional(92.5));
  EXPECT_THAT(rule.critical.time_to_limit, Optional(milliseconds(400)));
  EXPECT_EQ(rule.relax_percent, 60);
  EXPECT_FALSE(rule.brake.enabled);
  EXPECT_EQ(rule.brake.at_percent, 65);
  EXPECT_EQ(rule.brake.longest, seconds(3));
  EXPECT_TRUE(rule.brake.freeze);
  EXPECT_EQ(rule.brake.freeze_longest, milliseconds(250));
  EXPECT_THAT(rule.actions, ElementsAre(ActionKind::kRelease, ActionKind::kCollect));
  EXPECT_EQ(rule.pace.cooldown, seconds(90));
  EXPECT_EQ(rule.pace.longest_stall, milliseconds(20));
  EXPECT_EQ(rule.pace.deadline, milliseconds(500));
  EXPECT_EQ(rule.pace.ttl, minutes(5));
  EXPECT_EQ(rule.pace.gc_cpu_percent, 2.5);
  EXPECT_THAT(rule.soft_limit.follow_percent, Optional(75));
  EXPECT_FALSE(policy.rules[1].soft_limit.follow_percent);
  EXPECT_EQ(rule.calm.release_mode, core::ReleaseMode::kLazy);
  EXPECT_EQ(policy.rules[1].calm.release_mode, core::ReleaseMode::kUnknown);
  EXPECT_EQ(policy.rules[1].name, "rest");
}

TEST(ARuleWithANameOnly, HasCoresDefaults) {
  ExpectSame(MustParse(std::string(kHead) + "rules: [{name: a}]").rules.at(0), core::Rule{});
}

// Writes out every default that the schema states, as YAML in flow style.
std::string DefaultsOf(const google::protobuf::Descriptor& type) {
  std::string text;
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *type.field(i);
    std::string value = field.options().GetExtension(v1::key).default_value();
    if (field.message_type() != nullptr) value = "{" + DefaultsOf(*field.message_type()) + "}";
    if (!value.empty()) text += (text.empty() ? "" : ", ") + field.json_name() + ": " + value;
  }
  return text;
}

TEST(TheSchemasDefaults, AreCores) {
  const std::string defaults = DefaultsOf(*v1::Rule::descriptor());
  EXPECT_THAT(defaults, HasSubstr("cooldown: 5s"));
  EXPECT_THAT(defaults, HasSubstr("freeze: false"));
  EXPECT_THAT(defaults, HasSubstr("freezeLongest: 500ms"));
  ExpectSame(MustParseRule(defaults), core::Rule{});
  const std::string node = DefaultsOf(*v1::NodePolicy::descriptor());
  EXPECT_EQ(MustParse(std::string(kHead) + "node: {" + node + "}").node.reserve, core::NodePolicy{}.reserve);
}

TEST(AKeyThatIsAlone, LeavesItsNeighboursAtTheirDefaults) {
  const core::Rule rule = MustParseRule("wake: {usage: 75%}");
  EXPECT_THAT(rule.wake.usage_percent, Optional(75));
  EXPECT_EQ(rule.wake.time_to_limit, core::Rule{}.wake.time_to_limit);
}

TEST(RelaxAndBrake, FollowWakeUnlessWritten) {
  const core::Rule rule = MustParseRule("wake: {usage: 75%}");
  EXPECT_EQ(rule.relax_percent, 70);
  EXPECT_EQ(rule.brake.at_percent, 75);
  const core::Rule written = MustParseRule("wake: {usage: 75%}, relax: {usage: 50%}, brake: {at: 72%}");
  EXPECT_EQ(written.relax_percent, 50);
  EXPECT_EQ(written.brake.at_percent, 72);
}

TEST(Never, SwitchesAThresholdOff) {
  const core::Rule rule = MustParseRule(
      "wake: {usage: 75%, timeToLimit: never, stall: never}, "
      "critical: {usage: never, timeToLimit: never, stall: 60%}");
  EXPECT_EQ(rule.wake.stall_percent, std::nullopt);
  EXPECT_THAT(rule.critical.stall_percent, Optional(60));
  EXPECT_THAT(rule.wake.usage_percent, Optional(75));
  EXPECT_EQ(rule.wake.time_to_limit, std::nullopt);
  EXPECT_EQ(rule.critical.usage_percent, std::nullopt);
  EXPECT_EQ(rule.critical.time_to_limit, std::nullopt);

  const core::Rule by_time = MustParseRule("wake: {usage: never}");
  EXPECT_EQ(by_time.wake.usage_percent, std::nullopt);
  EXPECT_EQ(by_time.relax_percent, core::Rule{}.relax_percent);
}

TEST(Rules, KeepTheirOrderAndTheFirstMatchWins) {
  const core::Policy policy = MustParse(std::string(kHead) + R"(
rules:
  - {name: db, match: {cgroup: /pods/db}, mode: observe}
  - {name: pods, match: {cgroup: "/pods/*"}, mode: enforce}
)");
  EXPECT_EQ(core::RuleFor(policy, "/pods/db").name, "db");
  EXPECT_EQ(core::RuleFor(policy, "/pods/web").name, "pods");
  EXPECT_EQ(core::RuleFor(policy, "/system").name, "default");
}

TEST(Anchors, RepeatWhatTheyName) {
  const core::Policy policy = MustParse(std::string(kHead) + R"(
rules:
  - {name: a, match: {cgroup: /a}, pace: &slow {cooldown: 1m}}
  - {name: b, match: {cgroup: /b}, pace: *slow}
)");
  EXPECT_EQ(policy.rules.at(1).pace.cooldown, minutes(1));
}

TEST(QuotesAndLineEnds, MakeNoDifference) {
  EXPECT_EQ(MustParseRule("\"mode\": 'enforce'").mode, Mode::kEnforce);
  EXPECT_EQ(MustParse("apiVersion: memgov/v1\r\nkind: Policy\r\nrules:\r\n- name: a\r\n").rules.at(0).name,
            "a");
}

class LoadPolicyTest : public ::testing::Test {
 protected:
  LoadPolicyTest() : directory_(::testing::TempDir() + "policy_" + std::to_string(::getpid())) {
    std::filesystem::create_directories(directory_);
  }
  ~LoadPolicyTest() override { std::filesystem::remove_all(directory_); }

  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name), std::ios::binary) << text;
    return Path(name);
  }
  // The message of the status, which must be of this code.
  static std::string Refusal(const std::string& path, absl::StatusCode code) {
    const absl::Status status = LoadPolicy(path).status();
    EXPECT_EQ(status.code(), code) << status;
    return std::string(status.message());
  }

 private:
  std::string directory_;
};

TEST_F(LoadPolicyTest, ReadsAFileAlsoBehindASymbolicLink) {
  const std::string path = Write("policy.yaml", std::string(kHead) + "rules: [{name: a}]");
  std::filesystem::create_symlink(path, Path("link"));
  for (const std::string& name : {path, Path("link")}) {
    const auto policy = LoadPolicy(name);
    ASSERT_TRUE(policy.ok()) << policy.status();
    EXPECT_THAT(policy->rules, SizeIs(1));
  }
}

TEST_F(LoadPolicyTest, NamesTheFileInErrors) {
  const std::string path = Write("policy.yaml", "kind: Policy\n");
  EXPECT_EQ(Refusal(path, absl::StatusCode::kInvalidArgument),
            path + ":1:1: \"apiVersion\" is missing; write apiVersion: memgov/v1");
}

TEST_F(LoadPolicyTest, SaysWhyAFileCannotBeRead) {
  EXPECT_THAT(Refusal(Path("absent"), absl::StatusCode::kNotFound),
              EndsWith("absent: cannot be opened: No such file or directory"));
  ASSERT_EQ(::mkfifo(Path("fifo").c_str(), 0600), 0);
  EXPECT_THAT(Refusal(Path("fifo"), absl::StatusCode::kInvalidArgument), EndsWith(": not a regular file"));
  EXPECT_THAT(Refusal("/dev/zero", absl::StatusCode::kInvalidArgument), EndsWith(": not a regular file"));
}

TEST_F(LoadPolicyTest, RefusesAFileOfMoreThanOneMebibyte) {
  const std::string fits = Write("fits", std::string(kLargestFile, '\n'));
  EXPECT_TRUE(LoadPolicy(fits).ok());
  const std::string over = Write("over", std::string(kLargestFile + 1, '\n'));
  EXPECT_THAT(Refusal(over, absl::StatusCode::kInvalidArgument), EndsWith("over: larger than 1048576 bytes"));
}

TEST(AMatch, ByNamesIsAsWritten) {
  const core::Rule rule = MustParseRule(
      "match: {cgroup: /a/**, namespace: shop, pod: web-*, container: nginx, qos: besteffort, runtime: "
      "cri-o}");
  EXPECT_EQ(rule.cgroup, "/a/**");
  EXPECT_EQ(rule.names, (core::NameMatch{.pod_namespace = "shop",
                                         .pod = "web-*",
                                         .container = "nginx",
                                         .qos = core::QosClass::kBestEffort,
                                         .runtime = core::Runtime::kCrio}));
  EXPECT_EQ(MustParseRule("match: {}").names, core::NameMatch{});
}

TEST(AMatch, KnowsEveryClassAndRuntime) {
  using core::QosClass;
  using core::Runtime;
  for (const auto& [word, qos] : {std::pair("guaranteed", QosClass::kGuaranteed),
                                  {"burstable", QosClass::kBurstable},
                                  {"besteffort", QosClass::kBestEffort}}) {
    EXPECT_EQ(MustParseRule(std::string("match: {qos: ") + word + "}").names.qos, qos);
  }
  for (const auto& [word, runtime] : {std::pair("containerd", Runtime::kContainerd),
                                      {"docker", Runtime::kDocker},
                                      {"podman", Runtime::kPodman},
                                      {"ctr", Runtime::kCtr},
                                      {"systemd", Runtime::kSystemd}}) {
    EXPECT_EQ(MustParseRule(std::string("match: {runtime: ") + word + "}").names.runtime, runtime);
  }
}

class PolicyDirectory : public LoadPolicyTest {
 protected:
  std::string Whole() const { return Path("d"); }
  void Add(const std::string& name, const std::string& body) const {
    std::filesystem::create_directories(Whole());
    Write("d/" + name, std::string(kHead) + body);
  }
};

TEST_F(PolicyDirectory, IsOnePolicyOfItsFilesByName) {
  Add("20-rest.yaml", "rules: [{name: rest}]");
  Add("10-web.yaml", "rules: [{name: web, match: {cgroup: /web}}, {name: db, match: {cgroup: /db}}]");
  Add("00-node.yaml", "node: {reserve: 1GiB}");
  Add(".#10-web.yaml", "rules: [");
  Add("README", "rules: [");
  const auto policy = LoadPolicy(Whole());
  ASSERT_TRUE(policy.ok()) << policy.status();
  ASSERT_THAT(policy->rules, SizeIs(3));
  EXPECT_EQ(policy->rules[0].name, "web");
  EXPECT_EQ(policy->rules[1].name, "db");
  EXPECT_EQ(policy->rules[2].name, "rest");
  EXPECT_EQ(policy->node.reserve, core::kGiB);
}

TEST_F(PolicyDirectory, SaysTheMistakesOfAllFilesAndBetweenThem) {
  Add("a.yaml", "node: {}\nrules: [{name: web, match: {cgroup: /web/**}}, {nam: x}]");
  Add("b.yaml", "node: {}\nrules:\n- {name: web, match: {cgroup: /b}}\n- {name: c, match: {cgroup: /web/c}}");
  const std::string a = Whole() + "/a.yaml", b = Whole() + "/b.yaml";
  EXPECT_EQ(Refusal(Whole(), absl::StatusCode::kInvalidArgument),
            a + ":4:48: rules[1]: \"name\" is missing\n" +  //
                a + ":4:49: rules[1]: unknown key \"nam\" (did you mean \"name\"?)\n" + b +
                ":3:7: node: there is one node, and " + a + ":3:7 describes it already\n" + b +
                ":5:10: rules[0].name: \"web\" is the name of " + a + ":4:16 too\n" + b +
                ":6:29: rules[1]: never used, because rules[0] of " + a +
                ":4 comes first and matches all that \"/web/c\" does");
}

TEST_F(PolicyDirectory, HasAtLeastOneFileAndNotTooMany) {
  std::filesystem::create_directories(Whole());
  EXPECT_THAT(Refusal(Whole(), absl::StatusCode::kInvalidArgument), EndsWith("d: has no file called *.yaml"));
  for (std::size_t i = 0; i <= kMostFiles; ++i) Add(std::to_string(i) + ".yaml", "");
  EXPECT_THAT(Refusal(Whole(), absl::StatusCode::kInvalidArgument),
              EndsWith("d: 65 files are too many; at most 64"));
}

TEST_F(PolicyDirectory, LeavesNoFileOutUnsaid) {
  Add("a.yaml", "");
  Add("b.yml", "");
  EXPECT_THAT(Refusal(Whole(), absl::StatusCode::kInvalidArgument),
              EndsWith("d/b.yml: would not be read; call it b.yaml"));
  std::filesystem::remove(Path("d/b.yml"));
  std::filesystem::create_directories(Path("d/c.yaml"));
  EXPECT_THAT(Refusal(Whole(), absl::StatusCode::kInvalidArgument), EndsWith("d/c.yaml: is a directory"));
}

TEST_F(PolicyDirectory, HasTheBoundsOfOneFile) {
  Add("a.yaml", "#" + std::string(kLargestFile / 2, 'x'));
  Add("b.yaml", "#" + std::string(kLargestFile / 2, 'x'));
  EXPECT_THAT(Refusal(Whole(), absl::StatusCode::kInvalidArgument),
              EndsWith("d: its files are larger than 1048576 bytes together"));
  const auto rules = [](char name) {
    std::string text = "rules:\n";
    for (int i = 0; i < 129; ++i) {
      const std::string id = name + std::to_string(i);
      text += "- {name: " + id + ", match: {cgroup: /" + id + "}}\n";
    }
    return text;
  };
  Add("a.yaml", rules('a'));
  Add("b.yaml", rules('b'));
  EXPECT_THAT(Refusal(Whole(), absl::StatusCode::kInvalidArgument),
              EndsWith("d/b.yaml:131:10: rules[127]: more than 256 rules in all files"));
}

}  // namespace
}  // namespace memgov::policy
