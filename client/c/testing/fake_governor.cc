#include "client/c/testing/fake_governor.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

namespace memgov::testing {

SocketDirectory::SocketDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "memgov-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) std::abort();
  directory_ = name;
}

SocketDirectory::~SocketDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

FakeGovernor::FakeGovernor(const std::string& socket, Manners manners) : manners_(std::move(manners)) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

FakeGovernor::~FakeGovernor() { Stop(std::chrono::seconds(0)); }

std::chrono::milliseconds FakeGovernor::Stop(std::chrono::seconds grace) {
  if (server_ == nullptr) return {};
  const auto begin = std::chrono::steady_clock::now();
  server_->Shutdown(std::chrono::system_clock::now() + grace);
  server_->Wait();
  server_.reset();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
}

bool FakeGovernor::WaitFor(const std::function<bool(const Heard&)>& enough) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return enough(heard_); });
}

FakeGovernor::Heard FakeGovernor::heard() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return heard_;
}

bool FakeGovernor::Send(const v1::GovernorMessage& message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return !streams_.empty() && streams_.back()->Write(message);
}

std::uint64_t FakeGovernor::Send(v1::Directive directive) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (directive.id() == 0) directive.set_id(next_id_++);
  }
  if (directive.deadline_ms() == 0) directive.set_deadline_ms(30000);
  v1::GovernorMessage message;
  *message.mutable_directive() = directive;
  return Send(message) ? directive.id() : 0;
}

v1::Outcome FakeGovernor::Ask(v1::Directive directive) {
  const std::uint64_t id = Send(std::move(directive));
  v1::Outcome outcome;
  if (id == 0) return outcome;
  WaitFor([&](const Heard& heard) {
    for (const v1::Outcome& each : heard.outcomes) {
      if (each.id() == id) outcome = each;
    }
    return outcome.id() == id;
  });
  return outcome;
}

grpc::Status FakeGovernor::Attach(grpc::ServerContext*, Stream* stream) {
  if (!manners_.refuse.ok()) return manners_.refuse;
  v1::ClientMessage message;
  if (!stream->Read(&message) || !message.has_hello()) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "the first message must be Hello"};
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    heard_.hellos.push_back(message.hello());
    ++heard_.sessions;
    streams_.push_back(stream);
    v1::GovernorMessage reply;
    reply.mutable_welcome()->set_cgroup(manners_.cgroup);
    reply.mutable_welcome()->set_enforcing(manners_.enforcing);
    reply.mutable_welcome()->set_report_every_ms(manners_.report_every_ms);
    reply.mutable_welcome()->set_governor("fake 1");
    stream->Write(reply);
  }
  changed_.notify_all();
  while (stream->Read(&message)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (message.has_report()) heard_.reports.push_back(message.report());
    if (message.has_outcome()) heard_.outcomes.push_back(message.outcome());
    changed_.notify_all();
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  --heard_.sessions;
  streams_.erase(std::find(streams_.begin(), streams_.end(), stream));
  changed_.notify_all();
  return grpc::Status::OK;
}

v1::Directive Release(std::uint64_t bytes, std::uint32_t longest_stall_ms) {
  v1::Directive directive;
  directive.mutable_release()->set_bytes(bytes);
  directive.mutable_release()->set_longest_stall_ms(longest_stall_ms);
  return directive;
}

v1::Directive SetMode(v1::ReleaseMode mode, std::uint32_t ttl_ms) {
  v1::Directive directive;
  directive.set_ttl_ms(ttl_ms);
  directive.mutable_set_release_mode()->set_mode(mode);
  return directive;
}

v1::Directive Collect() {
  v1::Directive directive;
  directive.mutable_collect()->set_bytes(1);
  return directive;
}

}  // namespace memgov::testing
