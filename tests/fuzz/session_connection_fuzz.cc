// A whole connection of a peer, as the session room serves it: the guard first, then HTTP/2 and gRPC. The
// handler answers as the server does. Whatever comes: calls begin and end in turn, messages stay short, and
// what is held for the peer is bounded.

#include <chrono>
#include <string>

#include "governor/session/frame_guard.h"
#include "governor/session/grpc_connection.h"
#include "tests/fuzz/fuzz.h"

namespace {

using memgov::fuzz::Require;
using memgov::session::GrpcConnection;

class Server : public memgov::session::CallHandler {
 public:
  void OnCall() override {
    Require(!in_call_, "one call at a time");
    in_call_ = true;
    messages_ = 0;
  }
  void OnMessage(absl::string_view bytes) override {
    Require(in_call_ && bytes.size() <= GrpcConnection::kMaxMessage, "a short message of a call");
    if (++messages_ == 1) {
      connection.Write(std::string(200, 'w'));
    } else if (bytes.empty()) {
      connection.Finish(absl::InvalidArgumentError("body: empty"));
    }
  }
  void OnBadMessage(absl::Status why) override { connection.Finish(why); }
  void OnHalfClosed(bool) override { connection.Finish(absl::OkStatus()); }
  void OnCallOver() override {
    Require(in_call_, "a call is over once");
    in_call_ = false;
  }

  GrpcConnection connection{this};

 private:
  bool in_call_ = false;
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
  memgov::session::FrameGuard guard;
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
