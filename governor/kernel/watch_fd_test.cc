#include "governor/kernel/watch_fd.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

TEST(WatchFdTest, ADescriptorThatIsReadyIsHeard) {
  boost::asio::io_context io;
  auto watched = WatchFd(io, UniqueFd(::eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC)), "a bell");
  ASSERT_TRUE(watched.ok()) << watched.status();
  bool heard = false;
  watched->async_wait(WatchedFd::wait_read, [&](const boost::system::error_code& error) { heard = !error; });
  io.run();
  EXPECT_TRUE(heard);
}

// An epoll descriptor that watches another that watches it would be a loop, which the kernel refuses (ELOOP):
// an error of epoll_ctl as any other, that needs no privilege and no limit of the machine's.
TEST(WatchFdTest, WhatEpollRefusesIsAnErrorAndIsClosed) {
  boost::asio::io_context io;
  int outermost = ::epoll_create1(EPOLL_CLOEXEC);
  for (int depth = 0; depth < 6; ++depth) {
    const int next = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{.events = EPOLLIN, .data = {}};
    if (::epoll_ctl(next, EPOLL_CTL_ADD, outermost, &event) != 0) {
      ::close(next);
      break;
    }
    outermost = next;
  }
  const auto watched = WatchFd(io, UniqueFd(outermost), "a nest of epolls");
  ASSERT_FALSE(watched.ok());
  EXPECT_NE(watched.status().message().find("watching a nest of epolls"), std::string_view::npos);
  EXPECT_EQ(::fcntl(outermost, F_GETFD), -1) << "it was not closed";
}

TEST(WatchFdTest, NoDescriptorIsAnError) {
  boost::asio::io_context io;
  EXPECT_FALSE(WatchFd(io, UniqueFd(), "nothing").ok());
  EXPECT_FALSE(WatchCopyOf(io, -1, "nothing").ok());
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const UniqueFd bell(::eventfd(0, EFD_CLOEXEC));
  const rlimit none{.rlim_cur = static_cast<rlim_t>(bell.get()), .rlim_max = before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  const auto copy = WatchCopyOf(io, bell.get(), "a copy");
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_TRUE(absl::IsInvalidArgument(copy.status()) || absl::IsResourceExhausted(copy.status()))
      << copy.status();
}

}  // namespace
}  // namespace memgov::kernel
