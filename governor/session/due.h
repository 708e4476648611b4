// When each connection is due: one timer for all of them. The session thread alone.

#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <set>
#include <utility>

#include "governor/core/units.h"

namespace memgov::session {

class Connection;

class DueList {
 public:
  // `on_due` is called once when an entry's time has come; the entry is gone then.
  DueList(boost::asio::io_context& io, std::function<core::Instant()> now,
          std::function<void(Connection*)> on_due)
      : timer_(io), now_(std::move(now)), on_due_(std::move(on_due)) {}

  // Replaces the entry of `connection` at `old_due`; Instant::max(): there is or shall be none.
  void Move(Connection* connection, core::Instant old_due, core::Instant due) {
    if (old_due == due) return;
    if (old_due != core::Instant::max()) entries_.erase({old_due, connection});
    if (due != core::Instant::max()) entries_.emplace(due, connection);
    if (!entries_.empty() && entries_.begin()->first < armed_for_) Arm();
  }

 private:
  void Arm() {
    armed_for_ = entries_.begin()->first;
    timer_.expires_after(armed_for_ - now_());
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;  // armed anew
      armed_for_ = core::Instant::max();
      const core::Instant now = now_();
      while (!entries_.empty() && entries_.begin()->first <= now) {
        Connection* const connection = entries_.begin()->second;
        entries_.erase(entries_.begin());
        on_due_(connection);
      }
      if (!entries_.empty() && entries_.begin()->first < armed_for_) Arm();
    });
  }

  boost::asio::steady_timer timer_;
  const std::function<core::Instant()> now_;
  const std::function<void(Connection*)> on_due_;
  std::set<std::pair<core::Instant, Connection*>> entries_;
  core::Instant armed_for_ = core::Instant::max();
};

}  // namespace memgov::session
