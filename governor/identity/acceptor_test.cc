#include "governor/identity/acceptor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "governor/identity/tenant.h"
#include "tests/cpp/temporary_directory.h"

namespace memgov::identity {
namespace {

using base::UniqueFd;

using testing::HasSubstr;

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

// A connected client's end; invalid if nobody listens.
UniqueFd Connect(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = AddressOf(path);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fd.reset();
  return fd;
}

// A socket as some other program makes it; it listens until the result is closed, and its file stays.
UniqueFd ForeignListener(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = AddressOf(path);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::listen(fd.get(), 1), 0);
  return fd;
}

std::size_t OpenDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

class AcceptorTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Acceptor>> Listen(const std::string& path) {
    return Acceptor::Listen(io_, {.socket_path = path, .retry_after = std::chrono::milliseconds(1)},
                            [this](AcceptedConnection c) { accepted_.push_back(std::move(c)); });
  }

  // Whatever this process's cgroup is, it is seen as one inside a pod's container.
  absl::StatusOr<std::unique_ptr<Acceptor>> ListenInPod(PodNameFinder::Look look_up_pod) {
    AcceptorOptions options;
    options.socket_path = path_;
    options.attestor.cgroup_namespace_root =
        "/kubepods/burstable/pod1f2e3d4c-aaaa-bbbb-cccc-0123456789ab/"
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    options.look_up_pod = std::move(look_up_pod);
    return Acceptor::Listen(io_, std::move(options),
                            [this](AcceptedConnection c) { accepted_.push_back(std::move(c)); });
  }

  // Runs handlers until `count` connections arrived.
  void RunUntilAccepted(std::size_t count) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (accepted_.size() < count && std::chrono::steady_clock::now() < deadline) {
      io_.run_one_for(std::chrono::milliseconds(100));
    }
    EXPECT_EQ(accepted_.size(), count);
  }

  boost::asio::io_context io_;
  const TemporaryDirectory directory_;
  const std::string path_ = directory_.path() + "/memgov.sock";
  std::vector<AcceptedConnection> accepted_;
};

TEST_F(AcceptorTest, HandsOnIdentifiedConnections) {
  const auto acceptor = Listen(path_);
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  const UniqueFd client = Connect(path_);
  RunUntilAccepted(1);
  const AcceptedConnection& connection = accepted_[0];
  ASSERT_TRUE(connection.peer.ok()) << connection.peer.status();
  EXPECT_EQ(connection.peer->peer.pid, ::getpid());
  EXPECT_EQ(connection.cookie, connection.peer->peer.cookie);
  EXPECT_NE(connection.cookie, 0u);
  EXPECT_TRUE(::fcntl(connection.fd.get(), F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(::fcntl(connection.fd.get(), F_GETFD) & FD_CLOEXEC);
}

TEST_F(AcceptorTest, TakesMoreThanOneBatchAtOnce) {
  const auto acceptor = Listen(path_);
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  std::vector<UniqueFd> clients(50);
  for (UniqueFd& client : clients) client = Connect(path_);
  RunUntilAccepted(50);
}

TEST_F(AcceptorTest, ClosesATenantThatConnectsTooOftenUnheard) {
  AcceptorOptions options;
  options.socket_path = path_;
  options.rate = {.limits = {.per_second = 0.001, .burst = 3, .most = 100}};
  const auto acceptor = Acceptor::Listen(io_, std::move(options), [this](AcceptedConnection c) {
    EXPECT_FALSE(c.tenant.empty());
    EXPECT_EQ(c.tenant, TenantOf(c.peer->peer));
    accepted_.push_back(std::move(c));
  });
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  std::vector<UniqueFd> clients(200);
  for (UniqueFd& client : clients) client = Connect(path_);
  RunUntilAccepted(3);
  // All are taken from the backlog, and the others hear nothing but the end.
  std::size_t ended = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (ended < 197 && std::chrono::steady_clock::now() < deadline) {
    io_.run_one_for(std::chrono::milliseconds(10));
    ended = 0;
    for (const UniqueFd& client : clients) {
      char byte = 0;
      ended += ::recv(client.get(), &byte, 1, MSG_DONTWAIT) == 0 ? 1 : 0;
    }
  }
  EXPECT_EQ(ended, 197u);
  EXPECT_EQ(accepted_.size(), 3u);
  const auto later =
      core::Instant(std::chrono::steady_clock::now().time_since_epoch()) + std::chrono::minutes(1);
  const auto refused = (*acceptor)->TakeRefused(later);
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].count, 197u);
  EXPECT_EQ(refused[0].who, accepted_[0].tenant);
}

