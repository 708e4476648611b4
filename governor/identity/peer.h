// Who is on the other end of an accepted socket, as the kernel says it. Nothing in here was claimed by the
// peer.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace memgov::identity {

struct Peer {
  int pid = 0;  // in our pid namespace
  uid_t uid = 0;
  gid_t gid = 0;
  std::uint64_t cookie = 0;  // SO_COOKIE of our end: names this connection for the life of the machine
  std::string cgroup;        // below the root of the memory hierarchy: "/kubepods/burstable/pod.../<id>"
  std::string container;     // short name for people (container_name.h); empty outside of any
  bool weak = false;         // the kernel has no SO_PEERPIDFD: pinned by pidfd_open and a second look instead
};

}  // namespace memgov::identity
