// Which cgroups a glob names, and which rule governs a cgroup.

#include "governor/core/policy.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace memgov::core {
namespace {

std::string Repeat(std::string_view unit, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += unit;
  return text;
}

TEST(AGlobWithoutStars, MatchesItselfOnly) {
  EXPECT_TRUE(GlobMatches("/", "/"));
  EXPECT_TRUE(GlobMatches("/a/b", "/a/b"));
  EXPECT_TRUE(GlobMatches("", ""));
  EXPECT_FALSE(GlobMatches("/a", "/a/b"));
  EXPECT_FALSE(GlobMatches("/a/b", "/a"));
  EXPECT_FALSE(GlobMatches("/a", "/A"));
  EXPECT_FALSE(GlobMatches("/a", ""));
  EXPECT_FALSE(GlobMatches("", "/a"));
}

TEST(OneStar, StaysWithinAName) {
  EXPECT_TRUE(GlobMatches("/*", "/a"));
  EXPECT_TRUE(GlobMatches("/*", "/")) << "any run of characters may be empty";
  EXPECT_TRUE(GlobMatches("/pod*", "/pod"));
  EXPECT_TRUE(GlobMatches("/pod*", "/pod17"));
  EXPECT_TRUE(GlobMatches("/*.service", "/sshd.service"));
  EXPECT_TRUE(GlobMatches("/cri-*-*.scope", "/cri-a-b-c.scope"));
  EXPECT_TRUE(GlobMatches("/*/*/c", "/a/b/c"));
  EXPECT_FALSE(GlobMatches("/*", "/a/b"));
  EXPECT_FALSE(GlobMatches("/pod*", "/pod1/c"));
  EXPECT_FALSE(GlobMatches("/*.service", "/sshd.service2"));
  EXPECT_FALSE(GlobMatches("/*/c", "/a/b/c"));
}

TEST(TwoStars, ReachOverNames) {
  EXPECT_TRUE(GlobMatches("/**", "/"));
  EXPECT_TRUE(GlobMatches("/**", "/a/b/c"));
  EXPECT_TRUE(GlobMatches("**", ""));
  EXPECT_TRUE(GlobMatches("**", "/a/b"));
  EXPECT_TRUE(GlobMatches("**/db", "/a/b/db"));
  EXPECT_TRUE(GlobMatches("/kube**.scope", "/kubepods/pod1/cri-1.scope"));
  EXPECT_TRUE(GlobMatches("/a/**/z", "/a/b/c/z"));
  EXPECT_TRUE(GlobMatches("/**/b/**/d", "/a/b/c/b/x/d"));
  EXPECT_FALSE(GlobMatches("**/db", "/a/db/b"));
  EXPECT_FALSE(GlobMatches("/a/**/z", "/b/z"));
  EXPECT_FALSE(GlobMatches("/a/**/z", "/a/z")) << "both slashes are there to be matched";
}

TEST(TwoStarsAtTheEnd, CoverTheDirectoryToo) {
  EXPECT_TRUE(GlobMatches("/a/**", "/a"));
  EXPECT_TRUE(GlobMatches("/a/**", "/a/"));
  EXPECT_TRUE(GlobMatches("/a/**", "/a/b/c"));
  EXPECT_TRUE(GlobMatches("/a/*/**", "/a/b")) << "also when another star comes first";
  EXPECT_TRUE(GlobMatches("/**/b/**", "/a/b"));
  EXPECT_TRUE(GlobMatches("/pod*/**", "/pod1"));
  EXPECT_TRUE(GlobMatches("/a/**/**", "/a"));
  EXPECT_FALSE(GlobMatches("/a/**", "/ab"));
  EXPECT_FALSE(GlobMatches("/a/**", "/ab/c"));
  EXPECT_FALSE(GlobMatches("/a/*/**", "/a"));
  EXPECT_FALSE(GlobMatches("/a**", "/b"));
}

TEST(OneStarAfterTwo, IsTriedAtEveryPlace) {
  EXPECT_TRUE(GlobMatches("**/a*b", "/aX/a1b"));
  EXPECT_TRUE(GlobMatches("**a*b/c", "/a/ab/axxb/c"));
  EXPECT_TRUE(GlobMatches("/**/pod*/c*", "/x/pod1/y/pod2/c3"));
  EXPECT_FALSE(GlobMatches("**/a*b", "/aX/b"));
  EXPECT_FALSE(GlobMatches("**a*b", "/a/b"));
}

TEST(OtherCharacters, StandForThemselves) {
  EXPECT_TRUE(GlobMatches("/a?[b]\\x2d", "/a?[b]\\x2d"));
  EXPECT_FALSE(GlobMatches("/a?", "/ab"));
  EXPECT_TRUE(GlobMatches("/*", "/*")) << "a cgroup may be called *";
  EXPECT_TRUE(GlobMatches("/a*", "/a\xc3\xa9\n"));
  EXPECT_TRUE(GlobMatches(std::string_view("/\0*", 3), std::string_view("/\0a", 3)));
}

// The definition, as a table: whether the first g characters of the glob match the first p of the path.
bool MatchesByDefinition(std::string_view glob, std::string_view path) {
  if (glob.ends_with("/**") && MatchesByDefinition(glob.substr(0, glob.size() - 3), path)) return true;
  std::vector<std::vector<bool>> table(glob.size() + 1, std::vector<bool>(path.size() + 1));
  table[0][0] = true;
  for (std::size_t g = 1; g <= glob.size(); ++g) {
    const bool star = glob[g - 1] == '*';
    // Pairs of stars from the left; a third star is a single one again.
    std::size_t run = 0;
    while (run < g && glob[g - 1 - run] == '*') ++run;
    const bool second = star && run % 2 == 0;
    const bool first = star && !second && g < glob.size() && glob[g] == '*';
    for (std::size_t p = 0; p <= path.size(); ++p) {
      if (first) {
        table[g][p] = table[g - 1][p];
      } else if (star) {
        table[g][p] = table[g - 1][p] || (p > 0 && table[g][p - 1] && (second || path[p - 1] != '/'));
      } else {
        table[g][p] = p > 0 && table[g - 1][p - 1] && glob[g - 1] == path[p - 1];
      }
    }
  }
  return table[glob.size()][path.size()];
}

TEST(RandomGlobs, MatchAsDefined) {
  std::mt19937 random(7);
  const auto text = [&](std::string_view letters, std::size_t longest) {
    std::string made;
    for (std::size_t i = random() % (longest + 1); i > 0; --i) made += letters[random() % letters.size()];
    return made;
  };
  int matched = 0;
  for (int i = 0; i < 50'000; ++i) {
    const std::string glob = text("ab/**", 9);
    const std::string path = text("aab/", 9);
    const bool expected = MatchesByDefinition(glob, path);
    matched += expected ? 1 : 0;
    ASSERT_EQ(GlobMatches(glob, path), expected) << "glob " << glob << " path " << path;
  }
  EXPECT_GT(matched, 2'000) << "both answers are tried";
}

// Backtracking over every star would take longer than the universe for these.
TEST(HostileGlobs, TakeBoundedTime) {
  const std::string path = "/" + Repeat("a", 2000);
  EXPECT_FALSE(GlobMatches(Repeat("*a", 120) + "b", path));
  EXPECT_FALSE(GlobMatches(Repeat("**a", 80) + "b", path));
  EXPECT_FALSE(GlobMatches("**" + Repeat("a*", 120) + "b", path));
  EXPECT_FALSE(GlobMatches(Repeat("/**", 80) + "b", Repeat("/a", 1000)));
  EXPECT_FALSE(GlobMatches(Repeat("/*", 120), Repeat("/a", 1000)));
  EXPECT_TRUE(GlobMatches(Repeat("/**", 80), Repeat("/a", 1000)));
  EXPECT_TRUE(GlobMatches(Repeat("*", 250), Repeat("/a", 1000)));
}

TEST(TheRuleOfACgroup, IsTheFirstThatMatches) {
  Policy policy;
  policy.rules.push_back(Rule{.name = "db", .cgroup = "/pods/db/**"});
  policy.rules.push_back(Rule{.name = "pods", .cgroup = "/pods/*", .mode = Mode::kEnforce});
  policy.rules.push_back(Rule{.name = "late", .cgroup = "/pods/**"});
  EXPECT_EQ(RuleFor(policy, "/pods/db").name, "db");
  EXPECT_EQ(RuleFor(policy, "/pods/db/inner").name, "db");
  EXPECT_EQ(RuleFor(policy, "/pods/web").name, "pods");
  EXPECT_EQ(RuleFor(policy, "/pods/web/inner").name, "late");
  EXPECT_EQ(&RuleFor(policy, "/pods/web"), &policy.rules[1]) << "a reference into the policy";
}

TEST(ACgroupWithoutARule, IsObserved) {
  for (const Policy& policy : {Policy{}, Policy{.rules = {Rule{.cgroup = "/a", .mode = Mode::kEnforce}}}}) {
    EXPECT_EQ(RuleFor(policy, "/b").name, "default");
    EXPECT_EQ(RuleFor(policy, "/b").mode, Mode::kObserve);
    EXPECT_EQ(RuleFor(policy, "").mode, Mode::kObserve);
  }
}

constexpr std::string_view kPod = "/kubepods/burstable/pod1";
const WorkloadNames kWeb{
    .pod_namespace = "shop", .pod = "web-7d4b9", .container = "nginx", .qos = QosClass::kBurstable};

Policy ByNames(NameMatch match) {
  return {.rules = {Rule{.name = "named", .names = std::move(match)}, Rule{.name = "rest"}}};
}

TEST(ARuleByNames, MatchesWhenAllItsPartsDo) {
  const auto matches = [](NameMatch match) {
    return RuleFor(ByNames(std::move(match)), kPod, kWeb).name == "named";
  };
  EXPECT_TRUE(matches({}));
  EXPECT_TRUE(matches({.pod_namespace = "shop"}));
  EXPECT_TRUE(
      matches({.pod_namespace = "sh*", .pod = "web-*", .container = "*", .qos = QosClass::kBurstable}));
  EXPECT_FALSE(matches({.pod_namespace = "shop", .pod = "db-*"}));
  EXPECT_FALSE(matches({.pod_namespace = "shop", .container = "nginx2"}));
  EXPECT_FALSE(matches({.pod_namespace = "shop", .qos = QosClass::kBestEffort}));
  EXPECT_FALSE(matches({.runtime = Runtime::kContainerd})) << "its path does not tell";
}

TEST(ARuleByNames, AsksForThePathAsWell) {
  Policy policy = ByNames({.pod_namespace = "shop"});
  policy.rules[0].cgroup = "/kubepods/besteffort/**";
  EXPECT_EQ(RuleFor(policy, kPod, kWeb).name, "rest");
  policy.rules[0].cgroup = "/kubepods/burstable/**";
  EXPECT_EQ(RuleFor(policy, kPod, kWeb).name, "named");
}

TEST(ARuleByNames, DoesNotMatchWhatHasNone) {
  for (const NameMatch& match :
       {NameMatch{.pod_namespace = "*"}, NameMatch{.pod = "*"}, NameMatch{.container = "*"},
        NameMatch{.qos = QosClass::kGuaranteed}, NameMatch{.runtime = Runtime::kSystemd}}) {
    EXPECT_EQ(RuleFor(ByNames(match), "/kubepods").name, "rest");
  }
}

TEST(ACgroupWhoseNamesAreStillSought, IsLeftAloneWhereTheyMatter) {
  const WorkloadNames sought{.qos = QosClass::kBurstable, .runtime = Runtime::kCrio, .pending = true};
  Policy policy = ByNames({.pod_namespace = "bank"});
  policy.rules[0].mode = policy.rules[1].mode = Mode::kEnforce;
  EXPECT_EQ(RuleFor(policy, kPod, sought).mode, Mode::kObserve) << "it may be the bank's";
  EXPECT_EQ(RuleFor(policy, kPod, {.qos = QosClass::kBurstable}).name, "rest") << "it is nobody's";
  policy.rules[0].names.qos = QosClass::kGuaranteed;
  EXPECT_EQ(RuleFor(policy, kPod, sought).name, "rest")
      << "whatever its namespace, the other part rules it out";
  policy.rules[0].names = {.runtime = Runtime::kCrio};
  EXPECT_EQ(RuleFor(policy, kPod, sought).name, "named") << "nothing that is sought matters";
}

}  // namespace
}  // namespace memgov::core