// The listen queue is everybody's; it is emptied also while the loop is at something else.
TEST_F(AcceptorTest, AFloodDoesNotFillTheQueueWhileTheLoopIsBusy) {
  AcceptorOptions options;
  options.socket_path = path_;
  options.backlog = 64;
  options.rate = {.limits = {.per_second = 0.001, .burst = 3, .most = 100}};
  const auto acceptor = Acceptor::Listen(io_, std::move(options),
                                         [this](AcceptedConnection c) { accepted_.push_back(std::move(c)); });
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  for (int connected = 0; connected < 1000;) {  // io_ does not run
    const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_un address = AddressOf(path_);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      ++connected;
    } else if (std::chrono::steady_clock::now() > deadline) {
      FAIL() << "the queue is full after " << connected;
    }
  }
  RunUntilAccepted(3);
}

TEST_F(AcceptorTest, WhileTheLoopTakesNobodyOnlySoManyWaitForIt) {
  AcceptorOptions options;
  options.socket_path = path_;
  options.most_waiting = 8;
  const auto acceptor = Acceptor::Listen(io_, std::move(options),
                                         [this](AcceptedConnection c) { accepted_.push_back(std::move(c)); });
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  std::vector<UniqueFd> clients(50);
  for (UniqueFd& client : clients) client.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const std::size_t before = OpenDescriptors();
  const sockaddr_un address = AddressOf(path_);
  for (UniqueFd& client : clients) {
    EXPECT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  // Each has a socket and a pidfd.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (OpenDescriptors() < before + 16 && std::chrono::steady_clock::now() < deadline) {
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(30));  // for what must not happen
  EXPECT_EQ(OpenDescriptors(), before + 16);
  RunUntilAccepted(50);
}

