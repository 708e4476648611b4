#include "governor/kernel/pressure_triggers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "governor/kernel/unique_fd.h"
#include "governor/kernel/watch_fd.h"

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

// One that is being armed, or waits for the worker.
struct PressureTriggers::Request {
  Request(PressureTriggers* triggers, core::CgroupId cgroup, std::string its_path,
          const PressureTrigger& what, Done to)
      : owner(triggers), id(cgroup), path(std::move(its_path)), trigger(what), done(std::move(to)) {}

  PressureTriggers* owner;  // the control thread's; null once it is overtaken
  const core::CgroupId id;
  const std::string path;
  const PressureTrigger trigger;
  Done done;
  std::atomic<bool> overtaken{false};  // the worker need not arm it any more
};

struct PressureTriggers::Opened {
  UniqueFd fd;
  int error = 0;            // errno
  core::Duration window{};  // of the nearest that we may have, where it is another one
};

PressureTriggers::PressureTriggers(boost::asio::io_context& io, const CgroupLayout& layout,
                                   Callbacks callbacks, RetryPace pace)
    : io_(io),
      layout_(layout),
      callbacks_(std::move(callbacks)),
      retries_(
          io, pace, [this](core::CgroupId id) { TryAgain(id); }, callbacks_.on_failing) {}

PressureTriggers::~PressureTriggers() {
  for (auto& [id, request] : requests_) {
    request->owner = nullptr;
    request->overtaken = true;
  }
  opener_.stop();
  opener_.join();
  for (auto& [id, armed] : armed_) Detach(*armed);
}

void PressureTriggers::SayOnce(bool* said, std::string what) {
  if (!std::exchange(*said, true)) callbacks_.on_degraded(std::move(what));
}

// Opens the file and makes it the trigger, or the nearest that we may have. On the worker.
PressureTriggers::Opened PressureTriggers::Open(const std::string& file, const PressureTrigger& trigger) {
  Opened opened;
  opened.fd.reset(::open(file.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  const auto write = [&opened](const PressureTrigger& what) {
    const std::string text = TextOf(what);
    // The kernel takes the end for part of it.
    return ::write(opened.fd.get(), text.c_str(), text.size() + 1) >= 0;
  };
  if (opened.fd && write(trigger)) return opened;
  const bool may_be_privilege = opened.fd && (errno == EINVAL || errno == EPERM);
  const PressureTrigger stretched = Stretched(trigger);
  if (may_be_privilege && !(stretched == trigger) && write(stretched)) {
    opened.window = stretched.window;
    return opened;
  }
  opened.error = errno == ENODEV ? ENOENT : errno;  // removed meanwhile
  opened.fd.reset();
  return opened;
}

void PressureTriggers::Arm(core::CgroupId id, const std::string& path, const PressureTrigger& trigger,
                           Done done) {
  const auto answer = [this](Done to, absl::Status status) {
    boost::asio::post(io_, [to = std::move(to), status = std::move(status)] { to(status); });
  };
  if (!IsValid(trigger)) {
    return answer(std::move(done),
                  absl::InvalidArgumentError(absl::StrCat("a trigger \"", TextOf(trigger), "\"")));
  }
  Overtake(id);
  const auto known = armed_.find(id);
  if (known != armed_.end() && known->second->trigger == trigger) {
    wishes_.erase(id);
    retries_.Settled(id);
    return answer(std::move(done), absl::OkStatus());
  }
  const bool node = id == core::kNodeId;
  if (!node && !layout_.pressure_mount.has_value()) {
    return answer(std::move(done), absl::UnavailableError("no cgroup has pressure files"));
  }
  auto request = std::make_shared<Request>(this, id, path, trigger, std::move(done));
  requests_[id] = request;
  const auto finish = [](const std::shared_ptr<Request>& of, Opened opened) {
    if (of->owner != nullptr) of->owner->Finish(of, std::move(opened));
  };
  if (known == armed_.end() && armed_.size() + requests_.size() > kMost) {
    boost::asio::post(io_, [request, finish] { finish(request, {.fd = {}, .error = ENOSPC, .window = {}}); });
    return;
  }
  const std::string file =
      node ? "/proc/pressure/memory" : absl::StrCat(*layout_.pressure_mount, path, "/memory.pressure");
  boost::asio::post(opener_, [&io = io_, request, finish, file] {
    if (request->overtaken) return;
    auto opened = std::make_shared<Opened>(Open(file, request->trigger));
    boost::asio::post(io, [request, finish, opened] { finish(request, std::move(*opened)); });
  });
}

// The worker has done with `request`, which nothing has overtaken.
void PressureTriggers::Finish(const std::shared_ptr<Request>& request, Opened opened) {
  requests_.erase(request->id);
  const absl::Status status = Take(*request, std::move(opened));
  if (absl::IsResourceExhausted(status)) {
    wishes_[request->id] = {.path = request->path, .trigger = request->trigger};
    retries_.Failed(request->id);
  } else {
    wishes_.erase(request->id);
    retries_.Settled(request->id);
  }
  const Done done = std::move(request->done);
  done(status);  // last: it may end us
}

// What became of it means something for this cgroup, or for all.
absl::Status PressureTriggers::Take(const Request& request, Opened opened) {
  const std::string what = absl::StrCat("arming memory.pressure of ", request.path);
  switch (opened.error) {
    case 0:
      break;
    case ENOSPC:
      return absl::ResourceExhaustedError(absl::StrCat(what, ": more than ", kMost, " triggers"));
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::ResourceExhaustedError(absl::StrCat(what, ": ", std::strerror(opened.error)));
    case ENOENT:
      return absl::NotFoundError(absl::StrCat(what, ": it is gone"));
    default: {
      const std::string why = absl::StrCat(what, ": ", std::strerror(opened.error));
      SayOnce(&said_unavailable_,
              absl::StrCat(why, ": no pressure triggers; stalls are seen by polling only"));
      return absl::UnavailableError(why);
    }
  }
  if (opened.window != core::Duration{}) {
    SayOnce(&said_slow_, absl::StrCat("pressure windows of ", InMilliseconds(request.trigger.window),
                                      " need CAP_SYS_RESOURCE: a stall is told up to ",
                                      InMilliseconds(opened.window), " late"));
  }
  auto watched = WatchFd(io_, std::move(opened.fd), "a pressure trigger");
  if (!watched.ok()) return absl::ResourceExhaustedError(watched.status().message());
  auto armed = std::make_shared<Armed>(io_, this, request.id, request.trigger);
  armed->descriptor = *std::move(watched);
  Drop(request.id);
  armed_[request.id] = armed;
  Wait(armed);
  return absl::OkStatus();
}

void PressureTriggers::TryAgain(core::CgroupId id) {
  const auto wish = wishes_.find(id);
  if (wish == wishes_.end() || requests_.contains(id)) return;  // a younger request is under way
  const Wish copy = wish->second;
  Arm(id, copy.path, copy.trigger, [](const absl::Status&) {});
}

void PressureTriggers::Overtake(core::CgroupId id) {
  const auto pending = requests_.find(id);
  if (pending == requests_.end()) return;
  pending->second->owner = nullptr;
  pending->second->overtaken = true;
  boost::asio::post(io_, [done = std::move(pending->second->done)] {
    done(absl::CancelledError("overtaken by a later request"));
  });
  requests_.erase(pending);
}

void PressureTriggers::Disarm(core::CgroupId id) {
  Overtake(id);
  wishes_.erase(id);
  retries_.Settled(id);
  Drop(id);
}

void PressureTriggers::Drop(core::CgroupId id) {
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
