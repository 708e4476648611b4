#include "governor/kernel/test_cgroups.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace memgov::kernel {
namespace {

constexpr std::chrono::seconds kDeadline(20);

void Write(const UniqueFd& fd, core::Bytes order) {
  if (::write(fd.get(), &order, sizeof(order)) != sizeof(order)) ADD_FAILURE() << "the hog hears no orders";
}

// The hog's own life; nothing but system calls, as after any fork. A sanitizer's shadow of what it touches
// would be charged to the cgroup too.
[[noreturn]] __attribute__((no_sanitize("thread", "address"))) void Obey(int orders, int answers, int procs) {
  if (::write(procs, "0\n", 2) != 2) ::_exit(3);
  core::Bytes order = 0;
  while (::read(orders, &order, sizeof(order)) == sizeof(order)) {
    void* memory = ::mmap(nullptr, static_cast<std::size_t>(order), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) ::_exit(4);
    for (core::Bytes at = 0; at < order; at += 4096) static_cast<volatile char*>(memory)[at] = 1;
    if (::write(answers, &order, sizeof(order)) != sizeof(order)) break;
  }
  ::_exit(0);
}

}  // namespace

std::string ReadFile(const std::string& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void WriteFile(const std::string& file, std::string_view text) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  ASSERT_TRUE(fd) << file << ": " << std::strerror(errno);
  ASSERT_EQ(::write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()))
      << file << ": " << std::strerror(errno);
}

std::string StatText(MemoryVersion version) {
  const bool v1 = version == MemoryVersion::kV1;
  const char* const prefix = v1 ? "total_" : "";
  std::string text = v1 ? "cache 1\nrss 1\nhierarchical_memory_limit 9223372036854771712\n" : "kernel 77\n";
  core::Bytes value = 0;
  for (const char* name : {v1 ? "rss" : "anon", v1 ? "cache" : "file", "shmem", "inactive_anon",
                           "active_anon", "inactive_file", "active_file", "unevictable"}) {
    value += core::kMiB;
    absl::StrAppend(&text, prefix, name, " ", value, "\n");
  }
  if (!v1) absl::StrAppend(&text, "slab ", 11 * core::kMiB, "\n");
  absl::StrAppend(&text, prefix, "workingset_refault_file 10\n", prefix, "pgmajfault 9\n");
  return text;
}

// --- fake
// -----------------------------------------------------------------------------------------------------

FakeHierarchy::FakeHierarchy(MemoryVersion version) {
  layout_.memory_version = version;
  layout_.memory_mount = directory_.path();
}

void FakeHierarchy::Add(const std::string& path, core::Bytes usage) {
  if (path.empty() || std::filesystem::exists(Directory(path))) return;
  Add(path.substr(0, path.rfind('/')));
  std::filesystem::create_directory(Directory(path));
  SetUsage(path, usage);
  SetOomKills(path, 0);
  WriteFile(Directory(path) + "/memory.stat", StatText(layout_.memory_version));
  if (layout_.memory_version == MemoryVersion::kV1) {
    SetLimit(path, "9223372036854771712\n");
  } else {
    SetLimit(path, "max\n");
    WriteFile(Directory(path) + "/memory.high", "max\n");
  }
}

void FakeHierarchy::Remove(const std::string& path) { std::filesystem::remove_all(Directory(path)); }

void FakeHierarchy::SetUsage(const std::string& path, core::Bytes usage) {
  const bool v1 = layout_.memory_version == MemoryVersion::kV1;
  WriteFile(Directory(path) + (v1 ? "/memory.usage_in_bytes" : "/memory.current"), absl::StrCat(usage, "\n"));
}

void FakeHierarchy::SetLimit(const std::string& path, std::string_view text) {
  const bool v1 = layout_.memory_version == MemoryVersion::kV1;
  WriteFile(Directory(path) + (v1 ? "/memory.limit_in_bytes" : "/memory.max"), text);
}