TEST_F(AcceptorTest, TheSocketIsForEverybodyAndItsDirectoryToo) {
  const mode_t before = ::umask(0077);
  const auto acceptor = Listen(directory_.path() + "/run/memgov/memgov.sock");
  ::umask(before);
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  struct stat file {};
  ASSERT_EQ(::stat((directory_.path() + "/run/memgov").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0755u);
  ASSERT_EQ(::stat((directory_.path() + "/run/memgov/memgov.sock").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0666u);
}

TEST_F(AcceptorTest, LeavesNothingBehind) {
  { ASSERT_TRUE(Listen(path_).ok()); }
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
  EXPECT_TRUE(Listen(path_).ok()) << "and may come again";
}

TEST_F(AcceptorTest, ADirectoryInWhichOthersCouldReplaceTheSocketIsRefused) {
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0777), 0);
  const absl::Status status = Listen(path_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_NE(std::string(status.message()).find("--socket"), std::string::npos) << status;
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
  ASSERT_EQ(::chmod(directory_.path().c_str(), 01777), 0);
  EXPECT_TRUE(Listen(path_).ok()) << "as in /tmp";
}

TEST_F(AcceptorTest, ALockThatIsALinkOrAFifoIsRefused) {
  const std::string victim = directory_.path() + "/victim";
  std::filesystem::create_symlink(victim, path_ + ".lock");
  EXPECT_TRUE(absl::IsFailedPrecondition(Listen(path_).status()));
  EXPECT_FALSE(std::filesystem::exists(victim));
  std::filesystem::remove(path_ + ".lock");
  ASSERT_EQ(::mkfifo((path_ + ".lock").c_str(), 0600), 0);
  EXPECT_TRUE(absl::IsFailedPrecondition(Listen(path_).status()));
}

TEST_F(AcceptorTest, ReplacesTheSocketOfADeadDaemon) {
  ForeignListener(path_).reset();
  ASSERT_TRUE(std::filesystem::exists(path_));
  const auto acceptor = Listen(path_);
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  EXPECT_TRUE(Connect(path_));
}

TEST_F(AcceptorTest, LeavesALivingDaemonAlone) {
  const auto first = Listen(path_);
  ASSERT_TRUE(first.ok());
  const auto second = Listen(path_);
  EXPECT_EQ(second.status(), absl::AlreadyExistsError("another memgovd serves " + path_));
  EXPECT_TRUE(Connect(path_));
}

TEST_F(AcceptorTest, LeavesALivingServerAloneThatDoesNotKnowTheLock) {
  const UniqueFd foreign = ForeignListener(path_);
  EXPECT_EQ(Listen(path_).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(Connect(path_));
}

TEST_F(AcceptorTest, ALivingServerWithAFullBacklogIsAlive) {
  const UniqueFd foreign = ForeignListener(path_);
  std::vector<UniqueFd> waiting;
  while (true) {  // until one more would have to wait
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_un address = AddressOf(path_);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) break;
    waiting.push_back(std::move(fd));
  }
  EXPECT_EQ(Listen(path_).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(AcceptorTest, DoesNotRemoveWhatIsNoSocket) {
  std::ofstream(path_) << "precious";
  const auto acceptor = Listen(path_);
  EXPECT_EQ(acceptor.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(acceptor.status().message()), HasSubstr(path_));
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(AcceptorTest, DoesNotRemoveTheSocketOfASuccessor) {
  auto acceptor = Listen(path_);
  ASSERT_TRUE(acceptor.ok());
  std::filesystem::remove(path_);
  const UniqueFd successor = ForeignListener(path_);
  acceptor->reset();
  EXPECT_TRUE(Connect(path_));
}

TEST_F(AcceptorTest, RefusesPathsThatCannotBeSockets) {
  EXPECT_THAT(std::string(Listen("relative.sock").status().message()), HasSubstr("must be absolute"));
  EXPECT_THAT(std::string(Listen("").status().message()), HasSubstr("must be absolute"));
  EXPECT_THAT(std::string(Listen(directory_.path() + "/" + std::string(108, 'x')).status().message()),
              HasSubstr("at most 107"));
  std::ofstream(path_) << "a file";
  EXPECT_THAT(std::string(Listen(path_ + "/memgov.sock").status().message()),
              HasSubstr("opening " + path_ + "; name a directory"));
}

TEST_F(AcceptorTest, WaitsOutAShortageOfDescriptors) {
  const auto acceptor = Listen(path_);
  ASSERT_TRUE(acceptor.ok());
  const UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(client.get()) + 1;  // the lowest that was free
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  timespec began{}, ended{};
  ASSERT_EQ(::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &began), 0);
  const sockaddr_un address = AddressOf(path_);
  EXPECT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  io_.run_for(std::chrono::milliseconds(200));
  ASSERT_EQ(::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ended), 0);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(accepted_.empty());
  EXPECT_LE(ended.tv_sec - began.tv_sec + (ended.tv_nsec - began.tv_nsec) * 1e-9, 0.1) << "it spins";
  RunUntilAccepted(1);
}

TEST_F(AcceptorTest, ADiskThatDoesNotAnswerHoldsUpNoLoop) {
  std::promise<void> answer;
  const PodName name{.pod_namespace = "shop", .pod = "web", .container = "nginx"};
  const auto acceptor = ListenInPod([&, disk = answer.get_future().share()](const ContainerName&) {
    disk.wait();
    return name;
  });
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  const UniqueFd first = Connect(path_);
  RunUntilAccepted(1);
  ASSERT_TRUE(accepted_[0].peer.ok()) << accepted_[0].peer.status();
  EXPECT_EQ(accepted_[0].peer->peer.workload.kind, ContainerKind::kPodContainer);
  EXPECT_EQ(accepted_[0].peer->peer.pod, PodName{}) << "handed on without a name";
  EXPECT_EQ(accepted_[0].peer->peer.container, DisplayName(accepted_[0].peer->peer.workload));
  answer.set_value();
  std::vector<UniqueFd> more;  // as soon as the disk answers there are names
  while (accepted_.back().peer->peer.pod != name) {
    more.push_back(Connect(path_));
    RunUntilAccepted(accepted_.size() + 1);
  }
  EXPECT_EQ(accepted_.back().peer->peer.container, "shop/web/nginx");
}

TEST_F(AcceptorTest, OnceStoppedItHandsOnNobodyWhoStillHasNoName) {
  std::promise<void> looking;
  std::promise<void> answer;
  auto acceptor = ListenInPod([&](const ContainerName&) {
    looking.set_value();
    answer.get_future().wait();
    return PodName{};
  });
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  const UniqueFd client = Connect(path_);
  io_.run_one();  // accepts
  looking.get_future().wait();
  (*acceptor)->Stop();
  EXPECT_FALSE(std::filesystem::exists(path_)) << "though a disk is being waited for";
  answer.set_value();
  acceptor->reset();
  io_.run();
  EXPECT_TRUE(accepted_.empty());
}

TEST_F(AcceptorTest, MayBeDestroyedByItsOwnCallback) {
  std::unique_ptr<Acceptor> acceptor;
  int seen = 0;
  auto listening = Acceptor::Listen(io_, {.socket_path = path_}, [&](const AcceptedConnection&) {
    ++seen;
    acceptor.reset();
  });
  ASSERT_TRUE(listening.ok());
  acceptor = *std::move(listening);
  const UniqueFd first = Connect(path_);
  const UniqueFd second = Connect(path_);
  io_.run_for(std::chrono::seconds(30));  // returns at once when nothing is left to wait for
  EXPECT_EQ(seen, 1);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace memgov::identity
