// What is kept for attaching from a full cgroup.

#include "client/c/reserve.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "client/c/testing/fake_governor.h"

namespace memgov::testing {
namespace {

TEST(ReserveTest, ItIsOneDescriptorThatHoldsItsPages) {
  const int before = dup(0);
  close(before);
  const int reserve = mg_reserve_make();
  ASSERT_GE(reserve, 0);
  int held = 0;
  ASSERT_EQ(ioctl(reserve, FIONREAD, &held), 0);
  EXPECT_EQ(held, MG_RESERVE_BYTES);
  EXPECT_EQ(fcntl(reserve, F_GETPIPE_SZ), MG_RESERVE_BYTES);
  EXPECT_TRUE((fcntl(reserve, F_GETFD) & FD_CLOEXEC) != 0);
  const int other = dup(0);
  EXPECT_LE(other, before + 1) << "only one is kept";
  close(other);
  close(reserve);
}

TEST(ReserveTest, WithoutADescriptorThereIsNone) {
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none = {.rlim_cur = 0, .rlim_max = limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_EQ(mg_reserve_make(), -1);
  EXPECT_FALSE(mg_reserve_files_are_out()) << "that is EMFILE";
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

TEST(ReserveTest, AProbeTellsWhetherSomebodyListens) {
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = ""};
  const SocketDirectory directory;
  std::strcpy(address.sun_path, directory.path().c_str());
  const int probe = mg_probe_make();
  ASSERT_GE(probe, 0);
  EXPECT_EQ(mg_probe(probe, &address), ENOENT);
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  EXPECT_EQ(mg_probe(probe, &address), 0);
  EXPECT_EQ(mg_probe(probe, &address), 0) << "again and again";
  close(listener);
  EXPECT_EQ(mg_probe(probe, &address), ECONNREFUSED);
  EXPECT_EQ(mg_probe(-1, &address), 0) << "then connecting has to tell";
  close(probe);
}

TEST(ReserveTest, ItIsForWantOfMemoryAlone) {
  for (const int error : {ENFILE, ENOMEM, ENOBUFS}) EXPECT_TRUE(mg_reserve_is_for(error)) << error;
  for (const int error : {0, EAGAIN, ENOENT, ECONNREFUSED, EMFILE, EPIPE}) {
    EXPECT_FALSE(mg_reserve_is_for(error)) << error;
  }
}

}  // namespace
}  // namespace memgov::testing
