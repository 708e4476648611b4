// What one tenant can make the tree hold, and how much of our time it can have.
//
// A tenant may make cgroups below one that was made for it: a container with its own cgroup namespace, a unit
// with Delegate=, a directory that was given to a user. Nothing in the kernel bounds how many, or how many a
// second; so we do, for each tenant by itself. What is beyond the bounds is not tracked; its memory is part
// of the nearest cgroup above that is, and so are its clients.
//
// Where no tenant is known, root makes the cgroups (kubelet, systemd, a batch system), but that name may be
// new to us. So each child of the hierarchy's root has bounds of its own as well, wide ones.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/node_hash_map.h"
#include "governor/base/token_bucket.h"
#include "governor/core/units.h"

namespace memgov::kernel {

struct TenantBounds {
  std::size_t most = 0;  // cgroups that are tracked
  double newcomers = 0;  // a second; each costs some 100 us until it is known everywhere
  double newcomers_at_once = 0;
  double entries = 0;  // of its directories, a second; each costs some 0.5 us
  double entries_at_once = 0;
};

// Of a tenant.
inline constexpr TenantBounds kTenantBounds{
    .most = 1024, .newcomers = 50, .newcomers_at_once = 64, .entries = 20'000, .entries_at_once = 20'000};
// Of what root makes below one child of the hierarchy's root.
inline constexpr TenantBounds kGroupBounds{.most = 8192,
                                           .newcomers = 200,
                                           .newcomers_at_once = 4096,
                                           .entries = 100'000,
                                           .entries_at_once = 100'000};

class TreeTenants {
 public:
  struct Tenant {
    Tenant(std::string_view path, const TenantBounds& its_bounds)
        : top(path),
          bounds(its_bounds),
          newcomers(its_bounds.newcomers, its_bounds.newcomers_at_once),
          entries(its_bounds.entries, its_bounds.entries_at_once) {}

    const std::string top;  // the path of its first cgroup, or of the child of the hierarchy's root
    const TenantBounds& bounds;
    bool is_group = false;
    std::size_t tracked = 0;
    base::TokenBucket newcomers;
    base::TokenBucket entries;
    std::uint64_t refused_in = 0;  // the last scan in which a newcomer was
    // Since the last whole scan began.
    bool too_many = false;
    bool too_fast = false;
  };

  // Whether a path, all of whose parents are nobody's, is a tenant's by its name. Absent: names tell nothing.
  using IsTenant = std::function<bool(std::string_view path)>;

  explicit TreeTenants(IsTenant is_tenant) : is_tenant_(std::move(is_tenant)) {}

  // Whose a new cgroup is. `parent`: whose its parent is, absent where that is not tracked. `given_away`: its
  // directory does not belong to whom the hierarchy belongs.
  Tenant* Of(const std::string& path, Tenant* parent, bool given_away);

  // The caller has begun, or has ceased, to track one of its cgroups. A tenant ends with its last.
  static void Join(Tenant* tenant) { ++tenant->tracked; }
  void Leave(Tenant* tenant);

  // Whether one more may be tracked now. Counts a refusal. `all_at_once`: at the start, whatever is there.
  static bool MayJoin(Tenant* tenant, core::Instant now, bool all_at_once);

  void BeginWholeScan();
  // In words for people, at most kMostWords of them.
  static constexpr std::size_t kMostWords = 16;
  std::vector<std::string> degraded() const;

 private:
  const IsTenant is_tenant_;
  absl::node_hash_map<std::string, Tenant> tenants_;  // by top; groups under "/name//"
};

}  // namespace memgov::kernel
