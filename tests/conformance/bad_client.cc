// A client that claims that the memory which it uses is free, and then does not do what it is asked: it
// hangs, dies, lies, or talks nonsense. The governor must not be hurt by it, and must go on helping through
// the others.
//
// stdout: {"welcomed":true}, {"directive":ID}, {"ended":"STATUS MESSAGE"}.

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "memgov/v1/session.grpc.pb.h"
#include "tests/workloads/arguments.h"

namespace {

constexpr char kUsage[] =
    "usage: bad_client --mode hang|die|lie|fail|repeat|foreign|huge [--claim 200MiB] [--again]\n"
    "  hang     never answers\n"
    "  die      exits on the first directive\n"
    "  lie      says that it gave everything back, and gives nothing\n"
    "  fail     answers FAILED\n"
    "  repeat   answers each directive three times\n"
    "  foreign  answers a directive that it was never sent\n"
    "  huge     sends a message over the size cap\n"
    "With --again it attaches again whenever its stream has ended. The socket is MEMGOV_SOCKET.\n";

enum Mode { kHang, kDie, kLie, kFail, kRepeat, kForeign, kHuge };

using Stream = grpc::ClientReaderWriter<memgov::v1::ClientMessage, memgov::v1::GovernorMessage>;

memgov::v1::ClientMessage Hello(Mode mode) {
  memgov::v1::ClientMessage message;
  auto* hello = message.mutable_hello();
  hello->set_runtime("none");
  hello->set_client("bad_client");
  hello->set_name(mode == kHuge ? std::string(200 * 1024, 'x') : "bad_client");
  hello->mutable_capabilities()->set_release(true);
  return message;
}

memgov::v1::ClientMessage Report(std::uint64_t claim) {
  memgov::v1::ClientMessage message;
  auto* report = message.mutable_report();
  report->set_live_bytes(memgov::workloads::kMiB);
  report->set_retained_bytes(claim);
  report->set_retained_kind(memgov::v1::ESTIMATE_KIND_EXACT);
  return message;
}

memgov::v1::ClientMessage Outcome(std::uint64_t id, Mode mode, std::uint64_t claim) {
  memgov::v1::ClientMessage message;
  auto* outcome = message.mutable_outcome();
  outcome->set_id(mode == kForeign ? id + 1'000'000 : id);
  outcome->set_status(mode == kFail ? memgov::v1::Outcome::STATUS_FAILED : memgov::v1::Outcome::STATUS_DONE);
  outcome->set_why(mode == kFail ? "on purpose" : "");
  outcome->set_before_bytes(2 * claim);
  outcome->set_after_bytes(claim);
  return message;
}

// What the mode does with one directive.
void Answer(Stream* stream, std::uint64_t id, Mode mode, std::uint64_t claim) {
  std::printf("{\"directive\":%llu}\n", static_cast<unsigned long long>(id));
  if (mode == kDie) _exit(0);
  if (mode == kHang) return;
  for (int times = mode == kRepeat ? 3 : 1; times > 0; --times) stream->Write(Outcome(id, mode, claim));
  stream->Write(Report(claim));
}

// One stream, from its beginning to its end.
void Attach(memgov::v1::Session::Stub* stub, Mode mode, std::uint64_t claim) {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  const std::unique_ptr<Stream> stream = stub->Attach(&context);
  stream->Write(Hello(mode));
  memgov::v1::GovernorMessage message;
  while (stream->Read(&message)) {
    if (message.has_welcome()) {
      std::printf("{\"welcomed\":true}\n");
      stream->Write(Report(claim));
    } else if (message.has_directive()) {
      Answer(stream.get(), message.directive().id(), mode, claim);
    }
  }
  const grpc::Status status = stream->Finish();
  std::printf("{\"ended\":%d,\"ended_text\":\"%s\"}\n", static_cast<int>(status.error_code()),
              status.error_message().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  Mode mode = kHang;
  std::uint64_t claim = 200 * memgov::workloads::kMiB;
  bool again = false;
  memgov::workloads::Arguments arguments(argc, argv, kUsage);
  while (arguments.Next()) {
    if (arguments.Is("--mode")) {
      mode = static_cast<Mode>(arguments.OneOf({"hang", "die", "lie", "fail", "repeat", "foreign", "huge"}));
    } else if (arguments.Is("--claim")) {
      claim = arguments.Size();
    } else if (arguments.Is("--again")) {
      again = true;
    } else {
      arguments.Fail("unknown option");
    }
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  const char* socket = std::getenv("MEMGOV_SOCKET");
  if (socket == nullptr) arguments.Fail("MEMGOV_SOCKET is not set");
  // Nobody is believed to hold more than its cgroup is charged with.
  const std::string held(claim, 'x');
  grpc::ChannelArguments channel;
  channel.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  channel.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
  channel.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 50);
  const auto stub = memgov::v1::Session::NewStub(
      grpc::CreateCustomChannel(std::string("unix:") + socket, grpc::InsecureChannelCredentials(), channel));
  do {
    Attach(stub.get(), mode, claim);
  } while (again);
  return 0;
}
