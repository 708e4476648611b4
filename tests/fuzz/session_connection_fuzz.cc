// A whole connection of a peer, as the session room serves it (base/grpc_socket.h): the guard first, then
// HTTP/2 and gRPC. The handler answers as the server does. Whatever comes: calls begin and end in turn,
// messages stay short, and what is held for the peer is bounded.

#include <chrono>
#include <string>

#include "governor/base/frame_guard.h"
#include "governor/base/grpc_connection.h"
#include "tests/fuzz/fuzz.h"

namespace {

using memgov::base::CallId;
using memgov::base::GrpcConnection;
using memgov::fuzz::Require;

class Server : public memgov::base::CallHandler {
 public:
  absl::Status OnCall(CallId call, absl::string_view path) override {
    Require(path.size() <= 100, "a short path");
    if (call_ != 0) return absl::ResourceExhaustedError("one call at a time");
    call_ = call;
    messages_ = 0;
    return absl::OkStatus();
  }
  void OnMessage(CallId call, absl::string_view bytes) override {
    Require(call == call_ && bytes.size() <= GrpcConnection::kMaxMessage, "a short message of a call");
    if (++messages_ == 1) {
      connection.Write(call, std::string(200, 'w'));
    } else if (bytes.empty()) {
      connection.Finish(call, absl::InvalidArgumentError("body: empty"));
    }
  }
  void OnBadMessage(CallId call, absl::Status why) override { connection.Finish(call, why); }
  void OnHalfClosed(CallId call, bool) override { connection.Finish(call, absl::OkStatus()); }
  void OnCallOver(CallId call) override {
    Require(call != 0 && call == call_, "a call is over once");
    call_ = 0;
  }

  GrpcConnection connection{this};

 private:
  CallId call_ = 0;
  int messages_ = 0;
};

void SendAll(Server* server) {
  while (!server->connection.ToSend().empty()) continue;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const memgov::core::Instant now{std::chrono::seconds(1000)};
  memgov::fuzz::Pieces pieces(memgov::fuzz::Text(data, size));
  const std::size_t most = 1 + 16 * pieces.Number();
  memgov::base::FrameGuard guard;
  Server server;
  SendAll(&server);
  while (!pieces.empty()) {
    const std::string_view piece = pieces.Take(most);
    const absl::string_view bytes(piece.data(), piece.size());
    absl::Status status = guard.Take(bytes, now);
    if (status.ok()) {
      status = server.connection.Receive(bytes);
    } else {
      server.connection.GoAway(NGHTTP2_ENHANCE_YOUR_CALM, status.message());
    }
    SendAll(&server);
    if (!status.ok()) break;
  }
  return 0;
}
