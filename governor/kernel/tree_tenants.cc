#include "governor/kernel/tree_tenants.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace memgov::kernel {
namespace {

// No path ends so: a tenant may well be a child of the hierarchy's root, too.
std::string KeyOfGroup(std::string_view top) { return std::string(top) + "//"; }

std::string_view TopLevel(std::string_view path) { return path.substr(0, path.find('/', 1)); }

}  // namespace

TreeTenants::Tenant* TreeTenants::Of(const std::string& path, Tenant* parent, bool given_away) {
  if (parent != nullptr && !parent->is_group) return parent;
  if (given_away || (is_tenant_ && is_tenant_(path))) {
    return &tenants_.try_emplace(path, path, kTenantBounds).first->second;
  }
  if (parent != nullptr) return parent;
  const std::string_view top = TopLevel(path);
  Tenant* group = &tenants_.try_emplace(KeyOfGroup(top), top, kGroupBounds).first->second;
  group->is_group = true;
  return group;
}

void TreeTenants::Leave(Tenant* tenant) {
  if (--tenant->tracked > 0) return;
  tenants_.erase(tenant->is_group ? KeyOfGroup(tenant->top) : std::string(tenant->top));
}

bool TreeTenants::MayJoin(Tenant* tenant, core::Instant now, bool all_at_once) {
  if (tenant->tracked >= tenant->bounds.most) {
    tenant->too_many = true;
    return false;
  }
  if (all_at_once || tenant->newcomers.Take(now)) return true;
  tenant->too_fast = true;
  return false;
}

void TreeTenants::BeginWholeScan() {
  for (auto& [key, tenant] : tenants_) tenant.too_many = tenant.too_fast = false;
}

std::vector<std::string> TreeTenants::degraded() const {
  std::vector<std::string> words;
  for (const auto& [key, tenant] : tenants_) {
    if (tenant.too_many) {
      words.push_back(absl::StrCat(tenant.top, " has more than ", tenant.bounds.most,
                                   " cgroups: the rest counts with the nearest above that is watched"));
    } else if (tenant.too_fast) {
      words.push_back(absl::StrCat(tenant.top, " makes more than ", tenant.bounds.newcomers,
                                   " cgroups a second: they are noticed late, or not at all"));
    }
  }
  std::sort(words.begin(), words.end());
  if (words.size() > kMostWords) words.resize(kMostWords);
  return words;
}

}  // namespace memgov::kernel
