// Peers at the socket that are no governor, or a broken one: each gets a precise refusal, and the process
// lives on.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "client/c/memgov.h"
#include "client/c/testing/fake_governor.h"
#include "client/c/testing/recorder.h"
#include "client/c/testing/rude_peer.h"

namespace memgov::testing {
namespace {

using ::testing::HasSubstr;

// HTTP/2 frame types and flags.
constexpr unsigned char kData = 0, kHeaders = 1, kPing = 6;
constexpr unsigned char kEndStream = 1, kEndHeaders = 4;
// ":status: 200" and ":status: 404" as HPACK's static table has them.
const std::string kStatus200 = "\x88";
const std::string kStatus404 = "\x8d";

class HostileTest : public ::testing::Test {
 protected:
  ~HostileTest() override { memgov_stop(); }

  // What the client says about a peer that answers so.
  std::string Verdict(const std::string& answer, RudePeer::Then then = RudePeer::Then::kKeepOpen) {
    RudePeer peer(socket_, answer, then);
    Recorder recorder;
    const memgov_options options = recorder.OptionsFor(socket_);
    EXPECT_EQ(memgov_start(&options), 0);
    std::string verdict = recorder.Wait(MEMGOV_EVENT_DISCONNECTED).text;
    EXPECT_EQ(memgov_status(), MEMGOV_NOT_CONNECTED);
    memgov_stop();
    return verdict;
  }

