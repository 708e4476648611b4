// Whom a client obeys. Real sockets of other users are in tests/host/test_client_trust.py.

#include "client/c/trust.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>

namespace memgov::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::uint32_t kUs = 1000;
constexpr std::uint32_t kNobody = 65534;

// A service of user 1000 on the host, and who listens is user `uid`.
mg_listener Listener(std::uint32_t uid) {
  mg_listener listener = {};
  listener.uid = uid;
  listener.pid = 42;
  for (std::uint32_t& own : listener.own_uids) own = kUs;
  listener.overflow_uid = kNobody;
  listener.all_mapped = listener.overflow_mapped = true;
  listener.directory_known = true;
  listener.directory_uid = 0;
  listener.directory_mode = 0755;
  return listener;
}

// Why it is not obeyed; empty: it is.
std::string Refused(const mg_listener& listener) {
  char why[192] = "";
  return mg_trust_judge(&listener, why, sizeof(why)) ? "" : why;
}

TEST(TrustTest, RootAndOurOwnUserAreObeyed) {
  EXPECT_THAT(Refused(Listener(0)), IsEmpty());
  EXPECT_THAT(Refused(Listener(kUs)), IsEmpty());
}

TEST(TrustTest, AnotherUserIsNotWhateverItsDirectory) {
  mg_listener other = Listener(1001);
  EXPECT_THAT(Refused(other), HasSubstr("user 1001, and only root or our own user (1000) is obeyed"));
  other.directory_uid = 1001;
  EXPECT_THAT(Refused(other), HasSubstr("run memgovd as"));
  EXPECT_THAT(Refused(Listener(kNobody)), HasSubstr("user 65534"));
}

TEST(TrustTest, AProgramOfTwoUsersObeysRootAlone) {
  mg_listener own = Listener(kUs);
  own.own_uids[0] = 1001;  // set-user-ID
  EXPECT_THAT(Refused(own), HasSubstr("only root"));
  own.own_uids[0] = kUs;
  own.own_uids[2] = 0;  // root that acts as another for a while
  EXPECT_THAT(Refused(own), HasSubstr("only root"));
}

// In a container with a user namespace of its own, where the host's root has no number.
TEST(TrustTest, FromOutsideOfTheNamespaceItDependsOnTheDirectory) {
  mg_listener outside = Listener(kNobody);
  outside.all_mapped = outside.overflow_mapped = false;
  for (const std::uint32_t owner : {0u, kUs, kNobody}) {
    outside.directory_uid = owner;
    EXPECT_THAT(Refused(outside), IsEmpty()) << owner;
  }
  outside.directory_uid = 7;
  EXPECT_THAT(Refused(outside), HasSubstr("others can write its directory"));
  for (const std::uint32_t mode : {0775u, 0757u, 01777u}) {
    outside.directory_uid = kNobody;
    outside.directory_mode = mode;
    EXPECT_THAT(Refused(outside), HasSubstr("chmod go-w")) << mode;
  }
  outside.directory_mode = 0755;
  outside.directory_known = false;
  EXPECT_THAT(Refused(outside), HasSubstr("directory"));
}

// As rootless podman and Kubernetes map: 65534 is somebody inside, too.
TEST(TrustTest, AProcessThatIsSeenInsideIsANobodyOfTheInside) {
  mg_listener listener = Listener(kNobody);
  listener.all_mapped = false;
  EXPECT_THAT(Refused(listener), HasSubstr("user 65534"));
  listener.pid = 0;
  EXPECT_THAT(Refused(listener), IsEmpty());
}

TEST(TrustTest, WithoutANamespaceNobodyIsOutside) {
  mg_listener nobody = Listener(kNobody);
  nobody.pid = 0;  // of another pid namespace
  EXPECT_THAT(Refused(nobody), HasSubstr("user 65534"));
}

TEST(TrustTest, WhatTheMapOfANamespaceSays) {
  const auto read = [](const char* text) {
    bool all = false;
    bool nobody = false;
    mg_trust_read_uid_map(text, kNobody, &all, &nobody);
    return std::pair(all, nobody);
  };
  EXPECT_EQ(read("         0          0 4294967295\n"), std::pair(true, true));
  EXPECT_EQ(read("         0       1000          1\n         1     100000      65536\n"),
            std::pair(false, true));
  EXPECT_EQ(read("         0       1000          1\n"), std::pair(false, false));
  EXPECT_EQ(read("         0     100000      65534\n"), std::pair(false, false));
  EXPECT_EQ(read(""), std::pair(false, false));
  EXPECT_EQ(read("nonsense"), std::pair(false, false));
}

TEST(TrustTest, ASocketOfOurs) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  char why[192] = "";
  EXPECT_TRUE(mg_trust(pair[0], "/tmp/governor.sock", why, sizeof(why))) << why;
}

}  // namespace
}  // namespace memgov::testing
