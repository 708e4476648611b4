// The two ends of a connection in one process, without sockets: our server and nghttp2's client.

#include "governor/base/grpc_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace memgov::base {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kMethod[] = "/test.Service/Method";

class Calls : public CallHandler {
 public:
  absl::Status OnCall(CallId call, absl::string_view path) override {
    if (path != kMethod) return absl::UnimplementedError(absl::StrCat("no method ", path));
    said.emplace_back("call");
    last = call;
    return absl::OkStatus();
  }
  void OnMessage(CallId call, absl::string_view bytes) override {
    said.push_back(absl::StrCat("message ", bytes));
    last = call;
  }
  void OnBadMessage(CallId, absl::Status why) override {
    said.push_back(absl::StrCat("bad: ", why.message()));
  }
  void OnHalfClosed(CallId, bool in_message) override {
    said.emplace_back(in_message ? "half-closed within a message" : "half-closed");
  }
  void OnCallOver(CallId) override { said.emplace_back("over"); }

  std::vector<std::string> said;
  CallId last = 0;  // that was heard of
};

std::string Framed(absl::string_view message) {
  std::string framed(5, '\0');
  framed[3] = static_cast<char>(message.size() >> 8);
  framed[4] = static_cast<char>(message.size());
  return framed.append(message.data(), message.size());
}

class Peer {
 public:
  struct Stream {
    std::map<std::string, std::string> headers;
    std::string data;
    bool closed = false;
  };

  Peer() {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t n,
                      const std::uint8_t* value, std::size_t v, std::uint8_t, void* user) {
          Of(user).streams[frame->hd.stream_id].headers[Text(name, n)] = Text(value, v);
          return 0;
        });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        callbacks, [](nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                      std::size_t size, void* user) {
          Of(user).streams[id].data += Text(bytes, size);
          return 0;
        });
    nghttp2_session_callbacks_set_on_stream_close_callback(
        callbacks, [](nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
          Of(user).streams[id].closed = true;
          return 0;
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
          if (frame->hd.type == NGHTTP2_GOAWAY) {
            Of(user).goaway = Text(frame->goaway.opaque_data, frame->goaway.opaque_data_len);
          }
          return 0;
        });
    nghttp2_session_client_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session_, 0, nullptr, 0);
  }
  ~Peer() { nghttp2_session_del(session_); }

  std::int32_t Call(std::string path = kMethod, std::string type = "application/grpc") {
    const auto header = [](const char* name, const std::string& value) {
      return nghttp2_nv{reinterpret_cast<std::uint8_t*>(const_cast<char*>(name)),
                        reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), std::strlen(name),
                        value.size(), 0};
    };
    const std::string post = "POST", http = "http", authority = "x";
    const nghttp2_nv headers[] = {header(":method", post), header(":scheme", http), header(":path", path),
                                  header(":authority", authority), header("content-type", type)};
    nghttp2_data_provider provider{};
    provider.read_callback = [](nghttp2_session*, std::int32_t id, std::uint8_t* to, std::size_t size,
                                std::uint32_t* flags, nghttp2_data_source*, void* user) -> ssize_t {
      std::string& out = Of(user).out[id];
      const std::size_t taken = std::min(size, out.size());
      std::copy_n(out.begin(), taken, to);
      out.erase(0, taken);
      if (out.empty() && Of(user).ends) *flags |= NGHTTP2_DATA_FLAG_EOF;
      if (taken == 0 && *flags == 0) return NGHTTP2_ERR_DEFERRED;
      return static_cast<ssize_t>(taken);
    };
    return nghttp2_submit_request(session_, nullptr, headers, 5, &provider, nullptr);
  }

  void Reset(std::int32_t stream) { nghttp2_submit_rst_stream(session_, 0, stream, NGHTTP2_CANCEL); }

  void Say(std::int32_t stream, const std::string& bytes) {
    out[stream] += bytes;
    nghttp2_session_resume_data(session_, stream);
  }

  // Carries what this side says. The server's last status.
  absl::Status Speak(GrpcConnection& server, bool* some = nullptr) {
    absl::Status status;
    const std::uint8_t* bytes = nullptr;
    for (ssize_t n; (n = nghttp2_session_mem_send(session_, &bytes)) > 0;) {
      status = server.Receive(Text(bytes, static_cast<std::size_t>(n)));
      if (some != nullptr) *some = true;
    }
    return status;
  }

  // Carries bytes both ways until nobody has any. The server's last status.
  absl::Status Talk(GrpcConnection& server) {
    absl::Status status;
    for (bool some = true; some;) {
      some = false;
      if (absl::Status said = Speak(server, &some); some) status = said;
      for (absl::string_view sent; !(sent = server.ToSend()).empty(); some = true) {
        nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(sent.data()), sent.size());
      }
    }
    return status;
  }

  std::map<std::int32_t, Stream> streams;
  std::map<std::int32_t, std::string> out;
  std::string goaway;
  bool ends = false;

 private:
  static Peer& Of(void* user) { return *static_cast<Peer*>(user); }
  static std::string Text(const std::uint8_t* bytes, std::size_t size) {
    return {reinterpret_cast<const char*>(bytes), size};
  }
  nghttp2_session* session_ = nullptr;
};

