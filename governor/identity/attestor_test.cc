#include "governor/identity/attestor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"

namespace memgov::identity {
namespace {

using testing::HasSubstr;

TEST(MemoryCgroupPath, TakesTheV1LineWhereThereIsOne) {
  EXPECT_EQ(*MemoryCgroupPath("9:name=systemd:/system.slice\n4:memory:/kubepods/a\n0::/elsewhere\n"),
            "/kubepods/a");
  EXPECT_EQ(*MemoryCgroupPath("3:cpu,memory,pids:/joint\n"), "/joint");
}

TEST(MemoryCgroupPath, TakesTheUnifiedLineOtherwise) {
  EXPECT_EQ(*MemoryCgroupPath("0::/user.slice/session-1.scope\n"), "/user.slice/session-1.scope");
  EXPECT_EQ(*MemoryCgroupPath("1:name=systemd:/a\n0::/b"), "/b");
  EXPECT_EQ(*MemoryCgroupPath("1:name=memory:/not-a-controller\n0::/b\n"), "/b");
}

TEST(MemoryCgroupPath, KeepsWhatOddNamesConsistOf) {
  EXPECT_EQ(*MemoryCgroupPath("4:memory:/a b/c:d/e,memory:f\n"), "/a b/c:d/e,memory:f");
  EXPECT_EQ(*MemoryCgroupPath("0::/../../burstable/pod1\n"), "/../../burstable/pod1");
  EXPECT_EQ(*MemoryCgroupPath("4:memory:/named (deleted)\n"), "/named (deleted)");
  EXPECT_EQ(*MemoryCgroupPath("4:memory:/\n"), "/");
}

TEST(MemoryCgroupPath, RefusesWhatItCannotTell) {
  const auto message = [](absl::string_view text) {
    return std::string(MemoryCgroupPath(text).status().message());
  };
  EXPECT_THAT(message(""), HasSubstr("neither a memory: line nor a 0:: line"));
  EXPECT_THAT(message("2:cpu:/a\n"), HasSubstr("neither"));
  EXPECT_THAT(message("garbage\n"), HasSubstr("not a line of the form ID:CONTROLLERS:PATH: \"garbage\""));
  EXPECT_THAT(message("\x01\xff:\n"), HasSubstr("\\x01\\xff:"));
  EXPECT_THAT(message("4:memory:relative\n"), HasSubstr("does not begin with /"));
  EXPECT_THAT(message("4:memory:\n"), HasSubstr("does not begin with /"));
  EXPECT_THAT(message("4:memory:/a\n5:memory:/b\n"), HasSubstr("a second, different line"));
  EXPECT_THAT(message("0::/gone (deleted)\n"), HasSubstr("was removed: /gone (deleted)"));
}

TEST(ResolveCgroupPath, IsTheSamePathInTheHostsNamespace) {
  EXPECT_EQ(*ResolveCgroupPath("/", "/"), "/");
  EXPECT_EQ(*ResolveCgroupPath("/a/b", "/"), "/a/b");
}

TEST(ResolveCgroupPath, ClimbsOutOfAPrivateNamespace) {
  EXPECT_EQ(*ResolveCgroupPath("/", "/kubepods/pod1/me"), "/kubepods/pod1/me");
  EXPECT_EQ(*ResolveCgroupPath("/below", "/kubepods/pod1/me"), "/kubepods/pod1/me/below");
  EXPECT_EQ(*ResolveCgroupPath("/../../burstable/pod2/it", "/kubepods/pod1/me"),
            "/kubepods/burstable/pod2/it");
  EXPECT_EQ(*ResolveCgroupPath("/../../..", "/kubepods/pod1/me"), "/");
}

TEST(ResolveCgroupPath, RefusesToLeaveTheHierarchy) {
  EXPECT_THAT(std::string(ResolveCgroupPath("/../../pod", "/").status().message()),
              HasSubstr("lies outside of memgovd's cgroup namespace (root /)"));
  EXPECT_FALSE(ResolveCgroupPath("/../../../x", "/a/b").ok());
  EXPECT_FALSE(ResolveCgroupPath("/a/../b", "/x/y").ok()) << "the kernel never writes this";
}

// A child process that connected to us over a Unix socket, and our end of the connection. Killed at the end.
class ConnectedChild {
 public:
  // `then` runs in the child once it has connected, with its end; the child exits when it returns.
  explicit ConnectedChild(const std::function<void(int)>& then) {
    const std::string directory = testing::TempDir() + "memgov-attestor-XXXXXX";
    std::string name = directory;
    if (::mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "mkdtemp " << directory;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    absl::StrAppend(&name, "/socket");
    name.copy(address.sun_path, sizeof address.sun_path - 1);
    const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    EXPECT_EQ(::bind(listener.get(), generic, sizeof address), 0);
    EXPECT_EQ(::listen(listener.get(), 1), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      const int end = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (::connect(end, generic, sizeof address) != 0) ::_exit(1);
      then(end);
      ::_exit(0);
    }
    socket_.Reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ::unlink(name.c_str());
    ::rmdir(name.substr(0, name.rfind('/')).c_str());
  }
  ~ConnectedChild() {
    ::kill(pid_, SIGKILL);
    Reap();
  }

  int socket() const { return socket_.get(); }
  pid_t pid() const { return pid_; }

  // Waits until the child is a zombie, and leaves it one.
  void WaitForExit() const {
    siginfo_t info;
    EXPECT_EQ(::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT), 0);
  }

