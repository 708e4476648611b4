// C++ over the C ABI of libmemgov (client/c/memgov.h has the rules): a session as an object.
//
//   memgov::Session session;                       // attaches; detaches when it goes out of scope
//   memgov::Session session({.name = "checkout"});
//
// and a cache that can be shed as another:
//
//   memgov::PressureHook hook("thumbnails", [&](const memgov::Pressure& pressure) {
//     return cache.Shed(pressure.bytes);  // bytes given
//   });
//
// Header-only, needs C++17 (designated initialisers as above: C++20). Throws nothing but std::bad_alloc.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

// Installed, the two lie in one directory; in the source tree they do not.
#if __has_include("../c/memgov.h")
#include "client/c/memgov.h"
#else
#include "memgov.h"
#endif

namespace memgov {

using Event = memgov_event;
using Pressure = memgov_pressure;
using State = memgov_state;

// Empty strings and functions mean the defaults of memgov_options. The functions run on the agent thread
// (rule 6): keep them short, do not throw, and do not make or destroy sessions in them.
struct Options {
  std::string socket = {};
  std::string name = {};
  std::function<void(std::string_view line)> log = {};
  std::function<void(const Event& event)> on_event = {};
  bool local = false;  // without a governor, watch our own cgroup (rule 13)
};

// One counted start. When several exist at once the options of the first hold for all (rule 3). Destroying a
// session ends its callbacks even if others keep the agent running. Not thread-safe, movable.
class Session {
 public:
  explicit Session(Options options = {}) : callbacks_(std::make_unique<Callbacks>()) {
    callbacks_->log = std::move(options.log);
    callbacks_->on_event = std::move(options.on_event);
    memgov_options c_options = MEMGOV_OPTIONS_INIT;
    c_options.socket = options.socket.empty() ? nullptr : options.socket.c_str();
    c_options.name = options.name.empty() ? nullptr : options.name.c_str();
    c_options.log = callbacks_->log ? &Session::OnLog : nullptr;
    c_options.on_event = callbacks_->on_event ? &Session::OnEvent : nullptr;
    c_options.user = callbacks_.get();
    c_options.local = options.local ? 1 : 0;
    error_ = std::error_code(memgov_start(&c_options), std::generic_category());
    if (error_) callbacks_.reset();
  }

  Session(Session&& other) noexcept
      : callbacks_(std::move(other.callbacks_)), error_(std::exchange(other.error_, {})) {}
  Session& operator=(Session&& other) noexcept {
    if (this != &other) {
      Stop();
      callbacks_ = std::move(other.callbacks_);
      error_ = std::exchange(other.error_, {});
    }
    return *this;
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { Stop(); }

  // Whether this object holds a start. MEMGOV_DISABLE counts as success (rule 10).
  explicit operator bool() const noexcept { return callbacks_ != nullptr; }

  // Why it does not: what memgov_start() returned.
  std::error_code error() const noexcept { return error_; }

  // Ends it early; further calls do nothing.
  void Stop() noexcept {
    if (callbacks_ == nullptr) return;
    memgov_stop();
    Retire(std::move(callbacks_));
  }

  static State Status() noexcept { return memgov_status(); }
  static std::string_view Version() noexcept { return memgov_version(); }

 private:
  // What the agent thread is given; its address stays when the session moves.
  struct Callbacks {
    std::mutex mutex;  // guards the two
    std::function<void(std::string_view)> log;
    std::function<void(const Event&)> on_event;
  };

  // Frees what a stopped session leaves, or keeps it empty: if somebody else's start keeps the agent running,
  // it may still call us. What was kept is freed when an agent has ended. (Never destroyed, since an agent
  // may outlive main.)
  static void Retire(std::unique_ptr<Callbacks> callbacks) {
    static auto* const mutex = new std::mutex;
    static auto* const kept = new std::vector<std::unique_ptr<Callbacks>>;
    const std::lock_guard<std::mutex> lock(*mutex);
    if (memgov_status() == MEMGOV_OFF) {
      kept->clear();
      return;
    }
    const std::lock_guard<std::mutex> not_now(callbacks->mutex);
    callbacks->log = nullptr;
    callbacks->on_event = nullptr;
    kept->push_back(std::move(callbacks));
  }

  static void OnLog(void* user, const char* line) noexcept {
    auto* callbacks = static_cast<Callbacks*>(user);
    const std::lock_guard<std::mutex> lock(callbacks->mutex);
    if (callbacks->log) callbacks->log(line);
  }

  static void OnEvent(void* user, const memgov_event* event) noexcept {
    auto* callbacks = static_cast<Callbacks*>(user);
    const std::lock_guard<std::mutex> lock(callbacks->mutex);
    if (callbacks->on_event) callbacks->on_event(*event);
  }

  std::unique_ptr<Callbacks> callbacks_;
  std::error_code error_;
};

// A registered pressure hook (memgov_on_pressure; rules 6, 11 and 12). Destroying it waits for a call that is
// running, so make it the last member of its cache, and hold no lock meanwhile that the function takes. A
// function that throws counts as having given nothing, and the log says that it failed: nothing is thrown
// across the C ABI. It may reset its own hook, and is not called again then. Not thread-safe, movable.
class PressureHook {
 public:
  using Give = std::function<std::uint64_t(const Pressure& pressure)>;

