// Ten thousand ticks of a node where everything happens: growth, lies, hangs, deaths, vanishing cgroups,
// changing limits and policies. Each tick keeps the invariants, and the same story told twice gives the same
// decisions.

#include <gtest/gtest.h>

#include <algorithm>

#include "governor/core/invariants.h"
#include "governor/core/testing.h"

namespace memgov::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Node;

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  // xorshift64*
  std::uint64_t Next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1DULL;
  }
  std::int64_t Below(std::int64_t bound) {
    return static_cast<std::int64_t>(Next() % static_cast<std::uint64_t>(bound));
  }
  bool OneIn(std::int64_t n) { return Below(n) == 0; }

 private:
  std::uint64_t state_;
};

class Story {
 public:
  explicit Story(std::uint64_t seed) : random_(seed) {
    for (int i = 0; i < 3; ++i) AddPod();
    node_.SetObserver([this](Instant now, const Snapshot& snapshot, const std::vector<ClientEvent>& events,
                             const Decisions& decisions) {
      for (const std::string& broken : invariants_.Check(now, policy_, snapshot, events, decisions)) {
        ADD_FAILURE() << broken;
      }
    });
  }

  void Step(std::string* record) {
    node_.Pass(milliseconds(random_.OneIn(3) ? 0 : random_.Below(200)));
    MovePolicy();
    MoveCgroups();
    MoveClients();
    const Decisions decisions = node_.Tick(Due());
    Follow(decisions);
    *record += Serialised(decisions);
  }

  int asked() const { return asked_; }
  int returned() const { return returned_; }
  int braked() const { return braked_; }
  int froze() const { return froze_; }

 private:
  struct Client {
    CgroupId cgroup{};
    Bytes retained = 0;
    bool can_estimate = true;
    std::optional<Directive> giving;
  };
  struct Cgroup {
    std::optional<CgroupId> pod;
    std::string path;
  };

  void AddPod() {
    const std::string path = absl::StrCat("/pod", next_name_++);
    const Bytes limit = (500 + random_.Below(1500)) * kMiB;
    const bool has_brake = !cgroups_.empty() && random_.OneIn(2);
    const CgroupId pod = node_.Add(path, limit, has_brake);
    cgroups_[pod] = {.path = path};
    for (int i = 0; i < 3; ++i) AddContainer(pod);
  }

  void AddContainer(CgroupId pod) {
    const std::string path = absl::StrCat(cgroups_[pod].path, "/c", next_name_++);
    const auto limit =
        random_.OneIn(2) ? std::optional<Bytes>(200 * kMiB + random_.Below(kGiB)) : std::nullopt;
    const CgroupId id = node_.Add(path, limit, random_.OneIn(2));
    cgroups_[id] = {.pod = pod, .path = path};
    for (std::int64_t i = random_.Below(3); i > 0; --i) AddClient(id);
  }

  void AddClient(CgroupId cgroup) {
    const ClientId id = node_.Attach(cgroup, {.set_release_mode = random_.OneIn(2),
                                              .release = random_.OneIn(2),
                                              .release_in_chunks = random_.OneIn(2),
                                              .collect = random_.OneIn(2),
                                              .set_soft_limit = random_.OneIn(2),
                                              .shed = random_.OneIn(4)});
    clients_[id] = {.cgroup = cgroup, .can_estimate = !random_.OneIn(4)};
  }

  void MovePolicy() {
    if (!random_.OneIn(300)) return;
    enforcing_ = random_.OneIn(3) ? !enforcing_ : enforcing_;
    policy_ = enforcing_ ? testing::Enforcing() : testing::Observing();
    policy_.rules[0].wake.usage_percent = 81 + static_cast<double>(random_.Below(14));
    policy_.rules[0].brake.freeze = !random_.OneIn(3);
    policy_.rules[0].brake.at_percent = 70 + static_cast<double>(random_.Below(25));
    node_.engine().SetPolicy(policy_);
  }

