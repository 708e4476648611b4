#include "governor/identity/pod_names.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/cpp/temporary_directory.h"

namespace memgov::identity {
namespace {

namespace fs = std::filesystem;

const std::string kId = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const std::string kUid = "1f2e3d4c-aaaa-bbbb-cccc-0123456789ab";
const PodName kNginx{.pod_namespace = "shop", .pod = "web-7d4b9.a", .container = "nginx"};

class PodNamesTest : public testing::Test {
 protected:
  PodNamesTest() {
    options_ = {.containerd_bundles = root_.path() + "/bundles",
                .pod_logs = root_.path() + "/pods",
                .container_logs = root_.path() + "/containers"};
    name_ = ParseContainerName(absl::StrCat("/kubepods/burstable/pod", kUid, "/", kId));
  }

  void MakeBundle(const std::string& json, const std::string& id = kId) {
    fs::create_directories(options_.containerd_bundles + "/" + id);
    std::ofstream(options_.containerd_bundles + "/" + id + "/config.json") << json;
  }
  void MakePodLogs(const std::string& pod, const std::string& container) {
    fs::create_directories(options_.pod_logs + "/" + pod + "/" + container);
  }
  void MakeLink(const std::string& name) {
    fs::create_directories(options_.container_logs);
    fs::create_symlink("/nonexistent/0.log", options_.container_logs + "/" + name);
  }

  // The first look.
  PodName Find() const { return PodNames(options_).Find(name_, core::Instant{}); }

