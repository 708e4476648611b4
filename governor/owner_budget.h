// How many processes may be connected: of one tenant, of all, and of those that have not said Hello yet. Each
// costs a socket, a pidfd and some memory; descriptors are what is scarce.
//
// A tenant that is at its most may still bring in a process that holds more memory than others of it: of a
// hundred small ones and the one that holds everything, the one is worth asking. What is scarce for all is
// shared along the paths of cgroups (base/fair_share.h).
//
// Pure; the caller brings the time. Control thread.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "governor/base/fair_share.h"
#include "governor/core/units.h"

namespace memgov {

class OwnerBudget {
 public:
  using Cookie = std::uint64_t;  // of a connection

  struct Limits {
    std::size_t most = 20000;
    std::size_t per_tenant = 1000;
    std::size_t most_silent = 4096;
    // A server may start 500 workers at once; they say Hello within milliseconds, or seconds on a machine
    // that is short of everything.
    std::size_t silent_per_tenant = 750;
    // The session room ends a silent connection sooner and says so. This is for what it does not.
    core::Duration hello_within = std::chrono::seconds(12);
  };

  // For a process that may have so many open files: half are for clients (two each), half for what we watch.
  static Limits LimitsFor(std::size_t files, std::size_t per_tenant);
  // How many files are needed for so many of one tenant; what is more than Limits::most never is served.
  static std::size_t FilesFor(std::size_t per_tenant) { return 4 * std::min(per_tenant, Limits{}.most); }

  struct Answer {
    std::string refusal;         // why it is not admitted; empty: it is
    bool unheard = false;        // it is not worth a word either
    std::vector<Cookie> yields;  // whose connections have to end for it; they are forgotten here
  };

  explicit OwnerBudget(Limits limits) : limits_(limits) {}

  // `cookie` has connected, and holds `size` bytes of memory.
  Answer Add(Cookie cookie, const std::string& tenant, core::Bytes size, core::Instant now);

  void SaidHello(Cookie cookie) { silent_.Remove(cookie); }
  void SetSize(Cookie cookie, core::Bytes size) { all_.SetRank(cookie, size); }
  void Remove(Cookie cookie);

  // Who has said nothing for too long, the oldest first; they are forgotten here.
  std::vector<Cookie> TakeOverdue(core::Instant now);

  std::size_t total() const { return all_.total(); }
  std::size_t silent() const { return silent_.total(); }
  const Limits& limits() const { return limits_; }

 private:
  const Limits limits_;
  base::FairShare all_;
  base::FairShare silent_;
  std::deque<std::pair<core::Instant, Cookie>> since_;  // of the silent, and of some who are so no longer
};

}  // namespace memgov
