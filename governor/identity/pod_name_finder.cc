#include "governor/identity/pod_name_finder.h"

#include <atomic>
#include <chrono>
#include <utility>

// Boost 1.74 uses std::exchange without including <utility>; hence it comes first.
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

namespace memgov::identity {

struct PodNameFinder::Request {
  Request(boost::asio::io_context& io, Done to) : done(std::move(to)), patience(io) {}

  Done done;  // the control thread's; empty once it has been called
  boost::asio::steady_timer patience;
  std::atomic<bool> overdue{false};  // the worker need not look any more
};

// Shared with handlers that outlive us.
struct PodNameFinder::State {
  std::size_t queued = 0;
  bool ended = false;
};

PodNameFinder::PodNameFinder(boost::asio::io_context& io, Look look, Options options)
    : io_(io),
      look_(std::make_shared<const Look>(std::move(look))),
      options_(options),
      state_(std::make_shared<State>()) {}

PodNameFinder::~PodNameFinder() {
  state_->ended = true;
  worker_.stop();
  worker_.join();
}

void PodNameFinder::Find(const ContainerName& name, Done done) {
  auto request = std::make_shared<Request>(io_, std::move(done));
  if (state_->queued >= options_.most_queued) {
    boost::asio::post(io_, [state = state_, request] { Answer(*state, *request, {}); });
    return;
  }
  ++state_->queued;
  request->patience.expires_after(
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(options_.patience));
  request->patience.async_wait([state = state_, request](const boost::system::error_code& cancelled) {
    if (cancelled) return;
    request->overdue = true;
    Answer(*state, *request, {});
  });
  boost::asio::post(worker_, [&io = io_, state = state_, look = look_, request, name]() mutable {
    PodName found = request->overdue ? PodName{} : (*look)(name);
    boost::asio::post(io, [state = std::move(state), request = std::move(request), found = std::move(found)] {
      --state->queued;
      Answer(*state, *request, found);
    });
  });
}

void PodNameFinder::Answer(const State& state, Request& request, PodName name) {
  const Done done = std::exchange(request.done, nullptr);
  request.patience.cancel();
  if (done && !state.ended) done(std::move(name));
}

PodNameFinder::Look LookInFiles(PodNamesOptions options) {
  return [names = std::make_shared<PodNames>(std::move(options))](const ContainerName& name) {
    return names->Find(name, core::Instant(std::chrono::steady_clock::now().time_since_epoch()));
  };
}

}  // namespace memgov::identity