class GrpcConnectionTest : public testing::Test {
 protected:
  Calls calls_;
  GrpcConnection server_{&calls_};
  Peer peer_;
};

TEST_F(GrpcConnectionTest, MessagesGoBothWaysAndTrailersEndTheCall) {
  const std::int32_t stream = peer_.Call();
  peer_.Say(stream, Framed("one") + Framed("") + Framed("two").substr(0, 6));
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  peer_.Say(stream, Framed("two").substr(6));
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  EXPECT_THAT(calls_.said, ElementsAre("call", "message one", "message ", "message two"));

  server_.Write(calls_.last, "hello");
  server_.Write(calls_.last, "world");
  EXPECT_EQ(server_.waiting_messages(calls_.last), 2u);
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  EXPECT_EQ(server_.waiting_messages(calls_.last), 0u);
  EXPECT_EQ(peer_.streams[stream].data, Framed("hello") + Framed("world"));
  EXPECT_EQ(peer_.streams[stream].headers[":status"], "200");

  server_.Write(calls_.last, "last");
  server_.Finish(calls_.last, absl::AbortedError("50% done\n"));
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  EXPECT_THAT(peer_.streams[stream].data, HasSubstr("last"));
  EXPECT_EQ(peer_.streams[stream].headers["grpc-status"], "10");
  EXPECT_EQ(peer_.streams[stream].headers["grpc-message"], "50%25 done%0A");
  EXPECT_TRUE(peer_.streams[stream].closed) << "also where the peer has not ended its side";
  EXPECT_EQ(calls_.said.back(), "over");
}

TEST_F(GrpcConnectionTest, ACallMayEndBeforeAnyMessageAndAnotherFollow) {
  const std::int32_t first = peer_.Call();
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  server_.Finish(calls_.last, absl::UnauthenticatedError("who are you?"));
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  EXPECT_EQ(peer_.streams[first].headers["grpc-status"], "16");
  EXPECT_TRUE(peer_.streams[first].closed);
  const std::int32_t second = peer_.Call();
  peer_.Say(second, Framed("again"));
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  EXPECT_THAT(calls_.said, ElementsAre("call", "over", "call", "message again"));
}

TEST_F(GrpcConnectionTest, TheEndOfTheClientsSideIsTold) {
  peer_.ends = true;
  peer_.Call();
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  EXPECT_THAT(calls_.said, ElementsAre("call", "half-closed"));
  server_.Finish(calls_.last, absl::OkStatus());
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  EXPECT_EQ(calls_.said.back(), "over");
}

