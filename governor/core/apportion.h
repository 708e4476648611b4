// Who gives how much towards one deficit? The cheapest rung of the ladder first, and on a rung the largest
// first, because each request costs its client something; a client with twice the protect weight, or whose
// bytes cost twice as much, counts as half as large. Nobody is asked for more than expected of it. Those who
// cannot tell what they hold are a hope: asked after the others, a few at a time, and after them those that
// told last when they collected. The caches of applications come last, one client at a time.

#pragma once

#include <vector>

#include "governor/core/client_event.h"
#include "governor/core/units.h"

namespace memgov::core {

// What a client's own words about a rung are worth, in the order of asking.
enum class Promise {
  kEstimate,  // holds `expected` bytes
  kUnknown,   // holds free memory, but cannot tell how much
  kOutdated,  // held next to nothing when it collected last; what has died since nobody knows
  kCaches,    // would have to give up something that it uses
};

struct Candidate {
  ClientId client{};
  Promise promise = Promise::kEstimate;
  int rung = 0;               // position of its action on the ladder
  Bytes expected = 0;         // kEstimate: reported retained memory x learned yield
  Bytes size = 0;             // otherwise: what it has at most, for the order and as a bound
  double protect_weight = 1;  // > 0
  double price = 1;           // of a byte (price.h); > 0
  bool in_chunks = false;     // can stop at a byte target
};

struct Share {
  ClientId client{};
  Bytes bytes = 0;
  friend bool operator==(const Share&, const Share&) = default;
};

// So many hopes may be in flight towards one deficit: each may stall its process for nothing.
inline constexpr int kMostHopes = 4;

// Less is not worth a request.
inline constexpr Bytes kLeastWorthAsking = kMiB;

// Shares in the order of asking; together at least `deficit`, if those that can estimate have so much.
// `hopes` is how many are in flight already, those whose word was outdated left out. Ties go to the lower
// client id.
std::vector<Share> Apportion(Bytes deficit, std::vector<Candidate> candidates, int hopes);

}  // namespace memgov::core
