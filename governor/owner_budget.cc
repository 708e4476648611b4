#include "governor/owner_budget.h"

#include <fmt/format.h>

#include <algorithm>

namespace memgov {

OwnerBudget::Limits OwnerBudget::LimitsFor(std::size_t files, std::size_t per_tenant) {
  Limits limits;
  limits.most = std::clamp<std::size_t>(files / 4, 8, limits.most);
  limits.per_tenant = std::min(per_tenant, limits.most);
  limits.most_silent = std::min(limits.most_silent, limits.most);
  limits.silent_per_tenant = std::min(limits.silent_per_tenant, std::max<std::size_t>(limits.most / 2, 1));
  return limits;
}

OwnerBudget::Answer OwnerBudget::Add(Cookie cookie, const std::string& tenant, core::Bytes size,
                                     core::Instant now) {
  Answer answer;
  if (silent_.CountOf(tenant) >= limits_.silent_per_tenant) {
    answer.refusal = fmt::format("{} connections of this tenant have not said Hello yet, its most",
                                 limits_.silent_per_tenant);
    answer.unheard = true;
    return answer;
  }
  const auto yield = [&](Cookie who) {
    answer.yields.push_back(who);
    Remove(who);
  };
  // By a factor of two, so that two that are much alike do not take turns.
  const core::Bytes rank = size / 2;
  if (const std::size_t count = all_.CountOf(tenant); count >= limits_.per_tenant) {
    const auto who = all_.WhoYieldsOf(tenant, rank);
    if (!who) {
      answer.refusal = fmt::format(
          "this tenant has {} connections to memgovd, its most (--clients-per-tenant), and none of a process "
          "half as large as this one ({} MiB)",
          count, size >> 20);
      return answer;
    }
    yield(*who);
  }
  if (all_.total() >= limits_.most) {
    const auto who = all_.WhoYields(tenant, rank);
    if (!who) {
      answer.refusal = fmt::format(
          "memgovd serves {} processes, as many as its open files allow (raise its RLIMIT_NOFILE), and no "
          "tenant has more of them than this one",
          limits_.most);
      return answer;
    }
    yield(*who);
  }
  if (silent_.total() >= limits_.most_silent) {
    const auto who = silent_.WhoYields(tenant);
    if (!who) {
      answer.refusal = fmt::format("{} connections have not said Hello yet", limits_.most_silent);
      answer.unheard = true;
      return answer;
    }
    yield(*who);
  }
  all_.Add(tenant, cookie, size);
  silent_.Add(tenant, cookie);
  since_.emplace_back(now, cookie);
  return answer;
}

void OwnerBudget::Remove(Cookie cookie) {
  all_.Remove(cookie);
  silent_.Remove(cookie);
}

std::vector<OwnerBudget::Cookie> OwnerBudget::TakeOverdue(core::Instant now) {
  std::vector<Cookie> overdue;
  for (; !since_.empty() && now - since_.front().first >= limits_.hello_within; since_.pop_front()) {
    const Cookie cookie = since_.front().second;
    if (!silent_.Remove(cookie)) continue;
    all_.Remove(cookie);
    overdue.push_back(cookie);
  }
  return overdue;
}

}  // namespace memgov
