#include "governor/identity/attestor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "governor/identity/test_fixtures.h"
#include "tests/cpp/temporary_directory.h"

namespace memgov::identity {
namespace {

using base::UniqueFd;

using testing::HasSubstr;

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

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

TEST(MemoryCgroupPath, ReadsWhatHostsShow) {
  const std::vector<FixtureRow> rows = ReadFixture("proc_pid_cgroup/expected.txt");
  ASSERT_FALSE(rows.empty());
  for (const FixtureRow& row : rows) {
    ASSERT_EQ(row.columns.size(), 2u) << row.where;
    const auto path = MemoryCgroupPath(ReadFile(FixtureRoot() + "/proc_pid_cgroup/" + row.columns[0]));
    ASSERT_TRUE(path.ok()) << row.where << ": " << path.status();
    EXPECT_EQ(*path, row.columns[1]) << row.where;
  }
}

TEST(LooksAtAProcess, TellItsCgroupMemoryAndName) {
  const pid_t self = ::getpid();
  EXPECT_EQ(*CgroupOf(self), *MemoryCgroupPath(ReadFile("/proc/self/cgroup")));
  EXPECT_THAT(std::string(CgroupOf(self, {.cgroup_namespace_root = "/a/b"})->substr(0, 4)), "/a/b");
  EXPECT_FALSE(CgroupOf(self, {.cgroup_namespace_root = std::nullopt}).ok());
  EXPECT_GT(ResidentOf(self), core::kMiB);
  EXPECT_EQ(CommandOf(self) + "\n", ReadFile("/proc/self/comm"));
}

TEST(LooksAtAProcess, AreNothingWhereItIsGone) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(CgroupOf(child).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(ResidentOf(child), 0);
  EXPECT_EQ(CommandOf(child), "");
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
    const TemporaryDirectory directory;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    absl::StrCat(directory.path(), "/socket").copy(address.sun_path, sizeof address.sun_path - 1);
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
    socket_.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  ~ConnectedChild() {
    if (!reaped_) ::kill(pid_, SIGKILL);
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
      EXPECT_THAT(std::string(attested.status().message()),
                  HasSubstr("exited before it could be identified"));
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

// Runs `body` as the first process of a new pid namespace with a /proc of its own, and returns what it
// returns. Nothing if that is not allowed here.
std::optional<std::string> InNewPidNamespace(const std::function<std::string()>& body) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t outer = ::fork();
  if (outer == 0) {
    constexpr int kSpaces = CLONE_NEWPID | CLONE_NEWNS;
    if (::unshare(kSpaces) != 0 && ::unshare(CLONE_NEWUSER | kSpaces) != 0) ::_exit(1);
    const pid_t inner = ::fork();  // only children are inside
    if (inner == 0) {
      if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
          ::mount("proc", "/proc", "proc", 0, nullptr) != 0) {
        ::_exit(1);
      }
      const std::string text = body();
      ::_exit(::write(write_end.get(), text.data(), text.size()) < 0 ? 1 : 0);
    }
    int status = 0;
    ::waitpid(inner, &status, 0);
    ::_exit(WEXITSTATUS(status));
  }
  write_end.reset();
  char text[1024];
  const ssize_t size = ::read(read_end.get(), text, sizeof text);
  int status = 0;
  ::waitpid(outer, &status, 0);
  if (size <= 0 || WEXITSTATUS(status) != 0) return std::nullopt;
  return std::string(text, static_cast<std::size_t>(size));
}

TEST(Attest, RefusesAPeerOutsideOfOurPidNamespace) {
  ConnectedChild peer(WaitForever);
  const auto verdict = InNewPidNamespace([&] { return Attest(peer.socket()).status().ToString(); });
  if (!verdict) GTEST_SKIP() << "may not create a pid namespace here (root may)";
  EXPECT_THAT(*verdict, HasSubstr("UNAUTHENTICATED"));
  EXPECT_THAT(*verdict, HasSubstr("hostPID: true"));
}

TEST(Attest, DoesNotTakeTheNextOwnerOfAPidForThePeer) {
  // The peer connects and exits; then another process gets its pid, as far as SO_PEERCRED can tell the same.
  const auto verdict = InNewPidNamespace([]() -> std::string {
    ConnectedChild peer([](int) {});
    peer.WaitForExit();
    peer.Reap();
    std::ofstream("/proc/sys/kernel/ns_last_pid") << peer.pid() - 1 << std::flush;
    ConnectedChild heir(WaitForever);
    if (heir.pid() != peer.pid()) return "not the same pid";
    if (!Attest(heir.socket()).ok() || Attest(heir.socket())->peer.weak) return "weak kernel";
    return Attest(peer.socket()).status().ToString();
  });
  if (!verdict) GTEST_SKIP() << "may not create a pid namespace here (root may)";
  if (*verdict == "weak kernel") GTEST_SKIP() << "this kernel has no SO_PEERPIDFD (6.5 has)";
  EXPECT_THAT(*verdict, HasSubstr("UNAUTHENTICATED"));
  EXPECT_THAT(*verdict, HasSubstr("exited before it could be identified"));
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

TEST(Attest, SeesFromAPrivateCgroupNamespace) {
  ConnectedChild child(WaitForever);
  const std::string seen = *MemoryCgroupPath(ReadFile("/proc/self/cgroup"));
  const absl::StatusOr<AttestedPeer> attested =
      Attest(child.socket(), {.cgroup_namespace_root = "/docker/node"});
  ASSERT_TRUE(attested.ok()) << attested.status();
  EXPECT_EQ(attested->peer.cgroup, seen == "/" ? "/docker/node" : "/docker/node" + seen);
}

TEST(Attest, RefusesEverybodyWhereTheNamespaceIsUnknown) {
  ConnectedChild child(WaitForever);
  const absl::Status refused = Attest(child.socket(), {.cgroup_namespace_root = std::nullopt}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("--cgroup-namespace-root"));
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