  void Reap() {
    if (!reaped_) ::waitpid(pid_, nullptr, 0);
    reaped_ = true;
  }

 private:
  UniqueFd socket_;
  pid_t pid_ = -1;
  bool reaped_ = false;
};

void WaitForever(int /*socket*/) {
  while (true) ::pause();
}

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

bool Readable(const UniqueFd& fd, int timeout_ms) {
  pollfd entry{.fd = fd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, timeout_ms) == 1;
}

TEST(Attest, SaysWhoConnected) {
  ConnectedChild child(WaitForever);
  const absl::StatusOr<AttestedPeer> attested = Attest(child.socket());
  ASSERT_TRUE(attested.ok()) << attested.status();
  EXPECT_EQ(attested->peer.pid, child.pid());
  EXPECT_EQ(attested->peer.uid, ::getuid());
  EXPECT_EQ(attested->peer.gid, ::getgid());
  EXPECT_EQ(attested->peer.cookie, *SocketCookie(child.socket()));
  EXPECT_EQ(attested->peer.cgroup, *MemoryCgroupPath(ReadFile("/proc/self/cgroup")));
}

TEST(Attest, ThePidfdTellsWhenThePeerExits) {
  for (const bool use_peer_pidfd : {true, false}) {
    ConnectedChild child(WaitForever);
    const absl::StatusOr<AttestedPeer> attested =
        Attest(child.socket(), {.cgroup_namespace_root = "/", .use_peer_pidfd = use_peer_pidfd});
    ASSERT_TRUE(attested.ok()) << attested.status();
    EXPECT_FALSE(Readable(attested->pidfd, 0));
    ::kill(child.pid(), SIGKILL);
    EXPECT_TRUE(Readable(attested->pidfd, 30'000));
  }
}

TEST(Attest, WithoutPeerPidfdTheIdentityIsWeak) {
  ConnectedChild child(WaitForever);
  const absl::StatusOr<AttestedPeer> attested =
      Attest(child.socket(), {.cgroup_namespace_root = "/", .use_peer_pidfd = false});
  ASSERT_TRUE(attested.ok()) << attested.status();
  EXPECT_EQ(attested->peer.pid, child.pid());
  EXPECT_TRUE(attested->peer.weak);
}

TEST(Attest, RefusesAPeerThatHasExited) {
  for (const bool reaped : {false, true}) {
    for (const bool use_peer_pidfd : {true, false}) {
      ConnectedChild child([](int) {});
      child.WaitForExit();
      if (reaped) child.Reap();
      const absl::StatusOr<AttestedPeer> attested =
          Attest(child.socket(), {.cgroup_namespace_root = "/", .use_peer_pidfd = use_peer_pidfd});
      EXPECT_EQ(attested.status().code(), absl::StatusCode::kUnauthenticated);
      EXPECT_THAT(std::string(attested.status().message()), HasSubstr("exited"));
    }
  }
}

TEST(Attest, RefusesAPeerWhoseMainThreadHasExited) {
  ConnectedChild child([](int) {
    std::thread([] { WaitForever(0); }).detach();
    ::syscall(SYS_exit, 0);  // this thread only
  });
  const std::string stat = absl::StrCat("/proc/", child.pid(), "/stat");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (ReadFile(stat).find(") Z ") == std::string::npos) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const absl::StatusOr<AttestedPeer> attested = Attest(child.socket());
  EXPECT_EQ(attested.status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(std::string(attested.status().message()), HasSubstr("the main thread"));
}

TEST(Attest, RefusesAPeerOutsideOfOurPidNamespace) {
  ConnectedChild peer(WaitForever);
  int verdict[2];
  ASSERT_EQ(::pipe2(verdict, O_CLOEXEC), 0);
  const UniqueFd read_end(verdict[0]);
  UniqueFd write_end(verdict[1]);
  const pid_t attester = ::fork();
  if (attester == 0) {
    if (::unshare(CLONE_NEWPID) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) ::_exit(77);
    const pid_t inner = ::fork();  // only a child is inside of the new namespace
    if (inner == 0) {
      const std::string text = Attest(peer.socket()).status().ToString();
      ::_exit(::write(write_end.get(), text.data(), text.size()) < 0 ? 1 : 0);
    }
    ::waitpid(inner, nullptr, 0);
    ::_exit(0);
  }
  write_end.Reset();
  char text[512] = {};
  const ssize_t size = ::read(read_end.get(), text, sizeof text - 1);
  int status = 0;
  ::waitpid(attester, &status, 0);
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "may not create a pid namespace here (root may)";
  ASSERT_GT(size, 0);
  EXPECT_THAT(text, HasSubstr("UNAUTHENTICATED"));
  EXPECT_THAT(text, HasSubstr("hostPID: true"));
}

TEST(Attest, FindsThePeersOwnCgroup) {
  const bool v1 = ::access("/sys/fs/cgroup/memory/memory.usage_in_bytes", F_OK) == 0;
  const std::string name = absl::StrCat("memgov-attestor test ", ::getpid());
  const std::string directory = absl::StrCat(v1 ? "/sys/fs/cgroup/memory/" : "/sys/fs/cgroup/", name);
  if (::mkdir(directory.c_str(), 0755) != 0) GTEST_SKIP() << "may not create " << directory << " (root may)";
  {
    ConnectedChild child(WaitForever);
    std::ofstream(directory + "/cgroup.procs") << child.pid() << std::flush;
    const absl::StatusOr<AttestedPeer> attested = Attest(child.socket());
    ASSERT_TRUE(attested.ok()) << attested.status();
    EXPECT_EQ(attested->peer.cgroup, "/" + name);
    EXPECT_EQ(attested->peer.container, "");
  }
  EXPECT_EQ(::rmdir(directory.c_str()), 0);
}

TEST(Attest, NamesTheSystemCallThatFailed) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]), write_end(ends[1]);
  EXPECT_THAT(std::string(Attest(read_end.get()).status().message()), HasSubstr("getsockopt(SO_PEERCRED)"));
  EXPECT_FALSE(SocketCookie(read_end.get()).ok());
}

}  // namespace
}  // namespace memgov::identity
