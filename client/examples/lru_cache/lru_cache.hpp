// An example to copy: a cache of the least recently used kind that gives memory up when the governor asks.
//
//   LruCache<std::string, Image> cache("images", 256 << 20);   // bytes; attaches its pressure hook
//   cache.Put(key, image, image.size());
//   if (std::optional<Image> found = cache.Get(key)) ...
//
// Three things make the hook a good one. It holds the lock for a few entries at a time, and frees what it
// took out after letting go, so that a request never waits for a shed. It stops when its time is up. And the
// cache does not fill up again as fast as its users miss what is gone: its limit is what was left, and grows
// back to the capacity within a minute.

#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "client/cpp/memgov.hpp"

namespace memgov::examples {

// Thread-safe. Keys and values are copied out; make a large Value a std::shared_ptr.
template <typename Key, typename Value>
class LruCache {
 public:
  using Clock = std::chrono::steady_clock;
  using Now = Clock::time_point (*)();

  // Holds at most `capacity` bytes. `priority` is the hook's: lower ones are asked first. Tests have a `now`
  // of their own.
  LruCache(const std::string& name, std::uint64_t capacity, int priority = 0, Now now = &Clock::now)
      : now_(now),
        capacity_(capacity),
        left_(capacity),
        hook_(
            name, [this](const Pressure& pressure) { return Shed(pressure.bytes, pressure.until_ns); },
            priority) {}

  // The value, which is now the one used last. Nothing when it is not here (any more).
  std::optional<Value> Get(const Key& key) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = places_.find(key);
    if (found == places_.end()) return std::nullopt;
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->value;
  }

  // Puts a value in, or in the old one's place. `bytes` is what the value holds; the entry's own part is
  // added. A value beyond the limit is not kept.
  void Put(const Key& key, Value value, std::uint64_t bytes) {
    Entries gone;  // freed after the lock
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const auto found = places_.find(key); found != places_.end()) TakeOut(found->second, &gone);
    bytes += kEntryBytes;
    const std::uint64_t limit = LimitNow();
    if (bytes > limit) return;
    entries_.push_front({key, std::move(value), bytes});
    places_[key] = entries_.begin();
    bytes_ += bytes;
    while (bytes_ > limit) TakeOut(std::prev(entries_.end()), &gone);
  }

  // Frees the entries used longest ago until `bytes` are free or the clock (CLOCK_MONOTONIC) passes
  // `until_ns`; 0: no such time. Returns the bytes.
  std::uint64_t Shed(std::uint64_t bytes, std::uint64_t until_ns = 0) {
    std::uint64_t given = 0;
    while (given < bytes) {
      Entries gone;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (int i = 0; i < kAtOnce && given < bytes && !entries_.empty(); ++i) {
          given += entries_.back().bytes;
          TakeOut(std::prev(entries_.end()), &gone);
        }
        left_ = bytes_;
        shed_at_ = now_();
      }
      if (gone.empty()) break;
      const auto now_ns = std::chrono::nanoseconds(now_().time_since_epoch()).count();
      if (until_ns != 0 && static_cast<std::uint64_t>(now_ns) >= until_ns) break;
    }
    return given;
  }

  std::uint64_t bytes() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return bytes_;
  }
  // What it may hold now; the capacity, unless it was shed.
  std::uint64_t limit() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return LimitNow();
  }
  // Whether the governor can ask it.
  const PressureHook& hook() const { return hook_; }

 private:
  struct Entry {
    Key key;
    Value value;
    std::uint64_t bytes;
  };
  using Entries = std::list<Entry>;

  // The entry, its key twice, and the nodes of list and table.
  static constexpr std::uint64_t kEntryBytes = sizeof(Entry) + sizeof(Key) + 8 * sizeof(void*);
  static constexpr int kAtOnce = 32;

  static constexpr std::chrono::duration<double> kGrowsBackIn = std::chrono::minutes(1);

  // The lock is held in both.
  std::uint64_t LimitNow() const {
    if (left_ == capacity_) return capacity_;
    const double share = (now_() - shed_at_) / kGrowsBackIn;
    if (share >= 1) return capacity_;
    return std::min(capacity_, left_ + static_cast<std::uint64_t>(share * static_cast<double>(capacity_)));
  }

  void TakeOut(typename Entries::iterator entry, Entries* gone) {
    bytes_ -= entry->bytes;
    places_.erase(entry->key);
    gone->splice(gone->end(), entries_, entry);
  }

  const Now now_;
  const std::uint64_t capacity_;
  mutable std::mutex mutex_;  // guards what follows, up to the hook
  std::uint64_t left_;        // after the last shedding; the capacity, if there was none
  Clock::time_point shed_at_;
  std::uint64_t bytes_ = 0;
  Entries entries_;  // used last first
  std::unordered_map<Key, typename Entries::iterator> places_;

  PressureHook hook_;  // the last member: gone before what it uses
};

}  // namespace memgov::examples
