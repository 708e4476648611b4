#include "governor/base/peer_socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace memgov::base {
namespace {

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83  // Linux 6.16; Debian's headers are older
#endif

constexpr std::size_t kMostDescriptors = 253;  // of one message: SCM_MAX_FD
// A thread may be stuck with one; a few attackers are not to stop the closing for good.
constexpr int kMostThreads = 8;

// Closes what strangers sent. Never destroyed: a thread of it may be waiting for ever.
class Closer {
 public:
  static Closer& Instance() {
    static auto* const closer = new Closer;
    return *closer;
  }

  void Close(const std::vector<int>& descriptors) {
    const std::lock_guard lock(mutex_);
    waiting_.insert(waiting_.end(), descriptors.begin(), descriptors.end());
    if (idle_ > 0) {
      some_.notify_one();
    } else if (threads_ < kMostThreads) {
      ++threads_;
      std::thread([this] { Run(); }).detach();
    }
  }

 private:
  void Run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      ++idle_;
      some_.wait(lock, [this] { return !waiting_.empty(); });
      --idle_;
      const int descriptor = waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      // A socket then ends at once; a peer that races this to make it wait stops this thread alone.
      const linger at_once{.l_onoff = 1, .l_linger = 0};
      (void)::setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      ::close(descriptor);
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable some_;
  // Guarded by mutex_:
  std::deque<int> waiting_;
  int threads_ = 0;
  int idle_ = 0;
};

std::vector<int> DescriptorsIn(msghdr& message) {
  std::vector<int> descriptors;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const std::size_t before = descriptors.size();
    descriptors.resize(before + count);
    std::memcpy(descriptors.data() + before, CMSG_DATA(header), count * sizeof(int));
  }
  return descriptors;
}

}  // namespace

bool RefuseDescriptors(int listener) {
  const int none = 0;
  return ::setsockopt(listener, SOL_SOCKET, SO_PASSRIGHTS, &none, sizeof none) == 0;
}

Received ReceiveFrom(int socket, void* buffer, std::size_t size) {
  alignas(cmsghdr) char control[CMSG_SPACE(kMostDescriptors * sizeof(int)) + CMSG_SPACE(sizeof(int))];
  iovec piece{.iov_base = buffer, .iov_len = size};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  Received received;
  received.size = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (received.size < 0 || message.msg_controllen == 0) return received;
  if (const std::vector<int> descriptors = DescriptorsIn(message); !descriptors.empty()) {
    received.descriptors = true;
    Closer::Instance().Close(descriptors);
  }
  return received;
}

void CloseOf(int socket) {
  ::shutdown(socket, SHUT_RD);  // the peer can send no more
  char buffer[4096];
  for (;;) {
    const Received received = ReceiveFrom(socket, buffer, sizeof buffer);
    if (received.size == 0 || (received.size < 0 && errno != EINTR)) break;
  }
  ::close(socket);
}

}  // namespace memgov::base