TEST_F(GrpcConnectionTest, CallsThatAreNotAcceptedAreAnswered) {
  const std::int32_t call = peer_.Call();
  const std::int32_t reflection = peer_.Call("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
  const std::int32_t web = peer_.Call(kMethod, "text/html");
  peer_.Say(reflection, Framed("what is there?"));
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  EXPECT_FALSE(peer_.streams[call].closed);
  EXPECT_EQ(peer_.streams[reflection].headers["grpc-status"], "12");
  EXPECT_THAT(peer_.streams[reflection].headers["grpc-message"], HasSubstr("no method /grpc.reflection.v1"));
  EXPECT_EQ(peer_.streams[web].headers[":status"], "415");
  EXPECT_TRUE(peer_.streams[web].closed);
  EXPECT_THAT(calls_.said, ElementsAre("call"));
}

TEST_F(GrpcConnectionTest, CallsAtTheSameTimeDoNotMix) {
  const std::int32_t first = peer_.Call();
  const std::int32_t second = peer_.Call();
  peer_.Say(first, Framed("one").substr(0, 6));
  peer_.Say(second, Framed("two"));
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  EXPECT_THAT(calls_.said, ElementsAre("call", "call", "message two"));
  server_.Write(first, "to the first");
  server_.Write(second, "to the second");
  server_.Finish(second, absl::OkStatus());
  peer_.Say(first, Framed("one").substr(6));
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  EXPECT_THAT(calls_.said, ElementsAre("call", "call", "message two", "message one", "over"));
  EXPECT_EQ(peer_.streams[first].data, Framed("to the first"));
  EXPECT_FALSE(peer_.streams[first].closed);
  EXPECT_EQ(peer_.streams[second].data, Framed("to the second"));
  EXPECT_EQ(peer_.streams[second].headers["grpc-status"], "0");
}

TEST_F(GrpcConnectionTest, MessagesThatAreTooLongOrCompressedAreTheLast) {
  const std::int32_t stream = peer_.Call();
  peer_.Say(stream, std::string("\0\0\0\x10\x01", 5) + std::string(5000, 'x') + Framed("after"));
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  EXPECT_THAT(calls_.said, ElementsAre("call", "bad: a message of 4097 bytes; at most 4096 are allowed"));

  Calls calls;
  GrpcConnection server(&calls);
  Peer peer;
  peer.Say(peer.Call(), std::string("\1\0\0\0\1x", 6) + Framed("after"));
  EXPECT_EQ(peer.Talk(server), absl::OkStatus());
  EXPECT_THAT(calls.said, ElementsAre("call", HasSubstr("a compressed message")));
}

// Whatever nghttp2 says to it, the connection is over when that has been sent.
TEST_F(GrpcConnectionTest, WhatIsNotHttp2EndsTheConnectionByItself) {
  const std::string magic = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  const std::string settings("\0\0\0\4\0\0\0\0\0", 9);
  for (const std::string& bytes :
       {magic + settings + std::string("\0\0\1\0\0\0\0\0\0x", 10),     // DATA on stream 0
        magic + settings + std::string("\0\0\1\1\5\0\0\0\1\x80", 10),  // HPACK index 0
        magic + settings +
            std::string("\0\0\7\1\4\0\0\0\1\x00\x7f\x80\x80\x80\x80\x80", 16),  // endless varint
        magic + std::string("\0\0\5\4\0\0\0\0\0xxxxx", 14)}) {
    Calls calls;
    GrpcConnection server(&calls);
    absl::Status status = server.Receive(bytes);
    while (!server.ToSend().empty()) {
    }
    if (status.ok()) {
      EXPECT_TRUE(server.over()) << bytes.size();
      status = server.fault();
    }
    EXPECT_THAT(std::string(status.message()), HasSubstr("not valid HTTP/2")) << bytes.size();
  }
}

TEST_F(GrpcConnectionTest, WhatAPeerWroteIsQuotedWithoutControlCharacters) {
  const auto literal = [](const std::string& name, const std::string& value) {
    return std::string(1, '\0') + static_cast<char>(name.size()) + name + static_cast<char>(value.size()) +
           value;
  };
  const std::string block = literal("x", "a\n\x1b[31mFAKE");
  const std::string frame =
      std::string("\0\0", 2) + static_cast<char>(block.size()) + std::string("\1\5\0\0\0\1", 6) + block;
  server_
      .Receive("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string("\0\0\0\4\0\0\0\0\0", 9) + frame +
               std::string("\0\0\1\0\0\0\0\0\0x", 10))
      .IgnoreError();
  while (!server_.ToSend().empty()) {
  }
  const std::string said(server_.fault().message());
  EXPECT_FALSE(said.empty());
  EXPECT_EQ(said.find('\n'), std::string::npos);
  EXPECT_EQ(said.find('\x1b'), std::string::npos);
}

// The guard lets two calls and two resets a second pass for ever; a peer that does not read pays for it here.
TEST_F(GrpcConnectionTest, CallsWhoseAnswersAreNotReadEndTheConnection) {
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  for (int i = 0; i < 500 && server_.Answers().ok(); ++i) {
    const std::int32_t stream = peer_.Call("/x/y");
    EXPECT_EQ(peer_.Speak(server_), absl::OkStatus());
    peer_.Reset(stream);
    EXPECT_EQ(peer_.Speak(server_), absl::OkStatus());
  }
  EXPECT_EQ(server_.Answers().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(GrpcConnectionTest, ACallThatEndsWithinAMessageIsTold) {
  peer_.ends = true;
  peer_.Say(peer_.Call(), Framed("half").substr(0, 7));
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  EXPECT_THAT(calls_.said, ElementsAre("call", "half-closed within a message"));
}

TEST_F(GrpcConnectionTest, AnswersThatAreNotReadEndTheConnection) {
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  const std::string ping("\0\0\x08\x06\0\0\0\0\0xxxxxxxx", 17);
  absl::Status status;
  int pings = 0;
  while (status.ok() && pings < 1000) {
    status = server_.Receive(ping);
    ++pings;
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_LT(pings, 100);
}

TEST_F(GrpcConnectionTest, GoAwayCarriesTheReasonAndAPeerMayLeaveByIt) {
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  server_.GoAway(NGHTTP2_ENHANCE_YOUR_CALM, "too many PING frames");
  EXPECT_EQ(peer_.Talk(server_), absl::OkStatus());
  EXPECT_EQ(peer_.goaway, "too many PING frames");

  Calls calls;
  GrpcConnection server(&calls);
  EXPECT_EQ(server.Receive("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string("\0\0\0\4\0\0\0\0\0", 9) +
                           std::string("\0\0\x08\7\0\0\0\0\0\0\0\0\0\0\0\0\0", 17)),
            absl::OkStatus());
  while (!server.ToSend().empty()) {
  }
  EXPECT_TRUE(server.over());
  EXPECT_EQ(server.fault(), absl::OkStatus());
}

}  // namespace
}  // namespace memgov::base