  const TemporaryDirectory root_;
  PodNamesOptions options_;
  ContainerName name_;
};

std::string Annotated(const std::string& annotations) {
  return R"({"ociVersion":"1.0.2-dev","process":{"args":["/bin/sh","-c","a: b # \u003c"],"env":["A=\"b\""]},)"
         R"("root":{"path":"rootfs"},"annotations":{)" +
         annotations + R"(},"linux":{"resources":{"memory":{"limit":1048576}}}})";
}

const std::string kAnnotations =
    R"("io.kubernetes.cri.container-name":"nginx","io.kubernetes.cri.container-type":"container",)"
    R"("io.kubernetes.cri.image-name":"docker.io/library/nginx:1","io.kubernetes.cri.sandbox-id":"x",)"
    R"("io.kubernetes.cri.sandbox-name":"web-7d4b9.a","io.kubernetes.cri.sandbox-namespace":"shop")";

TEST_F(PodNamesTest, NothingThereIsNothing) {
  EXPECT_EQ(Find(), PodName{});
  name_.container_id.clear();
  EXPECT_EQ(Find(), PodName{});
}

TEST_F(PodNamesTest, TheBundleTells) {
  MakeBundle(Annotated(kAnnotations));
  EXPECT_EQ(Find(), kNginx);
}

TEST_F(PodNamesTest, TheBundleOfThePauseContainerKnowsNoContainer) {
  MakeBundle(
      Annotated(R"("io.kubernetes.cri.container-type":"sandbox",)"
                R"("io.kubernetes.cri.sandbox-name":"web","io.kubernetes.cri.sandbox-namespace":"shop")"));
  EXPECT_EQ(Find(), (PodName{.pod_namespace = "shop", .pod = "web", .container = ""}));
}

TEST_F(PodNamesTest, ABundleOfAnotherPodDoesNotCount) {
  MakeBundle(
      Annotated(kAnnotations + R"(,"io.kubernetes.cri.sandbox-uid":"9a8b7c6d-1111-2222-3333-ba9876543210")"));
  EXPECT_EQ(Find(), PodName{});
  MakeBundle(Annotated(kAnnotations + R"(,"io.kubernetes.cri.sandbox-uid":")" + kUid + "\""));
  EXPECT_EQ(Find(), kNginx);
}

TEST_F(PodNamesTest, TheLogsTell) {
  MakePodLogs("shop_web-7d4b9.a_" + kUid, "nginx");
  MakePodLogs("shop_web-7d4b9.a_" + kUid, "sidecar");
  MakePodLogs("shop_other_9a8b7c6d-1111-2222-3333-ba9876543210", "other");
  EXPECT_EQ(Find(), (PodName{.pod_namespace = "shop", .pod = "web-7d4b9.a", .container = ""}))
      << "one of two containers";
  MakeLink("web-7d4b9.a_shop_sidecar-" + std::string(64, '0') + ".log");
  MakeLink("web-7d4b9.a_shop_nginx-" + kId + ".log");
  EXPECT_EQ(Find(), kNginx);
}

TEST_F(PodNamesTest, TheLinkAloneTellsToo) {
  MakeLink("web-7d4b9.a_shop_nginx-" + kId + ".log");
  EXPECT_EQ(Find(), kNginx);
}

TEST_F(PodNamesTest, TheOnlyContainerOfAPodIsTheOne) {
  MakePodLogs("shop_web-7d4b9.a_" + kUid, "nginx");
  EXPECT_EQ(Find(), kNginx);
}

TEST_F(PodNamesTest, StaticPodsHaveNamesToo) {
  const std::string hash(32, 'a');
  name_ = ParseContainerName("/kubepods/burstable/pod" + hash + "/" + kId);
  MakePodLogs("kube-system_etcd-node1_" + hash, "etcd");
  EXPECT_EQ(Find(), (PodName{.pod_namespace = "kube-system", .pod = "etcd-node1", .container = "etcd"}));
}

TEST_F(PodNamesTest, APodsOwnCgroupHasNoContainer) {
  MakePodLogs("shop_web-7d4b9.a_" + kUid, "nginx");
  name_.container_id.clear();
  EXPECT_EQ(Find(), (PodName{.pod_namespace = "shop", .pod = "web-7d4b9.a", .container = ""}));
}

TEST_F(PodNamesTest, OnlyPodsAreLookedUp) {
  MakeLink("web_shop_nginx-" + kId + ".log");
  name_ = ParseContainerName("/docker/" + kId);
  EXPECT_EQ(Find(), PodName{});
}

TEST_F(PodNamesTest, WhatWasFoundIsRememberedAndWhatWasNotIsSoughtAgain) {
  PodNames names(options_);
  const core::Instant start{};
  EXPECT_EQ(names.Find(name_, start), PodName{});
  MakeLink("web-7d4b9.a_shop_nginx-" + kId + ".log");
  EXPECT_EQ(names.Find(name_, start + std::chrono::milliseconds(4999)), PodName{});
  EXPECT_EQ(names.Find(name_, start + std::chrono::seconds(5)), kNginx);
  fs::remove_all(options_.container_logs);
  EXPECT_EQ(names.Find(name_, start + std::chrono::hours(1)), kNginx);
}

TEST_F(PodNamesTest, TheMemoryOfItIsBounded) {
  options_.most_cached = 2;
  PodNames names(options_);
  for (int i = 100; i < 110; ++i) {
    name_.container_id = kId.substr(3) + absl::StrCat(i);
    MakeBundle(Annotated(kAnnotations), name_.container_id);
    EXPECT_EQ(names.Find(name_, core::Instant{}), kNginx);
  }
}

// --- what may lie there
// -------------------------------------------------------------------------------------

TEST_F(PodNamesTest, BrokenBundlesAreNoBundles) {
  for (const std::string& json :
       {std::string(), std::string("{"), std::string("[1,2]"), std::string("\x00\xff\xfe", 3),
        std::string(R"({"annotations":["io.kubernetes.cri.sandbox-name"]})"),
        std::string(R"({"annotations":{"io.kubernetes.cri.sandbox-name":{"a":"b"}}})"),
        Annotated(kAnnotations).substr(0, 200), Annotated(R"("a":"\ud800")"), std::string(100'000, '['),
        std::string(100'000, '{'), "{\"a\":" + std::string(60'000, '[') + std::string(60'000, ']') + "}",
        "{\"" + std::string(100'000, 'k') + "\":1}", std::string("&a [*a, *a]"), std::string("*a")}) {
    MakeBundle(json);
    EXPECT_EQ(Find(), PodName{}) << json.substr(0, 60);
  }
}

TEST_F(PodNamesTest, NamesThatKubernetesWouldNotAllowAreNoNames) {
  for (const char* pod :
       {"../../etc", "a b", "A", "-a", "a-", "a..b", ".", "..", "", "a\\nb", "caf\\u00e9", "a/b"}) {
    MakeBundle(Annotated(absl::StrCat(R"("io.kubernetes.cri.sandbox-namespace":"shop",)",
                                      R"("io.kubernetes.cri.sandbox-name":")", pod, "\"")));
    EXPECT_EQ(Find(), PodName{}) << pod;
  }
  MakeBundle(Annotated(R"("io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-name":")" +
                       std::string(254, 'a') + "\""));
  EXPECT_EQ(Find(), PodName{});
  MakeBundle(Annotated(R"("io.kubernetes.cri.sandbox-name":"web","io.kubernetes.cri.sandbox-namespace":")" +
                       std::string(64, 'a') + "\""));
  EXPECT_EQ(Find(), PodName{});
}

TEST_F(PodNamesTest, OddLogNamesAreNoNames) {
  MakeLink("_-" + kId + ".log");
  MakePodLogs("_" + kUid, "nginx");
  EXPECT_EQ(Find(), PodName{});
  fs::remove_all(options_.pod_logs);
  MakePodLogs("shop_\xff\xfe_" + kUid, "nginx");
  EXPECT_EQ(Find(), PodName{});
  fs::remove_all(options_.pod_logs);
  MakePodLogs("shop_a_b_c_" + kUid, "nginx");
  EXPECT_EQ(Find(), PodName{});
}

TEST_F(PodNamesTest, ANameThatTheKubeletHadToCutIsNotKnown) {
  const std::string pod = "web-" + std::string(255 - 69 - 4 - 6 - 3, 'a');  // "-<64>.log", "_shop_", "ngi"
  MakeLink(pod + "_shop_ngi-" + kId + ".log");
  MakePodLogs("shop_web_" + kUid, "a");
  MakePodLogs("shop_web_" + kUid, "b");
  EXPECT_EQ(Find(), (PodName{.pod_namespace = "shop", .pod = "web", .container = ""}));
}

TEST_F(PodNamesTest, TwoStoriesAreNone) {
  MakePodLogs("shop_web_" + kUid, "nginx");
  MakeLink("other_bank_nginx-" + kId + ".log");
  EXPECT_EQ(Find(), PodName{});
}

TEST_F(PodNamesTest, FollowsNoLinksOutOfTheBundles) {
  MakeBundle(Annotated(kAnnotations), "elsewhere");
  const std::string bundles = options_.containerd_bundles;
  fs::create_directory_symlink(bundles + "/elsewhere", bundles + "/" + kId);
  EXPECT_EQ(Find(), PodName{});
  fs::remove(bundles + "/" + kId);
  fs::create_directory(bundles + "/" + kId);
  fs::create_symlink("../elsewhere/config.json", bundles + "/" + kId + "/config.json");
  EXPECT_EQ(Find(), PodName{});
}

TEST_F(PodNamesTest, FollowsNoLinksOutOfTheLogs) {
  fs::create_directories(root_.path() + "/elsewhere/nginx");
  fs::create_directories(options_.pod_logs);
  fs::create_directory_symlink(root_.path() + "/elsewhere", options_.pod_logs + "/shop_web_" + kUid);
  EXPECT_EQ(Find().container, "");
  fs::remove(options_.pod_logs + "/shop_web_" + kUid);
  MakePodLogs("shop_web_" + kUid, "");
  fs::create_directory_symlink(root_.path() + "/elsewhere",
                               options_.pod_logs + "/shop_web_" + kUid + "/link");
  std::ofstream(options_.pod_logs + "/shop_web_" + kUid + "/file");
  EXPECT_EQ(Find(), (PodName{.pod_namespace = "shop", .pod = "web", .container = ""}));
}

TEST_F(PodNamesTest, WaitsForNoPipeAndReadsNoDirectory) {
  const std::string bundle = options_.containerd_bundles + "/" + kId;
  fs::create_directories(bundle);
  ASSERT_EQ(::mkfifo((bundle + "/config.json").c_str(), 0600), 0);
  EXPECT_EQ(Find(), PodName{});
  fs::remove(bundle + "/config.json");
  fs::create_directory(bundle + "/config.json");
  EXPECT_EQ(Find(), PodName{});
}

TEST_F(PodNamesTest, LongBundlesAndFullDirectoriesAreNotReadToTheEnd) {
  MakeBundle(Annotated(kAnnotations + R"(,"a":")" + std::string(options_.most_json, 'a') + "\""));
  EXPECT_EQ(Find(), PodName{});
  fs::remove_all(options_.containerd_bundles);
  MakeLink("web-7d4b9.a_shop_nginx-" + kId + ".log");
  options_.most_entries = 0;
  EXPECT_EQ(Find(), PodName{});
  options_.most_entries = 3;  // with "." and ".."
  EXPECT_EQ(Find(), kNginx);
}

TEST_F(PodNamesTest, IsFoundAmongAThousand) {
  for (int i = 0; i < 1000; ++i)
    MakeLink(absl::StrCat("web-", i, "_shop_nginx-", std::string(61, '0'), 100 + i, ".log"));
  MakeLink("web-7d4b9.a_shop_nginx-" + kId + ".log");
  EXPECT_EQ(Find(), kNginx);
}

// --- names for people
// ---------------------------------------------------------------------------------------

TEST_F(PodNamesTest, TheShortNameSaysWhatIsKnown) {
  EXPECT_EQ(DisplayName(name_, kNginx), "shop/web-7d4b9.a/nginx");
  EXPECT_EQ(DisplayName(name_, {.pod_namespace = "shop", .pod = "web", .container = ""}),
            "shop/web/0123456789ab");
  EXPECT_EQ(DisplayName(name_, {}), "pod/1f2e3d4c/0123456789ab");
  name_.container_id.clear();
  EXPECT_EQ(DisplayName(name_, {.pod_namespace = "shop", .pod = "web", .container = ""}), "shop/web");
}

}  // namespace
}  // namespace memgov::identity
