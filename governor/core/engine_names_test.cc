// Rules that match by names, in containers whose names come later than they do.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::kReleases;
using testing::Node;

const WorkloadNames kSought{.qos = QosClass::kBurstable, .pending = true};
const WorkloadNames kBank{.pod_namespace = "bank", .qos = QosClass::kBurstable};
const WorkloadNames kShop{.pod_namespace = "shop", .qos = QosClass::kBurstable};

// The bank is observed, everything else gives.
Policy BankIsSafe() {
  return {.rules = {Rule{.name = "bank", .names = {.pod_namespace = "bank"}},
                    Rule{.name = "rest", .mode = Mode::kEnforce}}};
}

class NamedPods : public ::testing::Test {
 protected:
  // One pod at 90 % of its limit, with a client that could give 300 MiB; nobody knows its name.
  NamedPods() : node_(BankIsSafe()), pod_(node_.Add("/pod", kGiB)) {
    node_.Name(pod_, kSought);
    client_ = node_.Attach(pod_, kReleases);
    node_.Report(client_, 300 * kMiB);
    node_.SetUsage(pod_, 920 * kMiB);
  }

  std::vector<std::string> Asked() {
    return node_.Lines(node_.Tick(), {NoteKind::kAsked, NoteKind::kWouldAsk});
  }

  Node node_;
  CgroupId pod_;
  ClientId client_{};
};

TEST_F(NamedPods, AreOnlyObservedUntilTheirNamesAreKnown) {
  EXPECT_THAT(Asked(), ElementsAre(::testing::StartsWith("would_ask c1 release")));
}

TEST_F(NamedPods, AreGovernedByTheirRuleFromTheTickOnInWhichTheNamesCome) {
  Asked();
  node_.Name(pod_, kShop);
  node_.Pass(std::chrono::milliseconds(10));
  EXPECT_THAT(Asked(), ElementsAre(::testing::StartsWith("asked c1 release")));
}

TEST_F(NamedPods, StayUntouchedWhereTheirRuleSaysSo) {
  Asked();
  node_.Name(pod_, kBank);
  node_.Pass(std::chrono::seconds(10));
  EXPECT_THAT(Asked(), ElementsAre(::testing::StartsWith("would_ask c1 release")));
}

// v1: the alarm stands where the rule wants it, also when no reading of the cgroup is due.
TEST_F(NamedPods, GetTheirWireWithTheirName) {
  node_.SetUsage(pod_, 100 * kMiB);
  EXPECT_THAT(node_.Tick().wires, IsEmpty());
  node_.Name(pod_, kShop);
  EXPECT_EQ(node_.Tick({}).wires.size(), 1u);
}

}  // namespace
}  // namespace memgov::core
