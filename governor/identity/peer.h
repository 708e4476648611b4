// Who is on the other end of an accepted socket, as the kernel says it. Nothing in here was claimed by the
// peer.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "governor/identity/container_name.h"
#include "governor/identity/pod_names.h"

namespace memgov::identity {

struct Peer {
  int pid = 0;  // in our pid namespace
  uid_t uid = 0;
  gid_t gid = 0;
  std::uint64_t cookie = 0;  // SO_COOKIE of our end: names this connection for the life of the machine
  std::string cgroup;        // below the root of the memory hierarchy: "/kubepods/burstable/pod.../<id>"
  std::string container;     // short name for people; empty outside of any
  ContainerName workload;    // what the cgroup's path tells
  PodName pod;               // names of the pod and its container, as far as this node's files tell them
  bool weak = false;         // the kernel has no SO_PEERPIDFD: pinned by pidfd_open and a second look instead
};

}  // namespace memgov::identity
