#include "governor/kernel/retries.h"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <utility>

namespace memgov::kernel {

// Shared with the handler in flight. `owner` is null once nobody is to hear of it any more.
struct Retries::Entry {
  Entry(boost::asio::io_context& io, Retries* retries) : owner(retries), timer(io) {}

  Retries* owner;
  core::Duration wait{};
  boost::asio::steady_timer timer;
};

Retries::Retries(boost::asio::io_context& io, RetryPace pace, std::function<void(core::CgroupId)> again,
                 std::function<void(bool)> on_failing)
    : io_(io), pace_(pace), again_(std::move(again)), on_failing_(std::move(on_failing)) {}

Retries::~Retries() {
  for (auto& [id, entry] : failing_) {
    entry->owner = nullptr;
    entry->timer.cancel();
  }
}

void Retries::Failed(core::CgroupId id) {
  const bool first = failing_.empty();
  std::shared_ptr<Entry>& entry = failing_[id];
  if (entry == nullptr) entry = std::make_shared<Entry>(io_, this);
  entry->wait = std::clamp(2 * entry->wait, pace_.first, pace_.longest);
  entry->timer.expires_after(entry->wait);
  entry->timer.async_wait([entry, id](const boost::system::error_code& error) {
    if (!error && entry->owner != nullptr) entry->owner->again_(id);
  });
  if (first && on_failing_) on_failing_(true);
}

void Retries::Settled(core::CgroupId id) {
  const auto known = failing_.find(id);
  if (known == failing_.end()) return;
  known->second->owner = nullptr;
  known->second->timer.cancel();
  failing_.erase(known);
  if (failing_.empty() && on_failing_) on_failing_(false);
}

}  // namespace memgov::kernel
