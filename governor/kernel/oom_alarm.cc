#include "governor/kernel/oom_alarm.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/kernel/unique_fd.h"

namespace memgov::kernel {

// Shared with the handlers in flight. `owner` is null once nobody is to hear of it any more.
struct OomAlarms::Bell {
  Bell(boost::asio::io_context& io, OomAlarms* alarms, core::CgroupId cgroup)
      : owner(alarms), id(cgroup), descriptor(io), timer(io) {}

  OomAlarms* owner;
  const core::CgroupId id;
  boost::asio::posix::stream_descriptor descriptor;
  boost::asio::steady_timer timer;
  bool ringing = false;  // until its last look
};

namespace {

absl::Status OpenError(const std::string& path) {
  return absl::ErrnoToStatus(errno == ENODEV ? ENOENT : errno, absl::StrCat("arming ", path));
}

}  // namespace

OomAlarms::OomAlarms(boost::asio::io_context& io, const CgroupLayout& layout, std::size_t most,
                     std::function<void(core::CgroupId, bool)> on_look, std::function<void(bool)> on_failing,
                     RetryPace pace)
    : io_(io),
      layout_(layout),
      most_(most),
      on_look_(std::move(on_look)),
      retries_(
          io, pace, [this](core::CgroupId id) { Arm(id, std::string(wishes_[id])).IgnoreError(); },
          std::move(on_failing)) {}

OomAlarms::~OomAlarms() {
  for (auto& [id, bell] : bells_) Detach(*bell);
}

absl::Status OomAlarms::Arm(core::CgroupId id, const std::string& path) {
  absl::Status status = Try(id, path);
  if (status.ok() || absl::IsNotFound(status) || absl::IsUnimplemented(status)) {
    wishes_.erase(id);
    retries_.Settled(id);
  } else {
    wishes_[id] = path;
    retries_.Failed(id);
  }
  return status;
}

absl::Status OomAlarms::Try(core::CgroupId id, const std::string& path) {
  if (layout_.memory_version != MemoryVersion::kV1)
    return absl::UnimplementedError("only v1 loses its counts");
  if (bells_.contains(id)) return absl::OkStatus();
  if (bells_.size() >= most_)
    return absl::ResourceExhaustedError(absl::StrCat("more than ", most_, " OOM alarms"));
  const std::string directory = layout_.memory_mount + path;
  UniqueFd event(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event) return absl::ErrnoToStatus(errno, "making an eventfd");
  const std::string oom_path = directory + "/memory.oom_control";
  const UniqueFd oom(::open(oom_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!oom) return OpenError(oom_path);
  const std::string control_path = directory + "/cgroup.event_control";
  const UniqueFd control(::open(control_path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!control) return OpenError(control_path);
  // The kernel keeps the registration until the eventfd is closed; the other two have served then.
  const std::string line = absl::StrCat(event.get(), " ", oom.get());
  if (::write(control.get(), line.data(), line.size()) < 0) return OpenError(control_path);

  auto bell = std::make_shared<Bell>(io_, this, id);
  boost::system::error_code error;
  bell->descriptor.assign(event.get(), error);
  if (error) return absl::ErrnoToStatus(error.value(), "watching an OOM alarm");
  event.release();
  bells_[id] = bell;
  Wait(bell);
  return absl::OkStatus();
}

void OomAlarms::Disarm(core::CgroupId id) {
  wishes_.erase(id);
  retries_.Settled(id);
  const auto known = bells_.find(id);
  if (known == bells_.end()) return;
  Detach(*known->second);
  bells_.erase(known);
}

void OomAlarms::Wait(const std::shared_ptr<Bell>& bell) {
  bell->descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                              [bell](const boost::system::error_code& error) {
                                if (!error && bell->owner != nullptr) Ring(bell);
                              });
}

void OomAlarms::Ring(const std::shared_ptr<Bell>& bell) {
  OomAlarms* alarms = bell->owner;
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = ::read(bell->descriptor.native_handle(), &count, sizeof(count));
  if (alarms->ringing_ >= kMostRinging) return Wait(bell);
  ++alarms->ringing_;
  bell->ringing = true;
  LookLater(bell, 0);
  // By value: it may disarm the bell, or end us.
  const auto on_look = alarms->on_look_;
  on_look(bell->id, true);
}

// The eventfd is not waited for meanwhile: the looks see what further rings would tell, and the last comes
// after them.
void OomAlarms::LookLater(const std::shared_ptr<Bell>& bell, std::size_t look) {
  bell->timer.expires_after(look == 0 ? kLooks[0] : kLooks[look] - kLooks[look - 1]);
  bell->timer.async_wait([bell, look](const boost::system::error_code& error) {
    if (error || bell->owner == nullptr) return;
    OomAlarms* alarms = bell->owner;
    if (look + 1 < kLooks.size()) {
      LookLater(bell, look + 1);
    } else {
      bell->ringing = false;
      --alarms->ringing_;
      Wait(bell);
    }
    const auto on_look = alarms->on_look_;
    on_look(bell->id, false);
  });
}

// Closing deregisters in the kernel. Handlers that are queued already find no owner.
void OomAlarms::Detach(Bell& bell) {
  if (bell.ringing) --bell.owner->ringing_;
  bell.owner = nullptr;
  boost::system::error_code ignored;
  bell.descriptor.close(ignored);
  bell.timer.cancel(ignored);
}

}  // namespace memgov::kernel
