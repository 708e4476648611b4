// What did not work for a cgroup is tried again: after 1 s, 2 s, 4 s, ... 60 s, until it works or nobody
// wants it any more. Descriptors run out and come back, a mount is made writable; a wire that stays down is
// not seen by anybody.

#pragma once

#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <functional>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "governor/core/snapshot.h"
#include "governor/core/units.h"

namespace memgov::kernel {

struct RetryPace {
  core::Duration first = std::chrono::seconds(1);
  core::Duration longest = std::chrono::seconds(60);
};

// Runs on the control thread. `io` outlives it.
class Retries {
 public:
  // `again` is called from io.run() and says Failed or Settled, at once or later. `on_failing` is called with
  // true when the first has failed, and with false when none is failing any more; from within Failed and
  // Settled.
  Retries(boost::asio::io_context& io, RetryPace pace, std::function<void(core::CgroupId)> again,
          std::function<void(bool)> on_failing);
  ~Retries();
  Retries(const Retries&) = delete;
  Retries& operator=(const Retries&) = delete;

  // It did not work; the next try comes after twice as long as the last did.
  void Failed(core::CgroupId id);
  // It works, or is not wanted. Unknown ids are ignored.
  void Settled(core::CgroupId id);

  std::size_t size() const { return failing_.size(); }

 private:
  struct Entry;

  boost::asio::io_context& io_;
  const RetryPace pace_;
  const std::function<void(core::CgroupId)> again_;
  const std::function<void(bool)> on_failing_;
  absl::flat_hash_map<core::CgroupId, std::shared_ptr<Entry>> failing_;
};

}  // namespace memgov::kernel
