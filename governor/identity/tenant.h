// Whom a cost is put down to: one that makes us hold connections, descriptors, names or log lines has a
// budget, and the budget's name is the tenant.
//
// It comes from the path of the cgroup that accept named. Nobody can take another's name, because it is
// whole: two containers whose ids begin alike are two tenants (DisplayName, for people, shows 12 digits).
// Whoever creates cgroups below his container stays the tenant that the container is. Elsewhere each cgroup
// is a tenant, and whoever may create cgroups has many; therefore what is scarce is shared along paths
// (base/fair_share.h), for which a tenant that begins with '/' counts by its levels and one that begins with
// a word is one.

#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "governor/identity/peer.h"

namespace memgov::identity {

// The tenant of a cgroup, by its path below the root of the memory hierarchy. Pure; never fails.
//   "container PATH"   the outermost container, of a pod or not, where only root names cgroups
//   "pod PATH"         a pod, outside of its containers
//   "service PATH"     a unit of the system manager
//   "user PATH"        all of a user: the manager, the sessions and what they run
//   PATH               anything else, at most the first 16 levels of it
std::string TenantOfCgroup(absl::string_view cgroup_path);

// The tenant of all peers whose cgroup could not be told. One for all: a user id is whatever a container's
// root takes, and a name that is free would be a budget that is free.
inline constexpr char kUnidentified[] = "unidentified";

inline std::string TenantOf(const Peer& peer) {
  return peer.cgroup.empty() ? std::string(kUnidentified) : TenantOfCgroup(peer.cgroup);
}

}  // namespace memgov::identity
