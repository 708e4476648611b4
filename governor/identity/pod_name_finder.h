// The names of pods, looked for on a thread of its own: they lie in files, and a disk may take its time or
// never answer, while the loop has memory to watch.
//
// Names are decoration, so nobody waits for them long: what is not found within `patience` is answered
// without a name, and what is asked for while too many wait is answered so at once.

#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstddef>
#include <functional>
#include <memory>

#include "governor/core/units.h"
#include "governor/identity/container_name.h"
#include "governor/identity/pod_names.h"

namespace memgov::identity {

// All calls and the destructor on the thread that runs the io_context, which outlives it.
class PodNameFinder {
 public:
  // Called on the worker, one call at a time; may block.
  using Look = std::function<PodName(const ContainerName&)>;
  using Done = std::function<void(PodName)>;

  struct Options {
    core::Duration patience = std::chrono::milliseconds(250);
    std::size_t most_queued = 256;  // with the one that the worker is at
  };

  PodNameFinder(boost::asio::io_context& io, Look look, Options options);
  // Waits for the look that is under way, if any; whoever is not answered yet never is.
  ~PodNameFinder();
  PodNameFinder(const PodNameFinder&) = delete;
  PodNameFinder& operator=(const PodNameFinder&) = delete;

  // `done` is called once, from io.run() and never from within Find, with what is known by then.
  void Find(const ContainerName& name, Done done);

 private:
  struct Request;
  struct State;

  static void Answer(const State& state, Request& request, PodName name);

  boost::asio::io_context& io_;
  const std::shared_ptr<const Look> look_;
  const Options options_;
  const std::shared_ptr<State> state_;
  boost::asio::thread_pool worker_{1};
};

// Looks in the files of this node (pod_names.h).
PodNameFinder::Look LookInFiles(PodNamesOptions options = {});

}  // namespace memgov::identity
