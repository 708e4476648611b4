#include "governor/identity/connect_rate.h"

namespace memgov::identity {

bool ConnectRate::RefusesUnseen(int pid, core::Instant now) {
  const auto found = by_pid_.find(pid);
  if (found == by_pid_.end()) return false;
  if (now >= found->second.until) {
    by_pid_.erase(found);
    return false;
  }
  Refuse(found->second.tenant, now);
  return true;
}

void ConnectRate::Refuse(const std::string& tenant, core::Instant now) {
  refused_.Count(tenant, now);
  rate_.Charge(tenant, options_.refused, now);
}

bool ConnectRate::Admit(int pid, const std::string& tenant, core::Instant now) {
  if (rate_.Take(tenant, now)) return true;
  Refuse(tenant, now);
  if (pid <= 0) return false;
  // Of processes that are too many to be remembered, each is looked at once more.
  if (by_pid_.size() >= options_.most_remembered) by_pid_.clear();
  by_pid_[pid] = {tenant, now + options_.remember};
  return false;
}

}  // namespace memgov::identity
