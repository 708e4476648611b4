// A hostile peer: sends what a file holds on many connections, without end, for the hostile benchmark and its
// tests.
//
//   send      PREFIX once on each connection, then CHUNK again and again; without a chunk it stays silent
//   streams   CHUNK is a header block: a new stream for each, ended at once
//   resets    the same, but each stream is reset by us at once
//   connects  connects, sends PREFIX and hangs up, --rate times a second (0: as fast as it goes)
//
// A connection that the governor ends is made anew. Connects and bytes are counted in one JSON line at the
// end.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "tests/workloads/arguments.h"

namespace {

constexpr char kUsage[] =
    "usage: bench_flooder --socket PATH --seconds N [--mode send|streams|resets|connects] [--connections N]\n"
    "                     [--prefix FILE] [--chunk FILE] [--rate PER_SECOND] [--deaf]\n"
    "  --rate: of connects in all, or of chunks on each connection; --deaf: read nothing\n";
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr int kWritesInARow = 64;     // before the next connection's turn
constexpr std::size_t kBatch = 4000;  // bytes of streams for one write
constexpr unsigned char kHeaders = 1, kReset = 3, kEndStream = 1, kEndHeaders = 4, kCancel = 8;

enum Mode { kSend, kStreams, kResets, kConnects };

struct Options {
  const char* socket = nullptr;
  std::uint64_t seconds = 0;
  Mode mode = kSend;
  std::uint64_t connections = 1;
  std::string prefix;
  std::string chunk;
  std::uint64_t rate = 0;
  bool deaf = false;
};

struct Count {
  std::uint64_t connected = 0;
  std::uint64_t failed = 0;  // connects
  std::uint64_t ended = 0;   // connections that the peer closed
  std::uint64_t bytes = 0;
};

std::uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

void SleepNs(std::uint64_t ns) {
  const timespec pause{.tv_sec = static_cast<time_t>(ns / kSecond),
                       .tv_nsec = static_cast<long>(ns % kSecond)};
  nanosleep(&pause, nullptr);
}

std::string ReadFile(const char* file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) {
    std::perror(file);
    std::exit(1);
  }
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// -1 when the governor does not take us now.
int Connect(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

void AppendFrameHead(std::size_t size, unsigned char kind, unsigned char flags, std::uint32_t stream,
                     std::string* out) {
  const unsigned char head[] = {static_cast<unsigned char>(size >> 16),
                                static_cast<unsigned char>(size >> 8),
                                static_cast<unsigned char>(size),
                                kind,
                                flags,
                                static_cast<unsigned char>(stream >> 24 & 0x7f),
                                static_cast<unsigned char>(stream >> 16),
                                static_cast<unsigned char>(stream >> 8),
                                static_cast<unsigned char>(stream)};
  out->append(reinterpret_cast<const char*>(head), sizeof head);
}

class Flow {
 public:
  Flow(const Options& options, Count* count) : options_(options), count_(count) {}

  int fd() const { return fd_; }

  void Reconnect() {
    fd_ = Connect(options_.socket);
    ++(fd_ < 0 ? count_->failed : count_->connected);
    next_ = &options_.prefix;
    at_ = 0;
    stream_ = 1;
    began_ns_ = NowNs();
    chunks_ = 0;
  }

  // Whether there is something to send now.
  bool Wants(std::uint64_t now_ns) {
    while (at_ == next_->size()) {
      if (options_.chunk.empty()) return false;
      if (options_.rate > 0 && chunks_ * kSecond >= (now_ns - began_ns_) * options_.rate) return false;
      next_ = options_.mode == kSend ? &options_.chunk : FillBatch();
      at_ = 0;
      ++chunks_;
    }
    return true;
  }

  void Write() {
    for (int i = 0; i < kWritesInARow && Wants(NowNs()); ++i) {
      const ssize_t written = send(fd_, next_->data() + at_, next_->size() - at_, MSG_NOSIGNAL);
      if (written < 0) {
        if (errno != EAGAIN && errno != EINTR) Hangup();
        return;
      }
      at_ += static_cast<std::size_t>(written);
      count_->bytes += static_cast<std::uint64_t>(written);
    }
  }

  void Read() {
    char sink[65536];
    while (fd_ >= 0) {
      const ssize_t got = read(fd_, sink, sizeof sink);
      if (got > 0) continue;
      if (got == 0 || (errno != EAGAIN && errno != EINTR)) Hangup();
      return;
    }
  }

  void Hangup() {
    close(fd_);
    fd_ = -1;
    ++count_->ended;
  }

 private:
  const std::string* FillBatch() {
    batch_.clear();
    while (batch_.size() < kBatch) {
      const bool resets = options_.mode == kResets;
      AppendFrameHead(options_.chunk.size(), kHeaders, resets ? kEndHeaders : kEndHeaders | kEndStream,
                      stream_, &batch_);
      batch_ += options_.chunk;
      if (resets) {
        AppendFrameHead(4, kReset, 0, stream_, &batch_);
        batch_.append({0, 0, 0, kCancel});
      }
      stream_ += 2;
    }
    return &batch_;
  }

  const Options& options_;
  Count* const count_;
  int fd_ = -1;
  const std::string* next_ = nullptr;  // what is being sent
  std::size_t at_ = 0;
  std::string batch_;
  std::uint32_t stream_ = 1;
  std::uint64_t began_ns_ = 0;
  std::uint64_t chunks_ = 0;
};

void Flood(const Options& options, std::uint64_t until_ns, Count* count) {
  std::vector<Flow> flows(options.connections, Flow(options, count));
  std::vector<pollfd> polled(flows.size());
  for (std::uint64_t now = NowNs(); now < until_ns; now = NowNs()) {
    bool paced = false;
    for (std::size_t i = 0; i < flows.size(); ++i) {
      if (flows[i].fd() < 0) flows[i].Reconnect();
      const bool wants = flows[i].fd() >= 0 && flows[i].Wants(now);
      paced |= !wants;
      polled[i] = {.fd = flows[i].fd(),
                   .events = static_cast<short>((options.deaf ? 0 : POLLIN) | (wants ? POLLOUT : 0)),
                   .revents = 0};
    }
    if (poll(polled.data(), polled.size(), paced ? 2 : 20) <= 0) continue;
    for (std::size_t i = 0; i < flows.size(); ++i) {
      if (polled[i].revents & POLLIN) flows[i].Read();
      if (flows[i].fd() >= 0 && polled[i].revents & (POLLERR | POLLHUP)) flows[i].Hangup();
      if (flows[i].fd() >= 0 && polled[i].revents & POLLOUT) flows[i].Write();
    }
  }
}

void ConnectAndHangUp(const Options& options, std::uint64_t until_ns, Count* count) {
  const std::uint64_t began = NowNs();
  for (std::uint64_t now = began; now < until_ns; now = NowNs()) {
    const int fd = Connect(options.socket);
    if (fd < 0) {
      ++count->failed;
      SleepNs(200'000);
      continue;
    }
    ++count->connected;
    if (!options.prefix.empty()) {
      const ssize_t written = send(fd, options.prefix.data(), options.prefix.size(), MSG_NOSIGNAL);
      if (written > 0) count->bytes += static_cast<std::uint64_t>(written);
    }
    close(fd);
    if (options.rate == 0) continue;
    const std::uint64_t due = began + count->connected * kSecond / options.rate;
    if (now = NowNs(); due > now) SleepNs(due - now);
  }
}

Options Parse(int argc, char** argv) {
  Options options;
  memgov::workloads::Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--socket")) {
      options.socket = arguments.Text();
    } else if (arguments.Is("--seconds")) {
      options.seconds = arguments.Number();
    } else if (arguments.Is("--mode")) {
      options.mode = static_cast<Mode>(arguments.OneOf({"send", "streams", "resets", "connects"}));
    } else if (arguments.Is("--connections")) {
      options.connections = arguments.Number();
    } else if (arguments.Is("--prefix")) {
      options.prefix = ReadFile(arguments.Text());
    } else if (arguments.Is("--chunk")) {
      options.chunk = ReadFile(arguments.Text());
    } else if (arguments.Is("--rate")) {
      options.rate = arguments.Number();
    } else if (arguments.Is("--deaf")) {
      options.deaf = true;
    } else {
      arguments.Fail("unknown option");
    }
  }
  if (options.socket == nullptr || options.seconds == 0) arguments.Fail("--socket and --seconds are needed");
  if ((options.mode == kStreams || options.mode == kResets) && options.chunk.empty())
    arguments.Fail("streams need a --chunk");
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  std::printf("{\"started\":true}\n");
  Count count;
  const std::uint64_t began = NowNs();
  const std::uint64_t until = began + options.seconds * kSecond;
  if (options.mode == kConnects) {
    ConnectAndHangUp(options, until, &count);
  } else {
    Flood(options, until, &count);
  }
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf("{\"connected\":%llu,\"failed\":%llu,\"ended\":%llu,\"bytes\":%llu,\"seconds\":%.2f}\n",
              number(count.connected), number(count.failed), number(count.ended), number(count.bytes),
              static_cast<double>(NowNs() - began) / static_cast<double>(kSecond));
  return 0;
}
