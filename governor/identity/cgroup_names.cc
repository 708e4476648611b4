#include "governor/identity/cgroup_names.h"

#include <chrono>
#include <utility>

namespace memgov::identity {
namespace {

// A cgroup is in no hurry: until its names are known, nothing happens to it. What finds no place in the queue
// is looked for again later.
constexpr PodNameFinder::Options kFinder{.patience = std::chrono::hours(24), .most_queued = 4096};

}  // namespace

core::WorkloadNames NamesOf(const ContainerName& workload, const PodName& pod) {
  const bool of_pod = workload.kind == ContainerKind::kPodContainer;
  const bool known = !pod.pod.empty() && (!pod.container.empty() || workload.container_id.empty());
  return {.pod_namespace = pod.pod_namespace,
          .pod = pod.pod,
          .container = pod.container,
          .qos = workload.qos,
          .runtime = workload.runtime,
          .pending = of_pod && !known};
}

CgroupNames::CgroupNames(boost::asio::io_context& io, PodNameFinder::Look look, Options options,
                         OnNamed on_named)
    : io_(io), options_(options), on_named_(std::move(on_named)), finder_(io, std::move(look), kFinder) {}

core::WorkloadNames CgroupNames::Add(core::CgroupId id, const std::string& path) {
  const ContainerName workload = ParseContainerName(path);
  core::WorkloadNames names = NamesOf(workload, {});
  if (!names.pending) return names;
  pods_.insert_or_assign(
      id, Pod{.workload = workload, .names = names, .looks = 0, .again = boost::asio::steady_timer(io_)});
  Look(id, workload);
  return names;
}

void CgroupNames::Look(core::CgroupId id, const ContainerName& workload) {
  finder_.Find(workload, [this, id](const PodName& found) { Found(id, found); });
}

void CgroupNames::Found(core::CgroupId id, const PodName& found) {
  const auto it = pods_.find(id);
  if (it == pods_.end()) return;
  Pod& pod = it->second;
  core::WorkloadNames names = NamesOf(pod.workload, found);
  const bool complete = !names.pending;
  ++pod.looks;
  if (pod.looks >= options_.pending_looks) names.pending = false;
  const bool news = names != pod.names;
  pod.names = names;
  if (!complete && pod.looks < options_.most_looks) {
    const core::Duration pause = options_.again_after * (1 << (pod.looks - 1));
    pod.again.expires_after(std::chrono::duration_cast<std::chrono::steady_clock::duration>(pause));
    pod.again.async_wait([this, id](const boost::system::error_code& cancelled) {
      if (cancelled) return;
      if (const auto due = pods_.find(id); due != pods_.end()) Look(id, due->second.workload);
    });
  }
  if (news) on_named_({.id = id, .names = std::move(names)});
}

std::optional<core::WorkloadNames> CgroupNames::Find(core::CgroupId id) const {
  const auto it = pods_.find(id);
  return it == pods_.end() ? std::nullopt : std::optional(it->second.names);
}

}  // namespace memgov::identity
