// What a byte of a client's costs, relative to others: who is asked first when several could give.
//
// Learned from what its requests really took: time per byte (a thread of the program stood still meanwhile,
// or a collector worked), and how much of what it gave grew back soon (pages that had to be faulted in again,
// for nothing). The time of a program at rest is cheaper than that of one at work; at rest means that neither
// what it uses nor what it holds free has moved between its reports.

#pragma once

#include <optional>

#include "governor/core/units.h"

namespace memgov::core {

class Price {
 public:
  // A request brought `returned` > 0 bytes in `took`; its cgroup then had `usage`.
  void Paid(Instant at, Bytes returned, Duration took, Bytes usage);
  // A reading of its cgroup: how much has grown back when the time has come to look.
  void Observe(Instant at, Bytes usage);
  // What it reported.
  void Report(Instant at, Bytes live, Bytes retained);

  bool AtRest(Instant now) const;
  // 1 for a client that nothing is known of; between 1/8 and 16.
  double PerByte(Instant now) const;

 private:
  struct Given {
    Instant at;
    Bytes returned = 0;
    Bytes usage = 0;
  };

  std::optional<double> seconds_per_gib_;
  double regrown_ = 0;  // share of what was given
  std::optional<Given> given_;
  std::optional<Instant> at_rest_since_;
  Bytes live_ = 0;
  Bytes retained_ = 0;
};

}  // namespace memgov::core