  // Empty: no hook.
  PressureHook() noexcept = default;

  // Hooks of a lower priority are asked first.
  PressureHook(const std::string& name, Give give, int priority = 0) : giver_(std::make_shared<Giver>()) {
    giver_->give = std::move(give);
    memgov_pressure_hook hook = MEMGOV_PRESSURE_HOOK_INIT;
    hook.name = name.c_str();
    hook.priority = priority;
    hook.give = giver_->give ? &PressureHook::OnPressure : nullptr;  // an empty function: EINVAL
    hook.user = giver_.get();
    error_ = std::error_code(memgov_on_pressure(&hook, &handle_), std::generic_category());
    if (error_) giver_.reset();
  }

  PressureHook(PressureHook&& other) noexcept
      : giver_(std::move(other.giver_)),
        handle_(std::exchange(other.handle_, 0)),
        error_(std::exchange(other.error_, {})) {}
  PressureHook& operator=(PressureHook&& other) noexcept {
    if (this != &other) {
      Reset();
      giver_ = std::move(other.giver_);
      handle_ = std::exchange(other.handle_, 0);
      error_ = std::exchange(other.error_, {});
    }
    return *this;
  }
  PressureHook(const PressureHook&) = delete;
  PressureHook& operator=(const PressureHook&) = delete;
  ~PressureHook() { Reset(); }

  // Whether it is registered; error() says why not: what memgov_on_pressure() returned.
  explicit operator bool() const noexcept { return handle_ != 0; }
  std::error_code error() const noexcept { return error_; }

  // Unregisters it early; further calls do nothing.
  void Reset() noexcept {
    if (handle_ == 0) return;
    memgov_off_pressure(std::exchange(handle_, 0));
    giver_.reset();
  }

 private:
  // What the agent thread is given; its address stays when the hook moves.
  struct Giver : std::enable_shared_from_this<Giver> {
    Give give;
  };

  static std::uint64_t Call(Giver* giver, const Pressure& pressure) {
    const std::shared_ptr<Giver> kept = giver->shared_from_this();  // the function may reset its hook
    return kept->give(pressure);
  }

  static std::uint64_t OnPressure(void* user, const memgov_pressure* pressure) noexcept {
#if defined(__cpp_exceptions)
    try {
      return Call(static_cast<Giver*>(user), *pressure);
    } catch (...) {
      return MEMGOV_HOOK_FAILED;
    }
#else
    return Call(static_cast<Giver*>(user), *pressure);
#endif
  }

  std::shared_ptr<Giver> giver_;
  memgov_handle handle_ = 0;
  std::error_code error_;
};

}  // namespace memgov
