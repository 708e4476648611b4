// What a governor sends to the C client: HTTP/2, gRPC and protobuf from a peer that may be anybody. The bytes
// come in pieces of any size, as from a socket; whatever they are, the client neither reads nor writes where
// it should not.

#include <cstring>

#include "client/c/grpc_stream.h"
#include "client/c/wire.h"
#include "tests/fuzz/fuzz.h"

namespace {

constexpr std::size_t kLongestPiece = 4096;

mg_grpc_stream stream;

void OnMessage(void* /*user*/, const std::uint8_t* message, std::size_t size) {
  mg_governor_message parsed;
  if (mg_wire_parse(message, size, &parsed) != nullptr) return;
  if (parsed.kind == MG_MESSAGE_WELCOME) {
    memgov::fuzz::Require(std::memchr(parsed.welcome.cgroup, 0, sizeof parsed.welcome.cgroup) != nullptr,
                          "text ends");
  } else if (parsed.kind == MG_MESSAGE_DIRECTIVE) {
    memgov::fuzz::Require(std::memchr(parsed.directive.reason, 0, sizeof parsed.directive.reason) != nullptr,
                          "text ends");
    mg_outcome outcome{};
    outcome.id = parsed.directive.id;
    std::uint8_t out[MG_WIRE_MAX];
    mg_grpc_put(&stream, out, mg_wire_outcome(&outcome, out));
  }
}

// As the agent does: what it takes is sent.
void SendAll() {
  const std::uint8_t* bytes = nullptr;
  for (std::ptrdiff_t size = 0; (size = mg_grpc_to_send(&stream, &bytes)) > 0;)
    mg_grpc_sent(&stream, static_cast<std::size_t>(size));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool ready = mg_grpc_setup(&stream, OnMessage, nullptr);
  memgov::fuzz::Require(ready && mg_grpc_open(&stream), "a stream opens");
  SendAll();
  memgov::fuzz::Pieces pieces(memgov::fuzz::Text(data, size));
  // The first byte says how long the pieces are.
  const std::size_t most = 1 + pieces.Number() * kLongestPiece / 255;
  while (!pieces.empty()) {
    const std::string_view piece = pieces.Take(most);
    if (!mg_grpc_receive(&stream, reinterpret_cast<const std::uint8_t*>(piece.data()), piece.size())) {
      memgov::fuzz::Require(std::strlen(stream.error) > 0, "an end has a reason");
      break;
    }
    SendAll();
  }
  mg_grpc_close(&stream);

  mg_governor_message message;
  (void)mg_wire_parse(data, size, &message);
  return 0;
}
