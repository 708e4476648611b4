#include "governor/kernel/alarms.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/kernel/parse.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

// Shared with the handlers in flight. `owner` is null once nobody is to hear of it any more.
struct Alarms::Wire {
  Wire(boost::asio::io_context& io, Alarms* alarms, core::CgroupId cgroup, core::Bytes bytes)
      : owner(alarms), id(cgroup), at(bytes), descriptor(io), quiet(io) {}

  Alarms* owner;
  const core::CgroupId id;
  const core::Bytes at;
  boost::asio::posix::stream_descriptor descriptor;  // v1: the eventfd; v2: memory.events
  boost::asio::steady_timer quiet;
};

// One registration, under way or waiting for the worker.
struct Alarms::Request {
  Request(Alarms* alarms, core::CgroupId cgroup, core::Bytes bytes, Done to)
      : owner(alarms), id(cgroup), at(bytes), done(std::move(to)) {}

  Alarms* owner;  // the control thread's; null once it is overtaken
  const core::CgroupId id;
  const core::Bytes at;
  Done done;
  std::atomic<bool> overtaken{false};  // the worker need not register it any more
};

namespace {

absl::Status OpenError(const std::string& path) {
  return absl::ErrnoToStatus(errno == ENODEV ? ENOENT : errno, absl::StrCat("arming ", path));
}

std::optional<core::Bytes> ReadBytes(int fd) {
  std::array<char, 64> buffer;
  const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), 0);
  if (got <= 0) return std::nullopt;
  return ParseBytes(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
}

// Takes the event, so that the next wait waits. False when there will be no more: the cgroup is gone.
bool Consume(MemoryVersion version, int fd) {
  if (version == MemoryVersion::kV1) {
    std::uint64_t count = 0;
    return ::read(fd, &count, sizeof(count)) > 0 || errno == EAGAIN || errno == EINTR;
  }
  // kernfs compares its event count with that of the last reading.
  std::array<char, 1024> buffer;
  return ::pread(fd, buffer.data(), buffer.size(), 0) > 0;
}

// v1: an eventfd that counts crossings of `at`, and whether usage is beyond it already. On the worker.
absl::StatusOr<UniqueFd> RegisterEvent(const std::string& directory, core::Bytes at, bool* crossed) {
  UniqueFd event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event) return absl::ErrnoToStatus(errno, "making an eventfd");
  const std::string usage_path = directory + "/memory.usage_in_bytes";
  const UniqueFd usage(::open(usage_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!usage) return OpenError(usage_path);
  const std::string control_path = directory + "/cgroup.event_control";
  const UniqueFd control(::open(control_path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!control) return OpenError(control_path);
  // The kernel keeps the registration until the eventfd is closed; the other two have served then.
  const std::string line = absl::StrCat(event.get(), " ", usage.get(), " ", at);
  if (::write(control.get(), line.data(), line.size()) < 0) return OpenError(control_path);
  const auto now = ReadBytes(usage.get());
  *crossed = now.has_value() && *now >= at;
  return event;
}

}  // namespace

Alarms::Alarms(boost::asio::io_context& io, const CgroupLayout& layout,
               std::function<void(core::CgroupId)> on_alarm, std::function<void(bool)> on_failing,
               RetryPace pace)
    : io_(io),
      layout_(layout),
      on_alarm_(std::move(on_alarm)),
      retries_(
          io, pace, [this](core::CgroupId id) { TryAgain(id); }, std::move(on_failing)) {
  if (layout_.memory_version == MemoryVersion::kV1) {
    registrar_ = std::make_unique<boost::asio::thread_pool>(1);
  }
}

Alarms::~Alarms() {
  for (auto& [id, request] : requests_) request->owner = nullptr;
  if (registrar_ != nullptr) {
    registrar_->stop();
    registrar_->join();
  }
  for (auto& [id, wire] : wires_) Detach(*wire);
}

void Alarms::Arm(core::CgroupId id, const std::string& path, core::Bytes at, Done done) {
  const bool v1 = layout_.memory_version == MemoryVersion::kV1;
  const auto answer = [this](Done to, absl::Status status) {
    boost::asio::post(io_, [to = std::move(to), status = std::move(status)] { to(status); });
  };
  if (at <= 0) {
    return answer(std::move(done),
                  absl::InvalidArgumentError(absl::StrCat("a wire at ", at, " bytes for ", path)));
  }
  Overtake(id);
  const auto known = wires_.find(id);
  if (known != wires_.end() && (!v1 || known->second->at == at)) {
    Settle(id, absl::OkStatus());
    return answer(std::move(done), absl::OkStatus());
  }
  wishes_[id] = {.path = path, .at = at};
  if (v1) return Register(id, path, at, std::move(done));
  auto opened = OpenV2(id, path);
  if (opened.ok()) {
    wires_[id] = *opened;
    Wait(*opened);
  }
  Settle(id, opened.status());
  answer(std::move(done), opened.status());
}

// Whether it is to be tried again.
void Alarms::Settle(core::CgroupId id, const absl::Status& status) {
  if (!status.ok() && !absl::IsNotFound(status)) return retries_.Failed(id);
  wishes_.erase(id);
  retries_.Settled(id);
}

