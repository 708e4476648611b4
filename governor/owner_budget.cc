#include "governor/owner_budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

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
  // By a factor of two, so that two that are much alike do not take turns.
  const core::Bytes rank = size / 2;
  std::optional<Cookie> place;  // whose is taken; nobody has to go before it is known that this one may come
  if (const std::size_t count = all_.CountOf(tenant); count >= limits_.per_tenant) {
    place = all_.WhoYieldsOf(tenant, rank);
    if (!place) {
      answer.refusal = fmt::format(
          "this tenant has {} connections to memgovd, its most (--clients-per-tenant), and none of a process "
          "half as large as this one ({} MiB)",
          count, size >> 20);
      return answer;
    }
  } else if (all_.total() >= limits_.most) {
    place = all_.WhoYields(tenant, rank);
    if (!place) {
      answer.refusal = fmt::format(
          "memgovd serves {} processes, as many as its open files allow (raise its RLIMIT_NOFILE), and no "
          "tenant has more of them than this one",
          limits_.most);
      return answer;
    }
  }
  const bool frees_silent = place && silent_.Holds(*place);
  if (silent_.total() >= limits_.most_silent && !frees_silent) {
    const auto who = silent_.WhoYields(tenant);
    if (!who) {
      answer.refusal = fmt::format("{} connections have not said Hello yet", limits_.most_silent);
      answer.unheard = true;
      return answer;
    }
    answer.yields.push_back(*who);
  }
  if (place) answer.yields.push_back(*place);
  for (const Cookie who : answer.yields) Remove(who);
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
