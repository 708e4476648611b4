// The names of cgroups, for the rules of a policy: what the path tells at once, and later what the node's
// files tell of pods (pod_names.h).

#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "governor/core/snapshot.h"
#include "governor/core/units.h"
#include "governor/core/workload.h"
#include "governor/identity/container_name.h"
#include "governor/identity/pod_name_finder.h"
#include "governor/identity/pod_names.h"

namespace memgov::identity {

// Both in one. Pending where it is a pod's and not all that it should have is known.
core::WorkloadNames NamesOf(const ContainerName& workload, const PodName& pod);

// All calls, the callback and the destructor on the thread that runs the io_context, which outlives it.
class CgroupNames {
 public:
  using OnNamed = std::function<void(core::CgroupNamed)>;

  struct Options {
    // Between the first look and the second; doubled with each one. The kubelet makes some of its files after
    // a container has started.
    core::Duration again_after = std::chrono::seconds(5);
    int most_looks = 8;     // 10 minutes
    int pending_looks = 3;  // 15 s; then what is not there counts as having no such name
  };

  CgroupNames(boost::asio::io_context& io, PodNameFinder::Look look, Options options, OnNamed on_named);
  // Waits for the look that is under way, if any.
  ~CgroupNames() = default;
  CgroupNames(const CgroupNames&) = delete;
  CgroupNames& operator=(const CgroupNames&) = delete;

  // What is known at once of the cgroup, whose path is as ParseContainerName wants it. Where that is pending,
  // `on_named` is called, never from within Add, as soon as it is not pending any more, and again whenever
  // more is known. Ids are not reused.
  core::WorkloadNames Add(core::CgroupId id, const std::string& path);
  // What has been told of a pod's cgroup; absent for others.
  std::optional<core::WorkloadNames> Find(core::CgroupId id) const;
  // It has vanished: `on_named` is not called for it any more.
  void Forget(core::CgroupId id) { pods_.erase(id); }

 private:
  struct Pod {
    ContainerName workload;
    core::WorkloadNames names;  // as told
    int looks = 0;
    boost::asio::steady_timer again;
  };

  void Look(core::CgroupId id, const ContainerName& workload);
  void Found(core::CgroupId id, const PodName& found);

  boost::asio::io_context& io_;
  const Options options_;
  const OnNamed on_named_;
  std::map<core::CgroupId, Pod> pods_;
  PodNameFinder finder_;
};

}  // namespace memgov::identity
