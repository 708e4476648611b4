// Who gives how much towards one deficit? Largest first, because each request costs its client something; a
// client with twice the protect weight counts as half as large. Nobody is asked for more than expected of it.

#pragma once

#include <vector>

#include "governor/core/client_event.h"
#include "governor/core/units.h"

namespace memgov::core {

struct Candidate {
  ClientId client{};
  Bytes expected = 0;            // reported retained memory x learned yield
  double protect_weight = 1;     // > 0
  bool in_chunks = false;        // can stop at a byte target
  bool cannot_estimate = false;  // holds an unknown amount; asked last, for what is then still missing
};

struct Share {
  ClientId client{};
  Bytes bytes = 0;
  friend bool operator==(const Share&, const Share&) = default;
};

// Shares in the order of asking; together at least `deficit`, if the candidates have so much. Candidates that
// are expected to hold less than 1 MiB are not worth a request. Ties go to the lower client id.
std::vector<Share> Apportion(Bytes deficit, std::vector<Candidate> candidates);

}  // namespace memgov::core