  void MoveCgroups() {
    std::vector<CgroupId> containers;
    for (const auto& [id, cgroup] : cgroups_) {
      if (cgroup.pod) containers.push_back(id);
    }
    for (const CgroupId id : containers) {
      const Bytes most = random_.OneIn(10) ? 100 * kMiB : 4 * kMiB;
      node_.Charge(id, std::max(random_.Below(2 * most) - most * 9 / 10, -node_.usage(id)));
      node_.SetReadable(id, !random_.OneIn(50));
      if (random_.OneIn(500)) node_.SetLimit(id, std::nullopt);
      if (random_.OneIn(500)) node_.SetLimit(id, random_.Below(kGiB));
      if (random_.OneIn(500)) node_.SetMemoryHigh(id, random_.Below(kGiB));
      if (random_.OneIn(500)) node_.SetMemoryHigh(id, std::nullopt);
    }
    for (const CgroupId id : containers) {
      // Nobody helped in time: what the kernel would do.
      const CgroupId pod = *cgroups_[id].pod;
      if (node_.usage(pod) < 1500 * kMiB && node_.usage(id) < 700 * kMiB) continue;
      node_.Charge(id, -node_.usage(id) * 3 / 4);
      node_.Kill(id);
    }
    if (random_.OneIn(100)) {
      const CgroupId id = containers[static_cast<std::size_t>(random_.Below(std::ssize(containers)))];
      const CgroupId pod = *cgroups_[id].pod;
      node_.Charge(id, -node_.usage(id));
      node_.Remove(id);
      cgroups_.erase(id);
      AddContainer(pod);
    }
  }

  void MoveClients() {
    std::vector<ClientId> gone;
    for (auto& [id, client] : clients_) {
      if (random_.OneIn(5)) {
        const Bytes usage = cgroups_.contains(client.cgroup) ? node_.usage(client.cgroup) : 0;
        client.retained = random_.OneIn(20) ? random_.Below(std::int64_t{1} << 62) : random_.Below(usage + 1);
        node_.Report(id, client.retained, client.can_estimate ? EstimateKind::kBound : EstimateKind::kNone);
      }
      if (client.giving) Respond(client);
      if (random_.OneIn(400)) gone.push_back(id);
    }
    for (const ClientId id : gone) {
      const CgroupId cgroup = clients_[id].cgroup;
      node_.Detach(id);
      clients_.erase(id);
      if (cgroups_.contains(cgroup)) AddClient(cgroup);
    }
  }

  void Respond(Client& client) {
    const Directive& directive = *client.giving;
    const bool here = cgroups_.contains(client.cgroup);
    switch (random_.Below(8)) {
      case 0:
        if (here) node_.Deliver(directive, random_.Below(node_.usage(client.cgroup) / 2 + 1));
        break;
      case 1:
        node_.Answer(directive, random_.Below(std::int64_t{1} << 40));  // a lie
        break;
      case 2:
        node_.Answer(directive, 0, OutcomeStatus::kDeclined);
        break;
      case 3:
        node_.Answer(directive, -random_.Below(kGiB), OutcomeStatus::kFailed);
        break;
      default:
        break;  // still at work, or hanging
    }
  }

  std::vector<CgroupId> Due() {
    std::vector<CgroupId> due;
    for (const auto& [id, cgroup] : cgroups_) {
      if (!random_.OneIn(3)) due.push_back(id);
    }
    return due;
  }

  // What the story needs to go on, and how much happened.
  void Follow(const Decisions& decisions) {
    for (const Note& note : decisions.notes) {
      const bool closed = note.kind == NoteKind::kReturned || note.kind == NoteKind::kDeclined ||
                          note.kind == NoteKind::kExpired;
      const auto it = closed && note.client ? clients_.find(*note.client) : clients_.end();
      if (it != clients_.end() && it->second.giving && it->second.giving->id == note.directive) {
        it->second.giving.reset();
      }
      returned_ += closed && note.bytes > 0;
      braked_ += note.kind == NoteKind::kBraking;
    }
    for (const Directive& directive : decisions.directives) {
      if (KindOf(directive.action) < ActionKind::kRelease) continue;
      clients_.at(directive.client).giving = directive;
      ++asked_;
    }
    for (const SetFreeze& freeze : decisions.freezes) froze_ += freeze.on;
  }

  Random random_;
  Node node_;
  Policy policy_ = testing::Enforcing();
  Invariants invariants_;
  bool enforcing_ = true;
  int next_name_ = 0;
  int asked_ = 0, returned_ = 0, braked_ = 0, froze_ = 0;
  std::map<CgroupId, Cgroup> cgroups_;
  std::map<ClientId, Client> clients_;
};

class RandomStories : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(RandomStories, KeepTheInvariantsAndAreToldTheSameTwice) {
  constexpr int kTicks = 10000;
  std::string first, second;
  Story story(GetParam()), again(GetParam());
  for (int tick = 0; tick < kTicks; ++tick) {
    SCOPED_TRACE(absl::StrCat("tick ", tick));
    first.clear();
    second.clear();
    story.Step(&first);
    again.Step(&second);
    ASSERT_EQ(first, second);
    if (HasFailure()) return;
  }
  // The story was not a dull one.
  EXPECT_GT(story.asked(), 100);
  EXPECT_GT(story.returned(), 20);
  EXPECT_GT(story.braked(), 5);
  EXPECT_GT(story.froze(), 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomStories, ::testing::Values(1, 20, 300));

}  // namespace
}  // namespace memgov::core