void FakeHierarchy::SetOomKills(const std::string& path, int kills) {
  const bool v1 = layout_.memory_version == MemoryVersion::kV1;
  WriteFile(Directory(path) + (v1 ? "/memory.oom_control" : "/memory.events"),
            absl::StrCat(v1 ? "oom_kill_disable 0\nunder_oom 0\n" : "low 0\nhigh 0\nmax 0\noom 0\n",
                         "oom_kill ", kills, "\n"));
}

// --- real
// -----------------------------------------------------------------------------------------------------

RealHierarchy FindRealHierarchy() {
  const auto layout = DiscoverCgroups();
  if (!layout.ok()) return {.layout = std::nullopt, .why_not = layout.status().ToString()};
  const std::string probe = absl::StrCat(layout->memory_mount, "/memgov-kt-probe-", ::getpid());
  if (::mkdir(probe.c_str(), 0755) != 0) {
    return {.layout = std::nullopt, .why_not = absl::StrCat("mkdir ", probe, ": ", std::strerror(errno))};
  }
  ::rmdir(probe.c_str());
  return {.layout = *layout, .why_not = ""};
}

RealCgroup::RealCgroup(const CgroupLayout& layout, const RealCgroup* parent) : layout_(layout) {
  static int made = 0;
  path_ = absl::StrCat(parent == nullptr ? "" : parent->path(), "/memgov-kt-", ::getpid(), "-", ++made);
  if (layout_.memory_version == MemoryVersion::kV2 && parent == nullptr) {
    WriteFile(layout_.memory_mount + "/cgroup.subtree_control", "+memory");
  }
  Make();
}

RealCgroup::~RealCgroup() { EXPECT_TRUE(Remove()) << path_ << " is left behind: " << std::strerror(errno); }

std::string RealCgroup::File(const std::string& name) const {
  return absl::StrCat(layout_.memory_mount, path_, "/", name);
}

void RealCgroup::Make() {
  const std::string directory = layout_.memory_mount + path_;
  ASSERT_EQ(::mkdir(directory.c_str(), 0755), 0) << directory << ": " << std::strerror(errno);
}

void RealCgroup::SetLimit(core::Bytes limit) {
  const bool v1 = layout_.memory_version == MemoryVersion::kV1;
  WriteFile(File(v1 ? "memory.limit_in_bytes" : "memory.max"), absl::StrCat(limit));
  const std::string swap = File("memory.swap.max");
  if (!v1 && std::filesystem::exists(swap)) WriteFile(swap, "0");
}

void RealCgroup::LetChildrenHaveMemory() {
  if (layout_.memory_version == MemoryVersion::kV2) WriteFile(File("cgroup.subtree_control"), "+memory");
}

bool RealCgroup::Remove() {
  const std::string directory = layout_.memory_mount + path_;
  const auto give_up = std::chrono::steady_clock::now() + kDeadline;
  while (::rmdir(directory.c_str()) != 0 && errno != ENOENT) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // a dying process still holds it
  }
  return true;
}

// --- hog
// ------------------------------------------------------------------------------------------------------

Hog::Hog(const RealCgroup& cgroup) {
  int orders[2];
  int answers[2];
  if (::pipe2(orders, O_CLOEXEC) != 0 || ::pipe2(answers, O_CLOEXEC) != 0) {
    ADD_FAILURE() << "pipe: " << std::strerror(errno);
    return;
  }
  const UniqueFd procs(::open(cgroup.File("cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  pid_ = ::fork();
  if (pid_ == 0) {
    ::close(orders[1]);
    ::close(answers[0]);
    Obey(orders[0], answers[1], procs.get());
  }
  ::close(orders[0]);
  ::close(answers[1]);
  orders_.reset(orders[1]);
  answers_.reset(answers[0]);
  EXPECT_TRUE(Take(4096)) << "the hog could not enter " << cgroup.path();
}

Hog::~Hog() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  Died();
}

void Hog::TakeUnwatched(core::Bytes bytes) { Write(orders_, bytes); }

bool Hog::Take(core::Bytes bytes) {
  Write(orders_, bytes);
  core::Bytes answer = 0;
  return ::read(answers_.get(), &answer, sizeof(answer)) == sizeof(answer);
}

int Hog::Died() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

}  // namespace memgov::kernel
