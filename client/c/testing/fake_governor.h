// A real gRPC server in the test's own process that plays the governor: welcomes, records what clients say,
// sends the directives that a test wants. What a real one never does (garbage, silence, half a message) is in
// rude_peer.h.

#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "memgov/v1/session.grpc.pb.h"

namespace memgov::testing {

// Long, because it is only waited out when a test fails.
inline constexpr std::chrono::seconds kPatience(30);

// A directory for sockets that goes away with the object.
class SocketDirectory {
 public:
  SocketDirectory();
  ~SocketDirectory();
  std::string path(const std::string& name = "governor.sock") const { return directory_ + "/" + name; }

 private:
  std::string directory_;
};

// Thread-safe.
class FakeGovernor final : public v1::Session::Service {
 public:
  struct Manners {
    bool enforcing = true;
    std::uint32_t report_every_ms = 1000;
    grpc::Status refuse = grpc::Status::OK;  // not OK: ends each session with it, without a Welcome
    std::string cgroup = "/test";
  };

  explicit FakeGovernor(const std::string& socket) : FakeGovernor(socket, Manners{}) {}
  FakeGovernor(const std::string& socket, Manners manners);
  ~FakeGovernor() override;

  // Shuts down as a governor does: GOAWAY, and the calls get `grace` to end. Returns how long it took.
  std::chrono::milliseconds Stop(std::chrono::seconds grace = kPatience);

  // Everything that was said so far, over all sessions.
  struct Heard {
    std::vector<v1::Hello> hellos;
    std::vector<v1::Report> reports;
    std::vector<v1::Outcome> outcomes;
    int sessions = 0;  // open now
  };

  // Waits until `enough` holds of what was heard; false when patience ends.
  bool WaitFor(const std::function<bool(const Heard&)>& enough);
  Heard heard();

  // Sends to the newest session. A directive without an id, deadline or TTL gets good ones. Returns its id, 0
  // when there is no session.
  std::uint64_t Send(v1::Directive directive);
  bool Send(const v1::GovernorMessage& message);

  // Sends and waits for the outcome with its id; an empty one when patience ends.
  v1::Outcome Ask(v1::Directive directive);

 private:
  using Stream = grpc::ServerReaderWriter<v1::GovernorMessage, v1::ClientMessage>;
  grpc::Status Attach(grpc::ServerContext* context, Stream* stream) override;

  const Manners manners_;
  std::unique_ptr<grpc::Server> server_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  Heard heard_;
  std::vector<Stream*> streams_;  // open, newest last
  std::uint64_t next_id_ = 1;
};

// Directives, ready to send.
v1::Directive Release(std::uint64_t bytes, std::uint32_t longest_stall_ms = 0);
v1::Directive SetMode(v1::ReleaseMode mode, std::uint32_t ttl_ms);
v1::Directive Collect();

}  // namespace memgov::testing
