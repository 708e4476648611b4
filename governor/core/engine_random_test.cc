// Ten thousand ticks of a node where everything happens: growth, lies, hangs, deaths, vanishing cgroups,
// changing limits and policies. Each tick keeps the invariants, and the same story told twice gives the same
// decisions.

#include <gtest/gtest.h>

#include <algorithm>

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
  }

  void Step(std::string* record) {
    node_.Pass(milliseconds(random_.OneIn(3) ? 0 : random_.Below(200)));
    MovePolicy();
    MoveCgroups();
    MoveClients();
    const Decisions decisions = node_.Tick(Due());
    Check(decisions);
    *record += testing::Serialised(decisions);
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
    Instant free_at;
  };
  struct Cgroup {
    std::optional<CgroupId> pod;
    std::string path;
    std::optional<Instant> braking_since;
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
    Policy policy = enforcing_ ? testing::Enforcing() : testing::Observing();
    policy.rules[0].wake.usage_percent = 81 + static_cast<double>(random_.Below(14));
    policy.rules[0].brake.freeze = !random_.OneIn(3);
    policy.rules[0].brake.at_percent = 70 + static_cast<double>(random_.Below(25));
    node_.engine().SetPolicy(policy);
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

  void Check(const Decisions& decisions) {
    // In the order in which they happened: what closed a client's request comes before its next one.
    for (const Note& note : decisions.notes) CheckNote(note, decisions);
    for (const Directive& directive : decisions.directives) CheckDirective(directive);
    for (const SetWire& wire : decisions.wires) {
      if (!wire.at) continue;
      EXPECT_TRUE(enforcing_);
      const CgroupSample& read = node_.last_read(wire.cgroup);
      EXPECT_GT(*wire.at, read.usage) << "armed below usage";
      EXPECT_LT(*wire.at, *read.limit) << "armed where it never rings";
      EXPECT_LT(node_.now() - read.taken_at, milliseconds(1)) << "armed from an old reading";
    }
    for (const SetFreeze& freeze : decisions.freezes) CheckFreeze(freeze);
    for (const auto& [id, since] : frozen_since_) {
      EXPECT_LE(node_.now() - since, milliseconds(500) + milliseconds(200));
    }
    if (decisions.next_tick) {
      EXPECT_GE(*decisions.next_tick, node_.now());
    }
    for (const auto& [id, cgroup] : cgroups_) {
      if (cgroup.braking_since) {
        EXPECT_LE(node_.now() - *cgroup.braking_since, seconds(10) + milliseconds(200));
      }
    }
  }

  void CheckFreeze(const SetFreeze& freeze) {
    if (!freeze.on) {
      EXPECT_EQ(frozen_since_.erase(freeze.cgroup), 1U) << "thawed, and was not frozen";
      return;
    }
    EXPECT_TRUE(enforcing_);
    EXPECT_TRUE(frozen_since_.emplace(freeze.cgroup, node_.now()).second) << "frozen twice";
    EXPECT_TRUE(std::none_of(clients_.begin(), clients_.end(), [&](const auto& client) {
      return client.second.cgroup == freeze.cgroup;
    })) << "a client cannot act while it stands still";
    ++froze_;
  }

  void CheckNote(const Note& note, const Decisions& decisions) {
    const auto cgroup = cgroups_.find(note.domain);
    switch (note.kind) {
      case NoteKind::kReturned:
      case NoteKind::kDeclined:
      case NoteKind::kExpired:
        if (const auto it = clients_.find(*note.client);
            it != clients_.end() && it->second.giving && it->second.giving->id == note.directive) {
          it->second.giving.reset();
          it->second.free_at = note.at + milliseconds(500);  // a tenth of the default cooldown
        }
        EXPECT_GE(note.bytes, 0);
        returned_ += note.bytes > 0;
        break;
      case NoteKind::kAsked:
        EXPECT_TRUE(std::any_of(decisions.directives.begin(), decisions.directives.end(),
                                [&](const Directive& d) { return d.id == note.directive; }));
        break;
      case NoteKind::kBraking:
        cgroup->second.braking_since = note.at;
        ++braked_;
        break;
      case NoteKind::kBrakeArmed:
      case NoteKind::kBrakeReleased:
        if (cgroup != cgroups_.end()) cgroup->second.braking_since.reset();
        break;
      default:
        break;
    }
  }

  void CheckDirective(const Directive& directive) {
    EXPECT_TRUE(enforcing_) << "observe mode sends nothing";
    EXPECT_FALSE(directive.reason.rule.empty());
    EXPECT_GT(directive.reason.threshold, 0);
    EXPECT_GE(directive.reason.held, Duration(0));
    EXPECT_GT(directive.deadline, Duration(0));
    EXPECT_GT(directive.ttl, Duration(0));
    EXPECT_GT(directive.id, last_directive_) << "ids are never reused";
    last_directive_ = directive.id;

    Client& client = clients_.at(directive.client);
    EXPECT_TRUE(client.cgroup == directive.domain || cgroups_.at(client.cgroup).pod == directive.domain)
        << "asked outside of the domain";
    if (KindOf(directive.action) < ActionKind::kRelease) return;
    ++asked_;
    EXPECT_FALSE(client.giving) << "two requests in flight";
    EXPECT_GE(node_.now(), client.free_at) << "asked within the cooldown";
    Bytes bytes = 0;
    std::visit(
        [&bytes](const auto& action) {
          if constexpr (requires { action.bytes; }) bytes = action.bytes;
        },
        directive.action);
    EXPECT_GE(bytes, kMiB);
    if (client.can_estimate && KindOf(directive.action) != ActionKind::kShed) {
      EXPECT_LE(bytes, client.retained) << "asked for more than reported";
    }
    client.giving = directive;
  }

  Random random_;
  Node node_;
  bool enforcing_ = true;
  int next_name_ = 0;
  DirectiveId last_directive_{0};
  int asked_ = 0, returned_ = 0, braked_ = 0, froze_ = 0;
  std::map<CgroupId, Cgroup> cgroups_;
  std::map<ClientId, Client> clients_;
  std::map<CgroupId, Instant> frozen_since_;
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
