#include "governor/kernel/hold_queue.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

namespace memgov::kernel {
namespace {

constexpr auto kFirstPause = std::chrono::milliseconds(10);
constexpr auto kLongestPause = std::chrono::milliseconds(1000);

absl::Status Stopped() { return absl::FailedPreconditionError("it is shut down"); }
absl::Status Overtaken() { return absl::CancelledError("overtaken by a later request"); }

}  // namespace

HoldQueue::HoldQueue(boost::asio::io_context& io, LettingGo let_go, OnFailing on_failing)
    : io_(io),
      let_go_(std::move(let_go)),
      on_failing_(std::move(on_failing)),
      retry_(releaser_.get_executor()) {}

HoldQueue::~HoldQueue() {
  Stop();
  Join();
}

void HoldQueue::Stop() {
  const std::lock_guard lock(mutex_);
  if (stopping_) return;
  stopping_ = true;
  changed_.notify_all();
  boost::asio::post(releaser_, [this] { retry_.cancel(); });
}

bool HoldQueue::IdleWithin(std::chrono::milliseconds longest) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, longest, [this] { return taking_.empty() && letting_go_.empty(); });
}

void HoldQueue::Join() {
  taker_.join();
  releaser_.join();
}

std::uint64_t HoldQueue::Ask(const std::string& path) {
  const std::lock_guard lock(mutex_);
  return newest_[path] = ++asked_;
}

bool HoldQueue::IsNewest(const std::string& path, std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  const auto newest = newest_.find(path);
  return !stopping_ && newest != newest_.end() && newest->second == number;
}

void HoldQueue::Answer(Done done, absl::Status status) {
  if (!done) return;
  boost::asio::post(io_, [done = std::move(done), status = std::move(status)] { done(status); });
}

void HoldQueue::ForgetIfNewest(const std::string& path, std::uint64_t number) {
  const auto newest = newest_.find(path);
  if (newest != newest_.end() && newest->second == number) newest_.erase(newest);
}

// --- taking hold

void HoldQueue::Take(std::string path, Taking take, Done done) {
  const std::uint64_t number = Ask(path);
  boost::asio::post(taker_, [this, path = std::move(path), number, take = std::move(take),
                             done = std::move(done)]() mutable {
    absl::Status status = BeginTaking(path, number);
    if (status.ok()) {
      status = take([this, &path, number] { return IsNewest(path, number); });
      EndTaking(path, number);
    }
    Answer(std::move(done), std::move(status));
  });
}

absl::Status HoldQueue::BeginTaking(const std::string& path, std::uint64_t number) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopping_ || letting_go_ != path; });
  if (stopping_) return Stopped();
  const auto newest = newest_.find(path);
  if (newest == newest_.end() || newest->second != number) return Overtaken();
  taking_ = path;
  debts_.erase(path);  // to be held is what is wanted now
  TellFailing();
  return absl::OkStatus();
}

void HoldQueue::EndTaking(const std::string& path, std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  taking_.clear();
  ForgetIfNewest(path, number);
  changed_.notify_all();
  const auto debt = debts_.find(path);
  if (debt == debts_.end() || stopping_) return;
  debt->second.due = {};
  boost::asio::post(releaser_, [this] { PayDebts(); });
}

void HoldQueue::Look(std::string path, std::function<void()> look) {
  boost::asio::post(taker_, [this, path = std::move(path), look = std::move(look)] {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || letting_go_ != path; });
      if (stopping_) return;
      taking_ = path;
    }
    look();
    EndTaking(path, 0);
  });
}

// --- letting go

void HoldQueue::LetGo(std::string path, Done done) {
  const std::uint64_t number = Ask(path);
  boost::asio::post(releaser_, [this, path = std::move(path), number, done = std::move(done)]() mutable {
    absl::Status status = TryToLetGo(path, number);
    PayDebtsLater();
    Answer(std::move(done), std::move(status));
  });
}

void HoldQueue::Owe(const std::vector<std::string>& paths) {
  if (paths.empty()) return;
  const std::lock_guard lock(mutex_);
  for (const std::string& path : paths) debts_[path] = {.number = newest_[path] = ++asked_, .why = {}};
  boost::asio::post(releaser_, [this] { PayDebts(); });
}

absl::Status HoldQueue::TryToLetGo(const std::string& path, std::uint64_t number) {
  bool last = true;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return Stopped();
    const auto newest = newest_.find(path);
    if (newest == newest_.end() || newest->second != number) return Overtaken();
    letting_go_ = path;
    // None can begin until we are done, so this covers all that may write after us.
    last = taking_ != path;
  }
  absl::Status status = let_go_(path, last);
  const std::lock_guard lock(mutex_);
  letting_go_.clear();
  changed_.notify_all();
  if (status.ok() && last) {
    debts_.erase(path);
    ForgetIfNewest(path, number);
  } else if (const auto newest = newest_.find(path); newest != newest_.end() && newest->second == number) {
    Debt& debt = debts_[path];
    debt.number = number;
    debt.pause = status.ok() ? kFirstPause : std::clamp(2 * debt.pause, kFirstPause, kLongestPause);
    debt.due = std::chrono::steady_clock::now() + debt.pause;
    debt.why = status;
  }
  TellFailing();
  return status;
}

void HoldQueue::PayDebts() {
  const auto now = std::chrono::steady_clock::now();
  std::vector<std::pair<std::string, std::uint64_t>> due;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [path, debt] : debts_) {
      if (debt.due > now) continue;
      due.emplace_back(path, debt.number);
      debt.due = now + kLongestPause;  // for one that a later request has overtaken, but not replaced yet
    }
  }
  for (const auto& [path, number] : due) TryToLetGo(path, number).IgnoreError();
  PayDebtsLater();
}

void HoldQueue::PayDebtsLater() {
  const std::lock_guard lock(mutex_);
  if (stopping_ || debts_.empty()) return;
  const auto first = std::min_element(
      debts_.begin(), debts_.end(), [](const auto& a, const auto& b) { return a.second.due < b.second.due; });
  retry_.expires_at(first->second.due);
  retry_.async_wait([this](const boost::system::error_code& cancelled) {
    if (!cancelled) PayDebts();
  });
}

void HoldQueue::TellFailing() {
  const auto failed =
      std::find_if(debts_.begin(), debts_.end(), [](const auto& debt) { return !debt.second.why.ok(); });
  const bool failing = failed != debts_.end();
  if (failing == failing_ || stopping_) return;
  failing_ = failing;
  if (!on_failing_) return;
  boost::asio::post(
      io_, [tell = on_failing_, why = failing ? failed->second.why : absl::OkStatus()] { tell(why); });
}

}  // namespace memgov::kernel