void Alarms::TryAgain(core::CgroupId id) {
  const auto wish = wishes_.find(id);
  if (wish == wishes_.end() || requests_.contains(id)) return;  // a younger request is under way
  const Wish copy = wish->second;
  Arm(id, copy.path, copy.at, [](const absl::Status&) {});
}

void Alarms::Register(core::CgroupId id, const std::string& path, core::Bytes at, Done done) {
  auto request = std::make_shared<Request>(this, id, at, std::move(done));
  requests_[id] = request;
  boost::asio::post(*registrar_, [&io = io_, request, directory = layout_.memory_mount + path, at] {
    if (request->overtaken) return;
    bool crossed = false;
    auto fd = std::make_shared<absl::StatusOr<UniqueFd>>(RegisterEvent(directory, at, &crossed));
    boost::asio::post(io, [request, fd, crossed] {
      if (request->owner != nullptr) request->owner->Finish(request, std::move(*fd), crossed);
    });
  });
}

// The registration of `request` has come to its end.
void Alarms::Finish(const std::shared_ptr<Request>& request, absl::StatusOr<UniqueFd> fd, bool crossed) {
  const auto newest = requests_.find(request->id);
  if (newest == requests_.end() || newest->second != request) return;  // answered when it was overtaken
  requests_.erase(newest);
  auto wire = fd.ok() ? NewWire(request->id, request->at, *std::move(fd))
                      : absl::StatusOr<std::shared_ptr<Wire>>(fd.status());
  if (wire.ok()) {
    Drop(request->id);
    wires_[request->id] = *wire;
    Wait(*wire);
  }
  Settle(request->id, wire.status());
  const Done done = std::move(request->done);
  done(wire.status());
  // Only a crossing rings. What crossed before the registration has to be looked for.
  if (wire.ok() && crossed && (*wire)->owner != nullptr) (*wire)->owner->on_alarm_((*wire)->id);
}

void Alarms::Overtake(core::CgroupId id) {
  const auto pending = requests_.find(id);
  if (pending == requests_.end()) return;
  pending->second->owner = nullptr;
  pending->second->overtaken = true;
  boost::asio::post(io_, [done = std::move(pending->second->done)] {
    done(absl::CancelledError("overtaken by a later request"));
  });
  requests_.erase(pending);
}

void Alarms::Disarm(core::CgroupId id) {
  Overtake(id);
  wishes_.erase(id);
  retries_.Settled(id);
  Drop(id);
}

void Alarms::Drop(core::CgroupId id) {
  const auto known = wires_.find(id);
  if (known == wires_.end()) return;
  Detach(*known->second);
  wires_.erase(known);
}

absl::StatusOr<std::shared_ptr<Alarms::Wire>> Alarms::OpenV2(core::CgroupId id, const std::string& path) {
  const std::string events_path = absl::StrCat(layout_.memory_mount, path, "/memory.events");
  UniqueFd events(::open(events_path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!events || !Consume(MemoryVersion::kV2, events.get())) return OpenError(events_path);
  return NewWire(id, 0, std::move(events));
}

absl::StatusOr<std::shared_ptr<Alarms::Wire>> Alarms::NewWire(core::CgroupId id, core::Bytes at,
                                                              UniqueFd fd) {
  auto wire = std::make_shared<Wire>(io_, this, id, at);
  boost::system::error_code error;
  wire->descriptor.assign(fd.get(), error);
  if (error) return absl::ErrnoToStatus(error.value(), "watching an alarm's descriptor");
  fd.release();
  return wire;
}

void Alarms::Wait(const std::shared_ptr<Wire>& wire) {
  using Descriptor = boost::asio::posix::stream_descriptor;
  const bool v1 = wire->owner->layout_.memory_version == MemoryVersion::kV1;
  wire->descriptor.async_wait(v1 ? Descriptor::wait_read : Descriptor::wait_error,
                              [wire](const boost::system::error_code& error) {
                                if (!error && wire->owner != nullptr) Ring(wire);
                              });
}

void Alarms::Ring(const std::shared_ptr<Wire>& wire) {
  Alarms* alarms = wire->owner;
  const bool more = Consume(alarms->layout_.memory_version, wire->descriptor.native_handle());
  // A removed cgroup's file is ready for ever (v2); waiting on it would spin. It still rings once, so that
  // the removal is looked at.
  if (!more) {
    const auto on_alarm = alarms->on_alarm_;
    const core::CgroupId id = wire->id;
    alarms->Disarm(id);
    on_alarm(id);
    return;
  }
  wire->quiet.expires_after(kQuiet);
  wire->quiet.async_wait([wire](const boost::system::error_code& error) {
    if (!error && wire->owner != nullptr) Wait(wire);
  });
  alarms->on_alarm_(wire->id);  // last: it may disarm, or end us
}

// Closing deregisters in the kernel (v1). Handlers that are queued already find no owner.
void Alarms::Detach(Wire& wire) {
  wire.owner = nullptr;
  boost::system::error_code ignored;
  wire.descriptor.close(ignored);
  wire.quiet.cancel(ignored);
}

}  // namespace memgov::kernel
