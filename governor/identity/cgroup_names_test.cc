// When the names of a cgroup are told, and what happens until then.

#include "governor/identity/cgroup_names.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace memgov::identity {
namespace {

using core::CgroupId;
using core::WorkloadNames;
using std::chrono::milliseconds;

const std::string kPod = "/kubepods/burstable/pod1f2e3d4c-aaaa-bbbb-cccc-0123456789ab";
const std::string kContainer = kPod + "/" + std::string(64, 'a');
const PodName kNginx{.pod_namespace = "shop", .pod = "web", .container = "nginx"};
const PodName kPodOnly{.pod_namespace = "shop", .pod = "web", .container = ""};

WorkloadNames Named(const PodName& name, bool pending = false) {
  return {.pod_namespace = name.pod_namespace,
          .pod = name.pod,
          .container = name.container,
          .qos = core::QosClass::kBurstable,
          .pending = pending};
}

class CgroupNamesTest : public testing::Test {
 protected:
  // The look-ups find `found`, one after another; after the last one that one again.
  CgroupNames Make(std::vector<PodName> found,
                   CgroupNames::Options options = {.again_after = milliseconds(1)}) {
    return {io_,
            [this, found = std::move(found)](const ContainerName&) {
              return found[std::min<std::size_t>(static_cast<std::size_t>(looks_++), found.size() - 1)];
            },
            options, [this](core::CgroupNamed named) { told_.push_back(std::move(named)); }};
  }

  // Until nothing is under way any more.
  void Run() {
    io_.restart();
    io_.run();
  }

  boost::asio::io_context io_{1};
  std::atomic<int> looks_ = 0;
  std::vector<core::CgroupNamed> told_;
};

TEST_F(CgroupNamesTest, WhatIsNoPodIsKnownAtOnce) {
  CgroupNames names = Make({kNginx});
  EXPECT_EQ(names.Add(CgroupId{1}, "/kubepods"), WorkloadNames{});
  EXPECT_EQ(names.Add(CgroupId{2}, "/system.slice/redis.service"),
            (WorkloadNames{.runtime = core::Runtime::kSystemd}));
  Run();
  EXPECT_EQ(looks_, 0);
  EXPECT_TRUE(told_.empty());
}

TEST_F(CgroupNamesTest, AContainerOfAPodIsNamedLaterAndSoIsWhatIsInsideOfIt) {
  CgroupNames names = Make({kNginx});
  EXPECT_EQ(names.Add(CgroupId{1}, kContainer), Named({}, true)) << "class and runtime are in the path";
  EXPECT_EQ(names.Add(CgroupId{2}, kContainer + "/inner/most"), Named({}, true));
  Run();
  ASSERT_EQ(told_.size(), 2u);
  EXPECT_EQ(told_[0].id, CgroupId{1});
  EXPECT_EQ(told_[0].names, Named(kNginx));
  EXPECT_EQ(told_[1].id, CgroupId{2});
  EXPECT_EQ(told_[1].names, Named(kNginx));
  EXPECT_EQ(names.Find(CgroupId{2}), Named(kNginx));
  names.Forget(CgroupId{2});
  EXPECT_EQ(names.Find(CgroupId{2}), std::nullopt);
}

TEST_F(CgroupNamesTest, APodsOwnCgroupNeedsNoContainer) {
  CgroupNames names = Make({kPodOnly});
  names.Add(CgroupId{1}, kPod);
  Run();
  EXPECT_EQ(looks_, 1);
  ASSERT_EQ(told_.size(), 1u);
  EXPECT_EQ(told_[0].names, Named(kPodOnly));
}

TEST_F(CgroupNamesTest, WhatIsNotThereYetIsLookedForAgain) {
  CgroupNames names = Make({PodName{}, kPodOnly, kNginx});
  names.Add(CgroupId{1}, kContainer);
  Run();
  EXPECT_EQ(looks_, 3);
  ASSERT_EQ(told_.size(), 2u) << "nothing is no news";
  EXPECT_EQ(told_[0].names, Named(kPodOnly, true)) << "the container's name may follow";
  EXPECT_EQ(told_[1].names, Named(kNginx));
}

TEST_F(CgroupNamesTest, WhatIsNeverFoundHasNoNameAfterAWhileAndIsNotSoughtForEver) {
  CgroupNames names = Make({PodName{}});
  names.Add(CgroupId{1}, kContainer);
  Run();
  EXPECT_EQ(looks_, CgroupNames::Options{}.most_looks);
  ASSERT_EQ(told_.size(), 1u);
  EXPECT_EQ(told_[0].names, Named({}));
}

TEST_F(CgroupNamesTest, NothingIsToldOfWhatHasVanished) {
  CgroupNames names = Make({PodName{}, kNginx});
  names.Add(CgroupId{1}, kContainer);
  names.Forget(CgroupId{1});
  Run();
  EXPECT_TRUE(told_.empty());
}

}  // namespace
}  // namespace memgov::identity