  SocketDirectory directory_;
  const std::string socket_ = directory_.path();
};

std::string GrpcMessage(const std::string& body, unsigned char compressed = 0) {
  std::string message(1, static_cast<char>(compressed));
  for (const int shift : {24, 16, 8, 0}) message += static_cast<char>((body.size() >> shift) & 0xff);
  return message + body;
}

std::string Answer(const std::string& data) {
  return EmptySettings() + Frame(kHeaders, kEndHeaders, 1, kStatus200) + Frame(kData, 0, 1, data);
}

TEST_F(HostileTest, NobodyThere) {
  Recorder recorder;
  const memgov_options options = recorder.OptionsFor(socket_);
  ASSERT_EQ(memgov_start(&options), 0);
  EXPECT_THAT(recorder.Wait(MEMGOV_EVENT_DISCONNECTED).text, HasSubstr("no governor at " + socket_));
  memgov_stop();
}

TEST_F(HostileTest, ClosesAtOnce) {
  EXPECT_THAT(Verdict("", RudePeer::Then::kClose), HasSubstr("closed the connection"));
}

TEST_F(HostileTest, NeverAnswers) { EXPECT_THAT(Verdict(""), HasSubstr("did not welcome us within 5 s")); }

TEST_F(HostileTest, SpeaksHttp1) {
  EXPECT_THAT(Verdict("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
              HasSubstr("not valid HTTP/2"));
}

TEST_F(HostileTest, SpeaksHttp2ButNotGrpc) {
  EXPECT_THAT(Verdict(EmptySettings() + Frame(kHeaders, kEndHeaders | kEndStream, 1, kStatus404)),
              HasSubstr("HTTP status 404: no governor speaks there"));
}

TEST_F(HostileTest, SendsAnOversizedMessage) {
  EXPECT_THAT(Verdict(Answer(std::string("\0\x00\x04\x45\xc0", 5) + std::string(1000, 'x'))),
              HasSubstr("a message of 280000 bytes; at most 16384 are allowed"));
  EXPECT_THAT(Verdict(Answer(std::string("\0\xff\xff\xff\xff", 5))), HasSubstr("4294967295 bytes"));
}

TEST_F(HostileTest, SendsACompressedMessage) {
  EXPECT_THAT(Verdict(Answer(GrpcMessage("x", 1))), HasSubstr("compressed"));
}

TEST_F(HostileTest, SendsAMalformedMessage) {
  EXPECT_THAT(Verdict(Answer(GrpcMessage("\x0a\x7f"))), HasSubstr("malformed message"));
  // A Welcome whose cgroup claims to be longer than the message.
  EXPECT_THAT(Verdict(Answer(GrpcMessage("\x0a\x03\x0a\x7f"
                                         "a"))),
              HasSubstr("malformed message"));
}

TEST_F(HostileTest, SendsADirectiveBeforeItsWelcome) {
  EXPECT_THAT(Verdict(Answer(GrpcMessage(std::string("\x12\x02\x08\x07", 4)))),
              HasSubstr("before its Welcome"));
}

TEST_F(HostileTest, FloodsWithPings) {
  std::string flood = EmptySettings();
  for (int i = 0; i < 5000; ++i) flood += Frame(kPing, 0, 0, "12345678");
  EXPECT_THAT(Verdict(flood),
              ::testing::AnyOf(HasSubstr("not valid HTTP/2"), HasSubstr("did not welcome us")));
}

TEST_F(HostileTest, FloodsWithHeaders) {
  std::string headers = kStatus200;
  for (int i = 0; i < 200; ++i)
    headers += std::string("\x00\x01", 2) + "k" + std::string("\x7f\x21", 2) + std::string(160, 'v');
  EXPECT_THAT(Verdict(EmptySettings() + Frame(kHeaders, 0, 1, headers.substr(0, 16000)) +
                      Frame(9, 0, 1, headers.substr(16000, 16000))),
              ::testing::Not(::testing::IsEmpty()));
}

TEST_F(HostileTest, HeadersThatStandForManyMoreAreNotRead) {
  // A name and value of 3,900 bytes into the dynamic table, and then one byte for each time it is meant
  // again.
  const std::string bomb = kStatus200 + std::string("\x40\x01", 2) + "k" + std::string("\x7f\xbd\x1d", 3) +
                           std::string(3900, 'v') + std::string(1000, '\xbe');
  EXPECT_THAT(Verdict(EmptySettings() + Frame(kHeaders, kEndHeaders, 1, bomb)),
              HasSubstr("bytes of headers"));
}

std::string Welcome() { return GrpcMessage(std::string("\x0a\x02\x18\x01", 4)); }
std::string ReleaseOf(int id) {
  return GrpcMessage(std::string("\x12\x06\x08", 3) + static_cast<char>(id % 128) + "\x3a\x02\x08\x01");
}

// An honest governor waits for the answer before it asks again.
TEST_F(HostileTest, AsksForManyThingsAtOnce) {
  RudePeer peer(socket_, Answer(Welcome() + ReleaseOf(1) + ReleaseOf(2) + ReleaseOf(3)),
                RudePeer::Then::kKeepOpen);
  Recorder recorder;
  const memgov_options options = recorder.OptionsFor(socket_);
  ASSERT_EQ(memgov_start(&options), 0);
  EXPECT_THAT(recorder.Wait(MEMGOV_EVENT_OUTCOME, 1).text, HasSubstr("there is one at a time"));
  EXPECT_EQ(recorder.Wait(MEMGOV_EVENT_OUTCOME, 2).event.directive_id, 3u);
  EXPECT_EQ(recorder.Wait(MEMGOV_EVENT_OUTCOME, 3).event.directive_id, 1u);
  EXPECT_THAT(recorder.Wait(MEMGOV_EVENT_OUTCOME, 3).text, ::testing::Not(HasSubstr("at a time")));
  memgov_stop();
}

TEST_F(HostileTest, FloodsWithMessages) {
  std::string messages = Welcome();
  for (int i = 0; i < 1000; ++i) messages += ReleaseOf(1 + i);
  RudePeer peer(socket_, Answer(messages), RudePeer::Then::kKeepOpen);
  Recorder recorder;
  const memgov_options options = recorder.OptionsFor(socket_);
  ASSERT_EQ(memgov_start(&options), 0);
  EXPECT_THAT(recorder.Wait(MEMGOV_EVENT_DISCONNECTED).text, HasSubstr("floods us with messages"));
  EXPECT_LT(recorder.Count(MEMGOV_EVENT_DIRECTIVE), 1000);
  sleep(1);  // proves nothing on a slow machine; elsewhere that it does not come back at once
  EXPECT_EQ(peer.connections(), 1);
}

TEST_F(HostileTest, FloodsWithWhatIsNoMessage) {
  std::string empty =
      EmptySettings() + Frame(kHeaders, kEndHeaders, 1, kStatus200) + Frame(kData, 0, 1, Welcome());
  for (int i = 0; i < 40000; ++i) empty += Frame(kData, 0, 1, "");
  EXPECT_THAT(Verdict(empty), HasSubstr("floods us with bytes"));
}

TEST_F(HostileTest, SendsNoise) {
  std::mt19937 random(20240817);
  for (int round = 0; round < 20; ++round) {
    std::string noise = round % 2 == 0 ? "" : EmptySettings();
    for (int i = 0; i < 4096; ++i) noise += static_cast<char>(random());
    EXPECT_NE(Verdict(noise, RudePeer::Then::kClose), "") << "round " << round;
  }
}

TEST_F(HostileTest, AQueueThatIsFullDoesNotBlockUs) {
  const int listener = ListenOn(socket_, 0);
  Recorder recorder;
  const memgov_options options = recorder.OptionsFor(socket_);
  // The queue takes one or two; each further start finds no room. None may block.
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(memgov_start(&options), 0);
    ASSERT_TRUE(recorder.WaitFor([&](const auto& events) { return static_cast<int>(events.size()) > i; }));
    memgov_stop();
  }
  shutdown(listener, SHUT_RDWR);
}

// Who fills the queue keeps others out only for as long as it is full.
TEST_F(HostileTest, AQueueThatIsFullForAMomentIsWaitedFor) {
  bool waited = false;
  for (int round = 0; round < 20 && !waited; ++round) {  // a busy machine may be late once
    const int listener = ListenOn(socket_, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_.copy(address.sun_path, sizeof address.sun_path - 1);
    std::vector<int> others;
    do {
      others.push_back(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    } while (connect(others.back(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    Recorder recorder;
    const memgov_options options = recorder.OptionsFor(socket_);
    ASSERT_EQ(memgov_start(&options), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    close(accept(listener, nullptr, nullptr));
    ASSERT_TRUE(recorder.WaitFor([&waited](const auto& events) {
      waited = !events.empty() && events.front().event.kind == MEMGOV_EVENT_CONNECTED;
      return !events.empty();
    }));
    memgov_stop();
    for (const int other : others) close(other);
    close(listener);
    unlink(socket_.c_str());
  }
  EXPECT_TRUE(waited);
}

}  // namespace
}  // namespace memgov::testing
