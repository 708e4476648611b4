// Every mistake that an author can make, and what is said about it. The file is called p.yaml; what stands
// before a case's text is one line each for apiVersion and kind, so the text begins on line 3.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "governor/policy/loader.h"
#include "governor/policy/policy_checks.h"

namespace memgov::policy {
namespace {

std::string Refusal(const std::string& text) {
  const auto policy = ParsePolicy(text, "p.yaml");
  return policy.ok() ? "loaded" : std::string(policy.status().message());
}

struct Mistake {
  const char* text;
  const char* message;
};

std::ostream& operator<<(std::ostream& out, const Mistake& mistake) { return out << mistake.text; }

class Mistakes : public ::testing::TestWithParam<Mistake> {};

TEST_P(Mistakes, AreExplained) {
  EXPECT_EQ(Refusal(std::string("apiVersion: memgov/v1\nkind: Policy\n") + GetParam().text),
            GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Keys, Mistakes,
    ::testing::Values(
        Mistake{"rule: []", "p.yaml:3:1: unknown key \"rule\" (did you mean \"rules\"?)"},
        Mistake{"spec: {}", "p.yaml:3:1: unknown key \"spec\"; known: apiVersion, kind, node, rules"},
        Mistake{"rules: [{name: a, mod: enforce}]",
                "p.yaml:3:19: rules[0]: unknown key \"mod\" (did you mean \"mode\"?)"},
        Mistake{"rules: [{name: a, wake: {time_to_limit: 1s}}]",
                "p.yaml:3:26: rules[0].wake: unknown key \"time_to_limit\" (did you mean \"timeToLimit\"?)"},
        Mistake{"rules: [{name: a, name: b}]",
                "p.yaml:3:19: rules[0]: duplicate key \"name\", first on line 3"},
        Mistake{"kind: Policy", "p.yaml:3:1: duplicate key \"kind\", first on line 2"},
        Mistake{"rules: [{mode: observe}]", "p.yaml:3:9: rules[0]: \"name\" is missing"},
        Mistake{"node: {? [a] : b}", "p.yaml:3:10: node: a key must be a word, but is a list"},
        Mistake{"node: {~: b}", "p.yaml:3:8: node: a key must be a word, but is nothing"},
        Mistake{"\"\\e[31m\": 1",
                "p.yaml:3:1: unknown key \"\\033[31m\"; known: apiVersion, kind, node, rules"}));

INSTANTIATE_TEST_SUITE_P(
    Types, Mistakes,
    ::testing::Values(
        Mistake{"node: 5", "p.yaml:3:7: node: must be a map, but is text"},
        Mistake{"node: [a]", "p.yaml:3:7: node: must be a map, but is a list"},
        Mistake{"rules: {name: a}", "p.yaml:3:8: rules: must be a list, but is a map"},
        Mistake{"rules: [a]", "p.yaml:3:9: rules[0]: must be a map, but is text"},
        Mistake{"rules: [~]", "p.yaml:3:9: rules[0]: must be a map, but is nothing"},
        Mistake{"rules: [{name: [a]}]", "p.yaml:3:16: rules[0].name: must be one value, but is a list"},
        Mistake{"rules: [{name: a, mode: }]",
                "p.yaml:3:19: rules[0].mode: no value; give one, or leave the key out"},
        Mistake{"rules: [{name: a, mode: null}]",
                "p.yaml:3:19: rules[0].mode: no value; give one, or leave the key out"},
        Mistake{"rules: [{name: a, actions: }]",
                "p.yaml:3:19: rules[0].actions: no value; give one, or leave the key out"},
        Mistake{"rules: [{name: a, actions: []}]",
                "p.yaml:3:28: rules[0].actions: an empty list; leave the key out for the default"},
        Mistake{"rules: [{name: a, actions: release}]",
                "p.yaml:3:28: rules[0].actions: must be a list, but is text"}));

INSTANTIATE_TEST_SUITE_P(
    Words, Mistakes,
    ::testing::Values(
        Mistake{"rules: [{name: a, mode: enforced}]",
                "p.yaml:3:25: rules[0].mode: \"enforced\" is not one of: observe, enforce (did you mean "
                "\"enforce\"?)"},
        Mistake{"rules: [{name: a, mode: unspecified}]",
                "p.yaml:3:25: rules[0].mode: \"unspecified\" is not one of: observe, enforce"},
        Mistake{"rules: [{name: a, actions: [release, setSoftLimit]}]",
                "p.yaml:3:38: rules[0].actions[1]: \"setSoftLimit\" is not one of: set_release_mode, "
                "set_soft_limit, release, collect, shed, reclaim (did you mean \"set_soft_limit\"?)"},
        Mistake{"rules: [{name: a, actions: [shed, shed]}]",
                "p.yaml:3:35: rules[0].actions[1]: \"shed\" is listed twice"},
        Mistake{"rules: [{name: a, brake: {enabled: no}}]",
                "p.yaml:3:36: rules[0].brake.enabled: \"no\" is neither true nor false (did you mean "
                "\"false\"?)"},
        Mistake{"rules: [{name: a, brake: {enabled: 1}}]",
                "p.yaml:3:36: rules[0].brake.enabled: \"1\" is neither true nor false"},
        Mistake{"rules: [{name: a b}]",
                "p.yaml:3:16: rules[0].name: \"a b\" is no name: letters, digits, '-', '_' and '.', a letter "
                "or digit first"},
        Mistake{"rules: [{name: a, match: {cgroup: kubepods}}]",
                "p.yaml:3:35: rules[0].match.cgroup: \"kubepods\" must begin with / or ** (did you mean "
                "\"/kubepods\"?)"}));

INSTANTIATE_TEST_SUITE_P(
    Quantities, Mistakes,
    ::testing::Values(
        Mistake{"node: {reserve: 256}",
                "p.yaml:3:17: node.reserve: \"256\" has no unit; write for example 256MiB"},
        Mistake{"node: {reserve: 2TiB}", "p.yaml:3:17: node.reserve: \"2TiB\" is out of range: 0 to 1TiB"},
        Mistake{"rules: [{name: a, wake: {usage: 85}}]",
                "p.yaml:3:33: rules[0].wake.usage: \"85\" has no unit (did you mean \"85%\"?)"},
        Mistake{"rules: [{name: a, wake: {usage: 101%}}]",
                "p.yaml:3:33: rules[0].wake.usage: \"101%\" is out of range: 10% to 100%"},
        Mistake{"rules: [{name: a, wake: {usage: 0%}}]",
                "p.yaml:3:33: rules[0].wake.usage: \"0%\" is out of range: 10% to 100%"},
        Mistake{
            "rules: [{name: a, wake: {timeToLimit: soon}}]",
            "p.yaml:3:39: rules[0].wake.timeToLimit: \"soon\" is not a duration such as 250ms, 30s or 5m, "
            "or never"},
        Mistake{"rules: [{name: a, relax: {usage: never}}]",
                "p.yaml:3:34: rules[0].relax.usage: \"never\" is not a percentage such as 85%"},
        Mistake{"rules: [{name: a, pace: {deadline: 1ms}}]",
                "p.yaml:3:36: rules[0].pace.deadline: \"1ms\" is out of range: 10ms to 1m"},
        Mistake{"rules: [{name: a, pace: {ttl: 30}}]",
                "p.yaml:3:31: rules[0].pace.ttl: \"30\" has no unit; write for example 250ms, 30s or 5m"},
        Mistake{"rules: [{name: a, protect: {weight: 0}}]",
                "p.yaml:3:37: rules[0].protect.weight: \"0\" is out of range: 0.01 to 100"},
        Mistake{"rules: [{name: a, protect: {weight: heavy}}]",
                "p.yaml:3:37: rules[0].protect.weight: \"heavy\" is not a number such as 2 or 0.5"}));

INSTANTIATE_TEST_SUITE_P(
    Order, Mistakes,
    ::testing::Values(
        Mistake{"rules: [{name: a, relax: {usage: 85%}}]",
                "p.yaml:3:34: rules[0].relax.usage: 85% must be below wake.usage, which is 85% by default"},
        Mistake{"rules: [{name: a, wake: {usage: 70%}, relax: {usage: 75%}}]",
                "p.yaml:3:54: rules[0].relax.usage: 75% must be below wake.usage, which is 70%"},
        Mistake{
            "rules: [{name: a, wake: {usage: 95%}}]",
            "p.yaml:3:33: rules[0].wake.usage: 95% must be below critical.usage, which is 95% by default"},
        Mistake{
            "rules: [{name: a, critical: {usage: 80%}}]",
            "p.yaml:3:37: rules[0].critical.usage: 80% must be above wake.usage, which is 85% by default"},
        Mistake{
            "rules: [{name: a, wake: {usage: never}, relax: {usage: 95%}, brake: {enabled: false}}]",
            "p.yaml:3:56: rules[0].relax.usage: 95% must be below critical.usage, which is 95% by default"},
        Mistake{"rules: [{name: a, wake: {usage: never}, relax: {usage: 90%}}]",
                "p.yaml:3:56: rules[0].relax.usage: 90% must be below brake.at, which is 85% by default"},
        Mistake{"rules: [{name: a, wake: {usage: off}}]",
                "p.yaml:3:33: rules[0].wake.usage: \"off\" is not a percentage such as 85%, or never"},
        Mistake{"rules: [{name: a, brake: {at: 90%}}]",
                "p.yaml:3:31: rules[0].brake.at: 90% must be at most wake.usage, which is 85% by default"},
        Mistake{"rules: [{name: a, brake: {at: 80%}}]",
                "p.yaml:3:31: rules[0].brake.at: 80% must be above relax.usage, which is 80% by default"},
        Mistake{"rules: [{name: a, brake: {at: 90%, enabled: false}}]", "loaded"},
        Mistake{"rules: [{name: a, critical: {timeToLimit: 250ms}, wake: {timeToLimit: 200ms}}]",
                "p.yaml:3:43: rules[0].critical.timeToLimit: 250ms must be below wake.timeToLimit, which is "
                "200ms"},
        Mistake{
            "rules: [{name: a, wake: {timeToLimit: 10ms}, critical: {timeToLimit: 10ms}}]",
            "p.yaml:3:70: rules[0].critical.timeToLimit: 10ms must be below wake.timeToLimit, which is 10ms"},
        Mistake{"rules: [{name: a, wake: {usage: never, timeToLimit: never, stall: never}}]",
                "p.yaml:3:53: rules[0].wake: every part is never, so this rule never acts"},
        Mistake{
            "rules: [{name: a, wake: {stall: 50%}}]",
            "p.yaml:3:33: rules[0].wake.stall: 50% must be below critical.stall, which is 40% by default"},
        Mistake{"rules: [{name: a, pace: {longestStall: 3s}}]",
                "p.yaml:3:40: rules[0].pace.longestStall: 3s must be at most pace.deadline, which is 2s by "
                "default"},
        Mistake{
            "rules: [{name: a, pace: {ttl: 1s}}]",
            "p.yaml:3:31: rules[0].pace.ttl: 1s must be at least pace.deadline, which is 2s by default"}));

INSTANTIATE_TEST_SUITE_P(
    BetweenRules, Mistakes,
    ::testing::Values(
        Mistake{"rules: [{name: a, match: {cgroup: /a}}, {name: a}]",
                "p.yaml:3:48: rules[1].name: \"a\" is the name of rules[0] too"},
        Mistake{"rules: [{name: a}, {name: b, match: {cgroup: /b}}]",
                "p.yaml:3:46: rules[1]: never used, because rules[0] comes first and matches all that \"/b\" "
                "does"},
        Mistake{
            "rules: [{name: a}, {name: b}]",
            "p.yaml:3:27: rules[1]: never used, because rules[0] comes first and matches all that \"/**\" "
            "does"},
        Mistake{"rules: [{name: a, match: {cgroup: /a/**}}, {name: b, match: {cgroup: /a/*/c}}]",
                "p.yaml:3:70: rules[1]: never used, because rules[0] comes first and matches all that "
                "\"/a/*/c\" does"},
        Mistake{
            "rules: [{name: a, match: {namespace: sh*}}, {name: b, match: {namespace: shop, pod: x}}]",
            "p.yaml:3:52: rules[1]: never used, because rules[0] comes first and matches all that this one "
            "does"},
        Mistake{"rules: [{name: a, match: {namespace: shop}}, {name: b, match: {qos: burstable}}, {name: c}]",
                "loaded"}));

INSTANTIATE_TEST_SUITE_P(
    Names, Mistakes,
    ::testing::Values(
        Mistake{
            "rules: [{name: a, match: {labels: {app: web}}}]",
            "p.yaml:3:27: rules[0].match: unknown key \"labels\"; known: cgroup, namespace, pod, container, "
            "qos, runtime"},
        Mistake{"rules: [{name: a, match: {namespaces: shop}}]",
                "p.yaml:3:27: rules[0].match: unknown key \"namespaces\" (did you mean \"namespace\"?)"},
        Mistake{"rules: [{name: a, match: {namespace: My_Shop}}]",
                "p.yaml:3:38: rules[0].match.namespace: \"My_Shop\" can be no name in Kubernetes: lower case "
                "letters, digits, '-', '.', and * for any part (did you mean \"my-shop\"?)"},
        Mistake{
            "rules: [{name: a, match: {namespace: shop/web}}]",
            "p.yaml:3:38: rules[0].match.namespace: \"shop/web\" can be no name in Kubernetes: lower case "
            "letters, digits, '-', '.', and * for any part"},
        Mistake{"rules: [{name: a, match: {pod: web-**}}]",
                "p.yaml:3:32: rules[0].match.pod: \"web-**\" has more than one star in a row"},
        Mistake{"rules: [{name: a, match: {container: \"\"}}]",
                "p.yaml:3:38: rules[0].match.container: the name is empty; leave the key out for any"},
        Mistake{"rules: [{name: a, match: {qos: BestEffort}}]",
                "p.yaml:3:32: rules[0].match.qos: \"BestEffort\" is not one of: guaranteed, burstable, "
                "besteffort "
                "(did you mean \"besteffort\"?)"},
        Mistake{
            "rules: [{name: a, match: {runtime: crio}}]",
            "p.yaml:3:36: rules[0].match.runtime: \"crio\" is not one of: containerd, cri-o, docker, podman, "
            "ctr, systemd (did you mean \"cri-o\"?)"}));

TEST(Head, IsRequiredAndExact) {
  EXPECT_EQ(Refusal("rules: []"),
            "p.yaml:1:1: \"apiVersion\" is missing; write apiVersion: memgov/v1\n"
            "p.yaml:1:1: \"kind\" is missing; write kind: Policy");
  EXPECT_EQ(Refusal("apiVersion: memgov/v2\nkind: policy\n"),
            "p.yaml:1:13: apiVersion: \"memgov/v2\" must be \"memgov/v1\"\n"
            "p.yaml:2:7: kind: \"policy\" must be \"Policy\"");
  EXPECT_EQ(Refusal("- a\n"), "p.yaml:1:1: a policy must be a map, but this is a list");
  EXPECT_EQ(Refusal("observe\n"), "p.yaml:1:1: a policy must be a map, but this is text");
}

TEST(AllMistakes, AreSaidAtOnceInTheOrderOfTheFile) {
  EXPECT_EQ(Refusal(R"(apiVersion: memgov/v2
kind: Policy
node:
  reserve: 512
rules:
  - name: web
    mode: enforced
    match: {cgroup: web/**}
    wake: {usage: 85, timeToLimit: 1s}
    relax: {usage: 99%}
    pace:
      cooldown: 1ms
      cooldown: 5s
  - name: web
    match: {cgroup: /jobs/**}
    actions: [release, relese]
    critical: {usage: 60%}
    brakes: {}
  - match: {cgroup: /jobs/nightly}
)"),
            R"(p.yaml:1:13: apiVersion: "memgov/v2" must be "memgov/v1"
p.yaml:4:12: node.reserve: "512" has no unit; write for example 256MiB
p.yaml:7:11: rules[0].mode: "enforced" is not one of: observe, enforce (did you mean "enforce"?)
p.yaml:8:21: rules[0].match.cgroup: "web/**" must begin with / or ** (did you mean "/web/**"?)
p.yaml:9:19: rules[0].wake.usage: "85" has no unit (did you mean "85%"?)
p.yaml:12:17: rules[0].pace.cooldown: "1ms" is out of range: 100ms to 1h
p.yaml:13:7: rules[0].pace: duplicate key "cooldown", first on line 12
p.yaml:14:11: rules[1].name: "web" is the name of rules[0] too
p.yaml:16:24: rules[1].actions[1]: "relese" is not one of: set_release_mode, set_soft_limit, release, collect, shed, reclaim (did you mean "release"?)
p.yaml:17:23: rules[1].critical.usage: 60% must be above wake.usage, which is 85% by default
p.yaml:18:5: rules[1]: unknown key "brakes" (did you mean "brake"?)
p.yaml:19:5: rules[2]: "name" is missing)");
}

TEST(AMistake, IsNotFollowedByOthersThatItCaused) {
  // Without a valid wake.usage nobody knows whether 90% is below it.
  EXPECT_EQ(Refusal("apiVersion: memgov/v1\nkind: Policy\n"
                    "rules: [{name: a, wake: {usage: 9O%}, relax: {usage: 90%}, critical: {usage: 80%}}]"),
            "p.yaml:3:33: rules[0].wake.usage: \"9O%\" is not a percentage such as 85%");
  EXPECT_EQ(Refusal("apiVersion: memgov/v1\nkind: Policy\n"
                    "rules: [{name: a, wake: 90%, relax: {usage: 90%}}]"),
            "p.yaml:3:25: rules[0].wake: must be a map, but is text");
}

TEST(AMistakeBehindAnAlias, IsSaidOnce) {
  EXPECT_EQ(Refusal("apiVersion: memgov/v1\nkind: Policy\nrules:\n"
                    "- {name: a, match: {cgroup: /a}, pace: &slow {cooldwn: 1m}}\n"
                    "- {name: b, match: {cgroup: /b}, pace: *slow}\n"),
            "p.yaml:4:47: rules[0].pace: unknown key \"cooldwn\" (did you mean \"cooldown\"?)\n"
            "p.yaml:4:47: rules[1].pace: unknown key \"cooldwn\" (did you mean \"cooldown\"?)");
}

TEST(ManyMistakes, AreCountedAfterTheFirstHundred) {
  std::string text = "apiVersion: memgov/v1\nkind: Policy\n";
  for (int i = 0; i < 150; ++i) text += "wrong" + std::to_string(i) + ": 1\n";
  const std::string message = Refusal(text);
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 100);
  EXPECT_THAT(message, ::testing::EndsWith("\np.yaml: and 50 more"));
}

TEST(ManyRules, AreRefusedAsAWhole) {
  std::string text = "apiVersion: memgov/v1\nkind: Policy\nrules:\n";
  for (int i = 0; i < 257; ++i) {
    text += "- {name: r" + std::to_string(i) + ", match: {cgroup: /r" + std::to_string(i) + "}}\n";
  }
  EXPECT_EQ(Refusal(text), "p.yaml:4:1: rules: 257 are too many; at most 256");
}

TEST(Covers, IsTrueOnlyWhenCertain) {
  EXPECT_TRUE(Covers("/**", "/a/*/b"));
  EXPECT_TRUE(Covers("**", "**/a"));
  EXPECT_TRUE(Covers("/a/*", "/a/*"));
  EXPECT_TRUE(Covers("/a/*", "/a/b"));
  EXPECT_TRUE(Covers("/a/*", "/a/b*"));
  EXPECT_TRUE(Covers("/a/**", "/a"));
  EXPECT_TRUE(Covers("/a/**", "/a/b/**"));
  EXPECT_TRUE(Covers("/a/**", "/a/**/b"));
  EXPECT_TRUE(Covers("/*/**", "/a/b/**"));
  EXPECT_TRUE(Covers("**/b", "/a/b"));

  EXPECT_FALSE(Covers("/a/*", "/a/**"));
  EXPECT_FALSE(Covers("/a/b", "/a/*"));
  EXPECT_FALSE(Covers("/a/**", "/ab"));
  EXPECT_FALSE(Covers("/a/**", "/a*"));
  EXPECT_FALSE(Covers("/a/*/*", "/a/**"));
  EXPECT_FALSE(Covers("/a/b/**", "/a/**"));
  EXPECT_FALSE(Covers("/*/**", "/**"));
}

TEST(CoversOfNames, ComparesPartByPart) {
  using core::NameMatch;
  EXPECT_TRUE(Covers(NameMatch{}, NameMatch{.pod = "a"}));
  EXPECT_TRUE(Covers(NameMatch{.pod = "*"}, NameMatch{.pod = "a-*"}));
  EXPECT_TRUE(Covers(NameMatch{.qos = core::QosClass::kBurstable},
                     NameMatch{.pod = "a", .qos = core::QosClass::kBurstable}));
  EXPECT_FALSE(Covers(NameMatch{.pod = "*"}, NameMatch{})) << "what has no name";
  EXPECT_FALSE(Covers(NameMatch{.pod = "a-*"}, NameMatch{.pod = "*"}));
  EXPECT_FALSE(Covers(NameMatch{.pod = "a", .container = "b"}, NameMatch{.pod = "a"}));
  EXPECT_FALSE(
      Covers(NameMatch{.qos = core::QosClass::kBurstable}, NameMatch{.qos = core::QosClass::kGuaranteed}));
}

}  // namespace
}  // namespace memgov::policy
