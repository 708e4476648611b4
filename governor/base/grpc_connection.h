// The server's side of one HTTP/2 connection that carries gRPC, on nghttp2: a few calls at a time, and an
// answer for every one that is not accepted. Knows bytes and messages; no socket, clock or thread. The
// counterpart of the C client's grpc_stream.
//
// What gRPC adds to HTTP/2: a POST to /package.Service/Method; each message is preceded by a byte
// (compressed?) and its length in 4 bytes, big endian; the call ends with trailers that hold grpc-status and
// grpc-message.
//
// Bytes go through a FrameGuard first; this class relies on it for what HTTP/2 alone does not bound.

#pragma once

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace memgov::base {

// Names a call within its connection; never used again there.
using CallId = std::int32_t;

// What happens to the calls of a connection. Called within Receive and ToSend of the connection.
class CallHandler {
 public:
  virtual ~CallHandler() = default;
  // A call of the method `path` begins: "/package.Service/Method", cut to 100 bytes. Not OK: it is answered
  // with that, and nothing more is heard of it.
  virtual absl::Status OnCall(CallId call, absl::string_view path) = 0;
  virtual void OnMessage(CallId call, absl::string_view bytes) = 0;  // a whole one, without its prefix
  virtual void OnBadMessage(CallId call, absl::Status why) = 0;  // too long or compressed; no other will come
  virtual void OnHalfClosed(CallId call, bool in_message) = 0;   // the client has nothing more to say
  virtual void OnCallOver(CallId call) = 0;  // ended by either side; once for each OnCall that was OK
};

class GrpcConnection {
 public:
  // The longest message of a client, without prefix. A Hello with three names of 256 bytes has about 800.
  static constexpr std::size_t kMaxMessage = 4096;

  // `handler` outlives the connection.
  explicit GrpcConnection(CallHandler* handler);
  ~GrpcConnection();
  GrpcConnection(const GrpcConnection&) = delete;
  GrpcConnection& operator=(const GrpcConnection&) = delete;

  // Takes bytes of the peer. Not OK: the connection is broken, with what it broke; send what is left and
  // close.
  absl::Status Receive(absl::string_view bytes);

  // Queues a message to the peer of the call. It is over, or finished: dropped.
  void Write(CallId call, absl::string_view message);

  // RESOURCE_EXHAUSTED: the peer makes us answer and does not read. To be asked when all that the socket
  // takes has been sent.
  absl::Status Answers() const;

  // Messages that nghttp2 has not taken yet because the peer or the socket does not take them.
  std::size_t waiting_messages(CallId call) const;

  // Ends the call with this status, after what has been written. OnCallOver comes when it is sent.
  void Finish(CallId call, const absl::Status& status);

  // Tells the peer that the connection ends: GOAWAY with `why` as its text. No new call is accepted.
  void GoAway(nghttp2_error_code code, absl::string_view why);

  // The next bytes to send, empty if there are none; valid until the next call of ToSend. All of it counts as
  // sent.
  absl::string_view ToSend();

  // Nothing more is to be sent or received: close it. fault(): what the peer did wrong, if that is why.
  bool over() const;
  const absl::Status& fault() const { return fault_; }

 private:
  friend struct Nghttp2Callbacks;  // the C functions that nghttp2 calls, in the .cc file

  // The request whose headers are being read.
  struct Request {
    std::int32_t stream = 0;
    std::size_t size = 0;  // of all names and values
    bool post = false;
    bool grpc = false;  // content-type
    std::string path;   // its beginning
  };

  // One that was accepted and is not over.
  struct Call {
    bool answered = false;  // its response headers have been submitted
    bool deaf = false;      // what the client sends is ignored from now on
    std::string inbox;      // the message that is being received, with its prefix
    std::size_t message_size = 0;
    std::string outbox;  // messages with their prefixes
    std::size_t waiting_messages = 0;
    bool finishing = false;  // trailers follow the outbox
    absl::Status status;
  };

  absl::Status NotHttp2(absl::string_view otherwise) const;
  void OnHeader(absl::string_view name, absl::string_view value);
  void OnRequest();
  void OnData(CallId id, Call& call, absl::string_view bytes);
  bool TakePrefix(CallId id, Call& call);
  void AnswerOther(std::int32_t stream, const absl::Status& status);
  void AnswerNoGrpc();
  std::size_t ReadOutbox(CallId id, Call& call, std::uint8_t* to, std::size_t size, std::uint32_t* flags);

  CallHandler* const handler_;
  nghttp2_session* session_ = nullptr;
  Request request_;

  std::map<CallId, Call> calls_;
  std::string broken_;  // nghttp2's last word on what the peer did wrong
  absl::Status fault_;
};

// A gRPC status in the trailers' words: percent-encoded UTF-8, cut to 512 bytes.
std::string PercentEncoded(absl::string_view text);

}  // namespace memgov::base
