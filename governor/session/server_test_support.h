// A SessionServer with everything that it said written down, and grpc++ clients over socket pairs. For tests.

#pragma once

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "governor/session/server.h"
#include "memgov/v1/session.grpc.pb.h"

namespace memgov::session {

// What the callbacks said, in order.
struct Record {
  std::vector<AttachRequest> attached;
  std::vector<core::ClientReport> reports;
  std::vector<core::ClientOutcome> outcomes;
  std::vector<std::pair<core::ClientId, std::string>> detached;
  std::vector<ConnectionEnd> closed;
};

class Recorder {
 public:
  SessionServer::Callbacks Callbacks() {
    return {.on_attach = [this](AttachRequest r) { Add(&Record::attached, std::move(r)); },
            .on_report = [this](core::ClientReport r) { Add(&Record::reports, r); },
            .on_outcome = [this](core::ClientOutcome o) { Add(&Record::outcomes, std::move(o)); },
            .on_detached = [this](core::ClientId c,
                                  std::string why) { Add(&Record::detached, std::pair(c, std::move(why))); },
            .on_closed = [this](ConnectionEnd end) { Add(&Record::closed, std::move(end)); }};
  }

  // The record once `until` holds; a failure if that takes longer than anything should.
  template <typename Until>
  Record WaitUntil(Until until) {
    std::unique_lock lock(mutex_);
    const bool held = changed_.wait_for(lock, std::chrono::seconds(60), [&] { return until(record_); });
    EXPECT_TRUE(held) << "attached " << record_.attached.size() << ", reports " << record_.reports.size()
                      << ", outcomes " << record_.outcomes.size() << ", detached " << record_.detached.size();
    return record_;
  }

  AttachRequest WaitForAttached(std::size_t count = 1) {
    return WaitUntil([&](const Record& r) { return r.attached.size() >= count; }).attached.at(count - 1);
  }
  std::string WaitForDetached(core::ClientId client) {
    const auto find = [&](const Record& r) -> const std::string* {
      for (const auto& [id, why] : r.detached) {
        if (id == client) return &why;
      }
      return nullptr;
    };
    const Record record = WaitUntil([&](const Record& r) { return find(r) != nullptr; });
    const std::string* why = find(record);
    return why == nullptr ? "never detached" : *why;
  }

 private:
  template <typename T>
  void Add(std::vector<T> Record::*list, T value) {
    const std::lock_guard lock(mutex_);
    (record_.*list).push_back(std::move(value));
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  Record record_;
};

inline core::Instant Now() {
  return core::Instant(
      std::chrono::duration_cast<core::Duration>(std::chrono::steady_clock::now().time_since_epoch()));
}

// The two ends of a connection, and the ticket of the first.
struct Pair {
  int server = -1;
  int client = -1;
  Ticket ticket;
};

inline Pair Connect() {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  Pair pair{.server = ends[0], .client = ends[1], .ticket = {}};
  socklen_t size = sizeof pair.ticket.cookie;
  EXPECT_EQ(::getsockopt(ends[0], SOL_SOCKET, SO_COOKIE, &pair.ticket.cookie, &size), 0);
  pair.ticket.pid = ::getpid();
  pair.ticket.cgroup = "/test/a";
  return pair;
}

// One connection with its Attach stream. Blocking calls give up after a minute.
class Client {
 public:
  Client(SessionServer& server, Pair pair) {
    watched_ = ::dup(pair.client);
    channel_ = grpc::CreateInsecureChannelFromFd("memgov", pair.client);
    stub_ = v1::Session::NewStub(channel_);
    server.Adopt(pair.server, std::move(pair.ticket));
  }
  explicit Client(SessionServer& server) : Client(server, Connect()) {}
  ~Client() {
    End();
    if (watched_ >= 0) ::close(watched_);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Begins a stream; a second one after the first has ended.
  Client& Attach(bool compressed = false) {
    End();
    context_ = std::make_unique<grpc::ClientContext>();
    context_->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    if (compressed) context_->set_compression_algorithm(GRPC_COMPRESS_GZIP);
    stream_ = stub_->Attach(context_.get());
    return *this;
  }
  Client& Hello(const std::string& name = "test") {
    v1::ClientMessage message;
    message.mutable_hello()->set_name(name);
    return Say(message);
  }
  Client& Report(std::uint64_t live_bytes) {
    v1::ClientMessage message;
    message.mutable_report()->set_live_bytes(live_bytes);
    return Say(message);
  }
  Client& Outcome(std::uint64_t id) {
    v1::ClientMessage message;
    message.mutable_outcome()->set_id(id);
    message.mutable_outcome()->set_status(v1::Outcome::STATUS_DONE);
    return Say(message);
  }
  // A message that does not get through shows in Status.
  Client& Say(const v1::ClientMessage& message) {
    stream_->Write(message);
    return *this;
  }
  void WritesDone() { stream_->WritesDone(); }

  std::optional<v1::GovernorMessage> Read() {
    v1::GovernorMessage message;
    if (!stream_->Read(&message)) return std::nullopt;
    return message;
  }
  // How the stream ended, once it has.
  grpc::Status Status() {
    while (Read()) {
    }
    grpc::Status status = stream_->Finish();
    stream_.reset();
    return status;
  }

  // What the kernel does to the connection of a killed process.
  void Die() { ::shutdown(watched_, SHUT_RDWR); }

  v1::Session::Stub& stub() { return *stub_; }

 private:
  void End() {
    if (stream_ == nullptr) return;
    context_->TryCancel();
    Status();
  }

  int watched_ = -1;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Session::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ClientMessage, v1::GovernorMessage>> stream_;
};

class ServerTest : public testing::Test {
 protected:
  void StartServer(SessionServer::Options options = {}) {
    options.version = "memgovd test";
    options.now = Now;
    auto started = SessionServer::Start(std::move(options), recorder_.Callbacks());
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }

  // Says Hello, is welcomed, and has read that.
  core::ClientId AttachAndWelcome(Client& client) {
    const std::size_t before = recorder_.WaitUntil([](const Record&) { return true; }).attached.size();
    client.Attach().Hello();
    const core::ClientId id = recorder_.WaitForAttached(before + 1).client;
    server_->Welcome(id, {.cgroup = "/test/a", .container = "a", .enforcing = true});
    const auto message = client.Read();
    EXPECT_TRUE(message && message->has_welcome());
    return id;
  }

  static core::Directive Directive(core::ClientId client, std::uint64_t id) {
    core::Directive directive;
    directive.id = core::DirectiveId{id};
    directive.client = client;
    directive.deadline = std::chrono::seconds(2);
    directive.action = core::Release{.bytes = 4096, .longest_stall = {}};
    return directive;
  }

  Recorder recorder_;
  std::unique_ptr<SessionServer> server_;  // stops before the recorder goes
};

}  // namespace memgov::session
