// How many of the connected processes are to be looked at again, and when: whether each is still in the
// cgroup that accept named, and how large it is. A look costs about 15 us; so they are spread over the time
// in which each has its turn, a few at once.
//
// Pure; the caller brings the time. Not thread-safe.

#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "governor/core/units.h"

namespace memgov {

class OwnerLooks {
 public:
  static constexpr core::Duration kEach = std::chrono::seconds(15);  // has its turn within this
  static constexpr std::size_t kAtOnce = 64;
  // Whoever calls Due so often is in time for up to 3,840 owners; for more see Next.
  static constexpr core::Duration kUsual = std::chrono::milliseconds(250);

  // How many of `owners` are to be looked at now.
  std::size_t Due(core::Instant now, std::size_t owners) {
    if (last_ != core::Instant{} && now > last_) {
      const double turns = std::chrono::duration<double>(now - last_) / std::chrono::duration<double>(kEach);
      due_ = std::min(due_ + turns * static_cast<double>(owners), static_cast<double>(kAtOnce));
    }
    last_ = now;
    const auto looks = static_cast<std::size_t>(due_);
    due_ -= static_cast<double>(looks);
    const std::size_t more = std::min(hurried_, kAtOnce - looks);
    hurried_ -= more;
    return std::min(looks + more, owners);
  }

  // All of them soon, because some may have been moved. A tenant can bring that about all the time: it takes
  // a twentieth of a core at most.
  void Hurry(core::Instant now, std::size_t owners) {
    if (now < next_hurry_) return;
    constexpr core::Duration kLook = std::chrono::microseconds(15);
    next_hurry_ = now + std::max<core::Duration>(std::chrono::seconds(1),
                                                 20 * kLook * static_cast<std::int64_t>(owners));
    hurried_ = owners;
  }

  // When to call Due again; Instant::max(): as usual.
  core::Instant Next(std::size_t owners) const {
    if (owners == 0) return core::Instant::max();
    const core::Duration every = kEach * kAtOnce / static_cast<std::int64_t>(owners);
    return every < kUsual ? last_ + every : core::Instant::max();
  }

 private:
  core::Instant last_{};
  double due_ = 0;
  std::size_t hurried_ = 0;
  core::Instant next_hurry_{};
};

}  // namespace memgov
