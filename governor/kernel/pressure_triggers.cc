#include "governor/kernel/pressure_triggers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace memgov::kernel {
namespace {

using std::chrono::duration_cast;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr core::Duration kShortestWindow = milliseconds(500);  // WINDOW_MIN_US and MAX of kernel/sched/psi.c
constexpr core::Duration kLongestWindow = seconds(10);

bool IsValid(const PressureTrigger& trigger) {
  return trigger.window >= kShortestWindow && trigger.window <= kLongestWindow &&
         trigger.stall >= microseconds(1) && trigger.stall <= trigger.window;
}

// The same share of stall in a window that everybody may have.
PressureTrigger Stretched(const PressureTrigger& trigger) {
  constexpr core::Duration kUnit = PressureTriggers::kUnprivilegedWindow;
  const auto units = std::min((trigger.window + kUnit - core::Duration(1)) / kUnit, kLongestWindow / kUnit);
  PressureTrigger stretched = trigger;
  stretched.window = units * kUnit;
  const double share =
      static_cast<double>(trigger.stall.count()) / static_cast<double>(trigger.window.count());
  stretched.stall =
      core::Duration(static_cast<std::int64_t>(share * static_cast<double>(stretched.window.count())));
  return stretched;
}

std::string TextOf(const PressureTrigger& trigger) {
  return absl::StrCat(trigger.kind == PressureTrigger::Kind::kSome ? "some " : "full ",
                      duration_cast<microseconds>(trigger.stall).count(), " ",
                      duration_cast<microseconds>(trigger.window).count());
}

std::string InMilliseconds(core::Duration time) {
  return absl::StrCat(duration_cast<milliseconds>(time).count(), " ms");
}

}  // namespace

// Shared with the handler in flight. `owner` is null once nobody is to hear of it any more.
struct PressureTriggers::Armed {
  Armed(boost::asio::io_context& io, PressureTriggers* triggers, core::CgroupId cgroup,
        const PressureTrigger& what)
      : owner(triggers), id(cgroup), trigger(what), descriptor(io) {}

  PressureTriggers* owner;
  const core::CgroupId id;
  const PressureTrigger trigger;  // as it was asked for
  boost::asio::posix::stream_descriptor descriptor;
};

PressureTriggers::PressureTriggers(boost::asio::io_context& io, const CgroupLayout& layout,
                                   Callbacks callbacks)
    : io_(io), layout_(layout), callbacks_(std::move(callbacks)) {}

PressureTriggers::~PressureTriggers() {
  for (auto& [id, armed] : armed_) Detach(*armed);
}

void PressureTriggers::SayOnce(bool* said, std::string what) {
  if (!std::exchange(*said, true)) callbacks_.on_degraded(std::move(what));
}

// Opens the file and makes it the trigger, or the nearest that we may have.
absl::StatusOr<UniqueFd> PressureTriggers::Open(const std::string& file, const PressureTrigger& trigger) {
  UniqueFd fd(::open(file.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return Failed(file);
  const auto write = [&fd](const PressureTrigger& what) {
    const std::string text = TextOf(what);
    return ::write(fd.get(), text.c_str(), text.size() + 1) >= 0;  // the kernel takes the end for part of it
  };
  if (write(trigger)) return fd;
  const PressureTrigger stretched = Stretched(trigger);
  const bool may_be_privilege = errno == EINVAL || errno == EPERM;
  if (!may_be_privilege || stretched == trigger || !write(stretched)) return Failed(file);
  SayOnce(&said_slow_, absl::StrCat("pressure windows of ", InMilliseconds(trigger.window),
                                    " need CAP_SYS_RESOURCE: a stall is told up to ",
                                    InMilliseconds(stretched.window), " late"));
  return fd;
}

// What errno means for the triggers of this cgroup, and of all.
absl::Status PressureTriggers::Failed(const std::string& file) {
  const int error = errno == ENODEV ? ENOENT : errno;  // removed meanwhile
  absl::Status cause = absl::ErrnoToStatus(error, absl::StrCat("arming ", file));
  const bool here_only = error == ENOENT || error == EMFILE || error == ENFILE || error == ENOMEM;
  if (here_only) return cause;
  const std::string message(cause.message());
  SayOnce(&said_unavailable_,
          absl::StrCat(message, ": no pressure triggers; stalls are seen by polling only"));
  return absl::UnavailableError(message);
}

absl::Status PressureTriggers::Arm(core::CgroupId id, const std::string& path,
                                   const PressureTrigger& trigger) {
  if (!IsValid(trigger))
    return absl::InvalidArgumentError(absl::StrCat("a trigger \"", TextOf(trigger), "\""));
  const auto known = armed_.find(id);
  if (known != armed_.end() && known->second->trigger == trigger) return absl::OkStatus();
  const bool node = id == core::kNodeId;
  if (!node && !layout_.pressure_mount.has_value())
    return absl::UnavailableError("no cgroup has pressure files");
  const std::string file =
      node ? "/proc/pressure/memory" : absl::StrCat(*layout_.pressure_mount, path, "/memory.pressure");
  auto fd = Open(file, trigger);
  if (!fd.ok()) return fd.status();

  auto armed = std::make_shared<Armed>(io_, this, id, trigger);
  boost::system::error_code error;
  armed->descriptor.assign(fd->get(), error);
  if (error) return absl::ErrnoToStatus(error.value(), "watching a pressure trigger");
  fd->release();
  Disarm(id);
  armed_[id] = armed;
  Wait(armed);
  return absl::OkStatus();
}

void PressureTriggers::Disarm(core::CgroupId id) {
  const auto known = armed_.find(id);
  if (known == armed_.end()) return;
  Detach(*known->second);
  armed_.erase(known);
}

void PressureTriggers::Wait(const std::shared_ptr<Armed>& armed) {
  armed->descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_error,
                               [armed](const boost::system::error_code& error) {
                                 if (!error && armed->owner != nullptr) Ring(armed);
                               });
}

void PressureTriggers::Ring(const std::shared_ptr<Armed>& armed) {
  PressureTriggers* triggers = armed->owner;
  const auto on_stall = triggers->callbacks_.on_stall;
  const core::CgroupId id = armed->id;
  // The trigger of a removed cgroup is ready with POLLERR for ever; waiting on it would spin. A poll also
  // takes an event that it shows: asio has taken ours already.
  pollfd state{.fd = armed->descriptor.native_handle(), .events = POLLPRI};
  if (::poll(&state, 1, 0) > 0 && (state.revents & (POLLERR | POLLNVAL)) != 0) {
    triggers->Disarm(id);
  } else {
    Wait(armed);
  }
  on_stall(id);  // last: it may disarm, or end us
}

// Closing ends the trigger in the kernel, which waits for a grace period meanwhile: the worker's work.
// Handlers that are queued already find no owner.
void PressureTriggers::Detach(Armed& armed) {
  PressureTriggers* const triggers = std::exchange(armed.owner, nullptr);
  boost::system::error_code ignored;
  armed.descriptor.cancel(ignored);
  const auto fd = std::make_shared<UniqueFd>(armed.descriptor.release());
  boost::asio::post(triggers->closer_, [fd] { fd->reset(); });
}

}  // namespace memgov::kernel
