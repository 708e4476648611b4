// What people do today, on the same simulated node: nothing, static limits, GOMEMLIMIT at 90 %, and the
// published policy of M3; and one who knows the future, to tell what could have been saved at all.

#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "governor/sim/governor.h"
#include "governor/sim/machine.h"

namespace memgov::sim {

class Nothing : public Governor {
 public:
  std::string_view name() const override { return "nothing"; }
  void Start(Machine&) override {}
};

// Each container that has no limit of its own gets one: its share of the limit above it, by its mean need.
class StaticLimits : public Governor {
 public:
  std::string_view name() const override { return "static"; }
  void Start(Machine& machine) override;
};

// Every collected heap gets 90 % of the innermost cgroup limit above it as its soft limit, once.
// (automemlimit's default; the same for each process of a container, because it does not see the others.)
class GoMemLimit : public Governor {
 public:
  std::string_view name() const override { return "gomemlimit"; }
  void Start(Machine& machine) override;
};

// Lion et al., "M3: End-to-End Memory Management in Elastic System Software Stacks", EuroSys 2021, as far as
// it is published: a poll each second, a low and a high threshold that move by 2 %, signals to the newest and
// largest until their assumed yield of 30 % covers the excess, everybody above the high threshold, and
// clients that ignore low signals above their duty cycle. M3 looks at the node alone; here each limit domain
// has its own monitor.
class M3 : public Governor {
 public:
  std::string_view name() const override { return "m3"; }
  void Start(Machine& machine) override;
  std::optional<Instant> Due() const override { return next_; }
  void Run(Instant now) override;
  void OnClient(const core::ClientEvent& event) override;

 private:
  struct Monitor {
    double low = 0.8, high = 0.9;  // of the limit
  };
  struct Application {
    core::ClientAttached info;
    double duty = 0;  // the most of its time that low signals may take
    Instant free_at;  // when its duty cycle allows the next
  };
  void Poll(core::CgroupId id, Monitor& monitor);
  void Signal(Application& application, core::CgroupId domain, bool high);
  bool IsBelow(core::CgroupId id, core::CgroupId above) const;
  double SizeOf(const Application& application) const;

  Machine* machine_ = nullptr;
  Instant next_;
  std::map<core::CgroupId, Monitor> monitors_;
  std::map<core::ClientId, Application> applications_;
  std::uint64_t next_directive_ = 1;
};

// Knows the future: when a domain is full it has just been given what it lacks, exactly that, from where it
// is cheapest. What dies here cannot be saved by asking.
class Oracle : public Governor {
 public:
  std::string_view name() const override { return "oracle"; }
  void Start(Machine& machine) override { machine_ = &machine; }
  double BeforeKill(core::CgroupId domain, double bytes) override;

 private:
  Machine* machine_ = nullptr;
};

}  // namespace memgov::sim
