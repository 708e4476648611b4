// The example policies load, and do what their names promise.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "governor/policy/loader.h"

namespace memgov::policy {
namespace {

using core::ActionKind;
using core::Mode;
using core::Policy;
using core::Rule;
using core::RuleFor;
using ::testing::Contains;
using ::testing::Not;

Policy Example(const std::string& name) {
  const auto policy = LoadPolicy(std::string(MEMGOV_EXAMPLES) + "/" + name);
  EXPECT_TRUE(policy.ok()) << policy.status().message();
  return policy.ok() ? *policy : Policy{};
}

TEST(EveryExample, Loads) {
  int examples = 0;
  for (const auto& entry : std::filesystem::directory_iterator(MEMGOV_EXAMPLES)) {
    if (entry.path().extension() != ".yaml") continue;
    ++examples;
    EXPECT_FALSE(Example(entry.path().filename().string()).rules.empty()) << entry.path();
  }
  EXPECT_GE(examples, 5);
}

TEST(ObserveEverything, EnforcesNowhere) {
  const Policy policy = Example("observe-everything.yaml");
  for (const Rule& rule : policy.rules) EXPECT_EQ(rule.mode, Mode::kObserve) << rule.name;
  EXPECT_EQ(RuleFor(policy, "/").name, "everything");
}

TEST(ProtectLatencyCritical, NeverPausesGuaranteedPods) {
  const Policy policy = Example("protect-latency-critical.yaml");
  const auto of_pod = [&policy](core::WorkloadNames names) -> const Rule& {
    return RuleFor(policy, "/kubepods.slice/some-pod.slice/some.scope", names);
  };
  const Rule& guaranteed = of_pod({.pod_namespace = "bank", .pod = "a", .qos = core::QosClass::kGuaranteed});
  const Rule& best_effort = of_pod({.pod_namespace = "bank", .pod = "b", .qos = core::QosClass::kBestEffort});
  const Rule& burstable = of_pod({.pod_namespace = "bank", .pod = "c", .qos = core::QosClass::kBurstable});
  core::WorkloadNames app{.pod_namespace = "shop",
                          .pod = "checkout-7d4b9",
                          .container = "app",
                          .qos = core::QosClass::kBurstable};
  EXPECT_EQ(of_pod(app).name, "checkout");
  app.container = "proxy";
  EXPECT_EQ(of_pod(app).name, "other-pods");
  EXPECT_EQ(RuleFor(policy, "/kubepods.slice/kubepods-besteffort.slice").mode, Mode::kEnforce)
      << "a slice that is full";
  EXPECT_EQ(guaranteed.name, "latency-critical");
  EXPECT_FALSE(guaranteed.brake.enabled);
  EXPECT_THAT(guaranteed.actions, Not(Contains(ActionKind::kCollect)));
  EXPECT_GT(guaranteed.protect_weight, burstable.protect_weight);
  EXPECT_GT(burstable.protect_weight, best_effort.protect_weight);
  EXPECT_EQ(RuleFor(policy, "/system.slice/sshd.service").mode, Mode::kObserve);
}

TEST(BatchGivesFirst, AsksBatchEarlierAndForMore) {
  const Policy policy = Example("batch-gives-first.yaml");
  const Rule& batch = RuleFor(policy, "/batch.slice/run-7.scope");
  const Rule& service = RuleFor(policy, "/system.slice/web.service");
  EXPECT_LT(batch.protect_weight, service.protect_weight);
  EXPECT_LT(*batch.wake.usage_percent, *service.wake.usage_percent);
  EXPECT_TRUE(batch.brake.enabled);
  EXPECT_FALSE(service.brake.enabled);
  EXPECT_EQ(RuleFor(policy, "/user.slice").mode, Mode::kObserve);
}

TEST(GoFleet, LowersSoftLimitsBeforeItCollects) {
  const Policy policy = Example("go-fleet-soft-limits.yaml");
  const Rule& rule = RuleFor(policy, "/kubepods.slice/kubepods-pod1f.slice");
  ASSERT_FALSE(rule.actions.empty());
  EXPECT_EQ(rule.actions.front(), ActionKind::kSetSoftLimit);
  EXPECT_GT(rule.pace.ttl, rule.pace.cooldown) << "a soft limit outlives the pause before its renewal";
}

TEST(SmallEdgeNode, GovernsTheNodeItself) {
  const Policy policy = Example("small-edge-node.yaml");
  EXPECT_EQ(RuleFor(policy, "/").name, "node");
  EXPECT_EQ(RuleFor(policy, "/system.slice/gateway.service").name, "gateway");
  EXPECT_EQ(RuleFor(policy, "/system.slice/cron.service").name, "everything");
  EXPECT_LT(policy.node.reserve, core::NodePolicy{}.reserve);
}

}  // namespace
}  // namespace memgov::policy
