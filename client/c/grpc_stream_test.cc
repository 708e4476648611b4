// The gRPC layer fed by hand, without sockets: messages in any cut, and transcripts with errors.

#include "client/c/grpc_stream.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "client/c/testing/rude_peer.h"

namespace {

using memgov::testing::EmptySettings;
using memgov::testing::Frame;

class GrpcStreamTest : public ::testing::Test {
 protected:
  GrpcStreamTest() {
    mg_grpc_setup(
        stream_.get(),
        [](void* user, const std::uint8_t* message, std::size_t size) {
          static_cast<GrpcStreamTest*>(user)->messages_.emplace_back(reinterpret_cast<const char*>(message),
                                                                     size);
        },
        this);
  }
  ~GrpcStreamTest() override {
    nghttp2_option_del(stream_->option);
    nghttp2_session_callbacks_del(stream_->callbacks);
  }

  void Open() {
    ASSERT_TRUE(mg_grpc_open(stream_.get()));
    Drain();
  }
  // Takes all that is to be sent.
  std::string Drain() {
    std::string sent;
    const std::uint8_t* bytes = nullptr;
    for (;;) {
      const std::ptrdiff_t size = mg_grpc_to_send(stream_.get(), &bytes);
      if (size <= 0) return sent;
      sent.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
      mg_grpc_sent(stream_.get(), static_cast<std::size_t>(size));
    }
  }
  bool Receive(const std::string& bytes) {
    return mg_grpc_receive(stream_.get(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }

  std::unique_ptr<mg_grpc_stream> stream_ = std::make_unique<mg_grpc_stream>();
  std::vector<std::string> messages_;
};

std::string Message(const std::string& body) {
  std::string prefix(5, '\0');
  prefix[3] = static_cast<char>(body.size() >> 8);
  prefix[4] = static_cast<char>(body.size());
  return prefix + body;
}

// A header field as HPACK's literal without indexing; both parts under 127 bytes.
std::string Literal(const std::string& name, const std::string& value) {
  return std::string(1, '\0') + static_cast<char>(name.size()) + name + static_cast<char>(value.size()) +
         value;
}

std::string Headers() { return EmptySettings() + Frame(1, 4, 1, "\x88"); }

// What is present before it is needed (agent.c): a page fault in a full cgroup waits, or kills.
TEST_F(GrpcStreamTest, ASessionNeedsNoMoreOfTheArenaThanIsPresent) {
  Open();
  ASSERT_TRUE(Receive(Headers()));
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(Receive(Frame(0, 0, 1, Message(std::string(300, 'x')))));
    const std::string message(200, 'y');
    ASSERT_TRUE(
        mg_grpc_put(stream_.get(), reinterpret_cast<const std::uint8_t*>(message.data()), message.size()));
    Drain();
  }
  EXPECT_LE(stream_->arena.used, static_cast<std::size_t>(MG_AGENT_ARENA_BYTES));
}

TEST_F(GrpcStreamTest, MessagesArriveWholeHoweverTheyAreCut) {
  const std::string data = Message("one") + Message("") + Message(std::string(3000, 'x'));
  for (const std::size_t cut : {1u, 3u, 5u, 8u, 100u}) {
    Open();
    messages_.clear();
    std::string transcript = Headers();
    for (std::size_t at = 0; at < data.size(); at += cut) transcript += Frame(0, 0, 1, data.substr(at, cut));
    for (const char byte : transcript) ASSERT_TRUE(Receive(std::string(1, byte)));
    ASSERT_EQ(messages_.size(), 3u);
    EXPECT_EQ(messages_[0], "one");
    EXPECT_EQ(messages_[1], "");
    EXPECT_EQ(messages_[2], std::string(3000, 'x'));
    mg_grpc_close(stream_.get());
  }
}

TEST_F(GrpcStreamTest, TheCallIsAsGrpcWantsIt) {
  ASSERT_TRUE(mg_grpc_open(stream_.get()));
  const std::string begin = Drain();
  EXPECT_EQ(begin.substr(0, 24), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  const std::uint8_t hello[] = {1, 2, 3};
  ASSERT_TRUE(mg_grpc_put(stream_.get(), hello, sizeof(hello)));
  EXPECT_TRUE(mg_grpc_backlog(stream_.get()));
  EXPECT_EQ(Drain(), Frame(0, 0, 1, std::string("\0\0\0\0\3\1\2\3", 8)));
  EXPECT_FALSE(mg_grpc_backlog(stream_.get()));
  mg_grpc_close(stream_.get());
}

TEST_F(GrpcStreamTest, AFullOutboxRefusesAndAWindowUpdateOpensIt) {
  Open();
  const std::vector<std::uint8_t> message(500);
  int taken = 0;
  while (mg_grpc_put(stream_.get(), message.data(), message.size())) {
    ++taken;
    Drain();  // until the governor's window of 65535 bytes is full
    ASSERT_LT(taken, 1000);
  }
  EXPECT_GT(taken, 65535 / 505);
  ASSERT_TRUE(Receive(Headers() + Frame(8, 0, 0, std::string("\0\1\0\0", 4)) +
                      Frame(8, 0, 1, std::string("\0\1\0\0", 4))));
  EXPECT_FALSE(Drain().empty());
  EXPECT_TRUE(mg_grpc_put(stream_.get(), message.data(), message.size()));
  mg_grpc_close(stream_.get());
}

TEST_F(GrpcStreamTest, TrailersSayWhyTheCallEnded) {
  const auto ends = [&](const std::string& trailers) {
    Open();
    EXPECT_FALSE(Receive(Headers() + Frame(1, 5, 1, trailers)));
    mg_grpc_close(stream_.get());
    return std::string(stream_->error);
  };
  EXPECT_EQ(ends(Literal("grpc-status", "7") + Literal("grpc-message", "100%25 n%C3%B6%0a")),
            "PERMISSION_DENIED: 100% n\xc3\xb6?");
  EXPECT_TRUE(stream_->refused);
  EXPECT_EQ(ends(Literal("grpc-status", "14") + Literal("grpc-message", "%zz%4")), "UNAVAILABLE: %zz%4");
  EXPECT_FALSE(stream_->refused);
  EXPECT_EQ(ends(Literal("grpc-status", "99")), "an unknown status: ");
  EXPECT_EQ(ends(Literal("grpc-status", "0")), "the governor is going away");
  EXPECT_EQ(ends(Literal("other", "x")), "the governor reset the stream: NO_ERROR");
}

TEST_F(GrpcStreamTest, NoTranscriptDoesHarm) {
  std::string good = Headers() + Frame(6, 0, 0, "12345678") + Frame(0, 0, 1, Message("welcome"));
  good += Frame(8, 0, 1, std::string("\0\0\1\0", 4)) + Frame(0, 0, 1, Message(std::string(200, 'd')));
  good += Frame(1, 5, 1, Literal("grpc-status", "7") + Literal("grpc-message", "%41!"));
  std::mt19937 random(13);
  int survived = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    for (unsigned i = 0; i <= random() % 5; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    ASSERT_TRUE(mg_grpc_open(stream_.get()));
    Drain();
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t cut = 1 + random() % 64;
      if (!Receive(bytes.substr(at, cut))) break;
      Drain();
      at += cut;
    }
    if (!stream_->closed) ++survived;
    mg_grpc_close(stream_.get());
    messages_.clear();
  }
  EXPECT_LT(survived, 20000);
}

}  // namespace
