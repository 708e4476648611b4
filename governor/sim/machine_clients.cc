// The clients' half of the machine: what they report, and what they do when they are asked.

#include <algorithm>

#include "governor/sim/machine.h"

namespace memgov::sim {
namespace {

using core::ActionKind;
using core::ClientId;
using core::EstimateKind;
using core::OutcomeStatus;

constexpr double kJobStep = 32 * kMiBf;  // given back so much at a time
constexpr double kLie = 256 * kMiBf;
constexpr double kFixedSeconds = 0.003;  // a request that finds nothing
constexpr Range kSlowness{0.4, 3};
constexpr auto kHeld = std::chrono::seconds(30);  // a soft limit that follows a collection
constexpr double kDies = 0.3;  // the chance that a dying client's connection breaks at a request
// When its client tries again after a session that was welcomed.
constexpr Range kReconnects{0.075, 0.1};

core::Capabilities CapabilitiesOf(const ServicePlan& plan) {
  core::Capabilities can;
  switch (plan.heap) {
    case Heap::kAllocator:
    case Heap::kLazy:
      can.set_release_mode = true;
      can.release = true;
      can.release_in_chunks = plan.in_chunks;
      can.retroactive = true;
      break;
    case Heap::kTrim:
      can.release = true;
      break;
    case Heap::kCollected:
      can.collect = true;
      can.set_soft_limit = true;
      break;
    case Heap::kCaches:
      can.shed = true;
      break;
    case Heap::kPlain:
      break;
  }
  return can;
}

}  // namespace

std::optional<core::CgroupId> Machine::HomeOf(ClientId client) const {
  const auto it = service_of_.find(client);
  if (it == service_of_.end()) return std::nullopt;
  return CgroupOf(it->second);
}

std::string Machine::NameOf(ClientId client) const {
  const auto it = service_of_.find(client);
  return it == service_of_.end() ? std::string() : scenario_.services[At(it->second)].name;
}

void Machine::Attach(int service) {
  Client& client = clients_[At(service)];
  if (client.attached || !Group(CgroupOf(service)).alive || !processes_[At(service)].running()) return;
  const ServicePlan& plan = scenario_.services[At(service)];
  client.id = ClientId{next_client_++};
  client.attached = true;
  service_of_[client.id] = service;
  governor_.OnClient(core::ClientAttached{.client = client.id,
                                          .cgroup = CgroupOf(service),
                                          .pid = service + 1000,
                                          .name = plan.name,
                                          .runtime = plan.heap == Heap::kCollected ? "go" : "native",
                                          .capabilities = CapabilitiesOf(plan)});
  Report(service);
}

void Machine::Detach(int service) {
  Client& client = clients_[At(service)];
  ++client.life;
  client.waiting.clear();
  client.busy = false;
  if (!client.attached) return;
  client.attached = false;
  service_of_.erase(client.id);
  governor_.OnClient(core::ClientDetached{client.id});
}

void Machine::Report(int service) {
  Client& client = clients_[At(service)];
  if (!client.attached) return;
  const ServicePlan& plan = scenario_.services[At(service)];
  const Process& process = Settled(service);
  core::ClientReport report{.client = client.id,
                            .received_at = now_,
                            .live = static_cast<Bytes>(process.live()),
                            .retained = static_cast<Bytes>(process.retained() / plan.worth),
                            .retained_kind = plan.estimate,
                            .lazily_freed = static_cast<Bytes>(process.lazy()),
                            .soft_limit = process.soft_limit()};
  if (plan.heap == Heap::kCollected) {
    report.live = static_cast<Bytes>(process.marked());
    report.retained = static_cast<Bytes>(process.unmarked());
    report.retained_kind = process.HeapEstimate();
  }
  if (plan.heap == Heap::kTrim || plan.heap == Heap::kCaches) report.retained_kind = EstimateKind::kNone;
  if (plan.manner == Manner::kLying) report.retained += static_cast<Bytes>(kLie);
  if (report.retained_kind == EstimateKind::kNone) report.retained = 0;
  governor_.OnClient(report);
  Put(now_ + kReportEvery, What::kReport, service, client.life);
}

void Machine::Send(const core::Directive& directive) {
  const auto it = service_of_.find(directive.client);
  if (it == service_of_.end()) return;
  int index = 0;
  if (free_jobs_.empty()) {
    index = static_cast<int>(jobs_.size());
    jobs_.emplace_back();
  } else {
    index = free_jobs_.back();
    free_jobs_.pop_back();
  }
  const double asked = GivesMemory(directive.action) ? static_cast<double>(BytesOf(directive.action)) : 0;
  jobs_[At(index)] = {
      .directive = directive, .service = it->second, .life = clients_[At(it->second)].life, .asked = asked};
  if (asked > 0) ++tally_.requests;
  tally_.asked += asked;
  double delay = Delay(kMessageDelay);
  if (scenario_.services[At(it->second)].manner == Manner::kSlow) delay += Delay(kSlowness);
  Put(now_ + Seconds(delay), What::kArrival, index);
}

void Machine::OnArrival(int index) {
  Job& job = jobs_[At(index)];
  Client& client = clients_[At(job.service)];
  if (job.life != client.life || !client.attached) return free_jobs_.push_back(index);
  switch (scenario_.services[At(job.service)].manner) {
    case Manner::kSilent:
      return free_jobs_.push_back(index);
    case Manner::kRefusing:
      return EndJob(index, OutcomeStatus::kDeclined, 0, "not now");
    case Manner::kLying:
      return EndJob(index, OutcomeStatus::kDone, job.asked, "");
    case Manner::kDying:
      if (random_.Chance(kDies)) {
        free_jobs_.push_back(index);
        Detach(job.service);
        return Put(now_ + Seconds(Delay(kReconnects)), What::kAttach, job.service, client.life);
      }
      break;
    default:
      break;
  }
  Begin(index);
}

void Machine::Begin(int index) {
  Job& job = jobs_[At(index)];
  const Process& process = Settled(job.service);
  job.began = now_;
  job.before = process.usage();
  const Instant until = now_ + job.directive.ttl;
  switch (KindOf(job.directive.action)) {
    case ActionKind::kSetSoftLimit:
      Alter(job.service,
            [&](Process& to) { to.SetSoftLimit(static_cast<double>(BytesOf(job.directive.action)), until); });
      return EndJob(index, OutcomeStatus::kDone, 0, "");
    case ActionKind::kSetReleaseMode:
      if (std::get<core::SetReleaseMode>(job.directive.action).mode == core::ReleaseMode::kEager) {
        Alter(job.service, [&](Process& to) { to.SetEager(until); });
      }
      return EndJob(index, OutcomeStatus::kDone, 0, "");
    case ActionKind::kCollect: {
      ++tally_.collections;
      const double mark = kCollectFixed + process.live() / kGiBf * kMarkPerGiB;
      Alter(job.service, [&](Process& to) { to.Lose(mark * kGcShareOfCpus); });
      job.left = std::max(process.retained() - process.live() / 20, 0.0);
      return Put(now_ + Seconds(mark), What::kJob, index);
    }
    case ActionKind::kShed:
      job.left = std::min(job.asked, process.cache());
      break;
    default:
      // One that cannot stop at a target, or cannot tell, gives all it has.
      job.left = process.retained() / process.plan().worth;
      if (process.plan().in_chunks) job.left = std::min(job.asked, job.left);
      break;
  }
  Put(now_ + Seconds(kFixedSeconds), What::kJob, index);
}

void Machine::StepJob(int index) {
  Job& job = jobs_[At(index)];
  if (job.life != clients_[At(job.service)].life) return free_jobs_.push_back(index);
  const double step = std::min(job.left, kJobStep);
  double gone = 0;
  Alter(job.service, [&](Process& process) {
    if (KindOf(job.directive.action) == ActionKind::kShed) {
      gone = process.Shed(step);
    } else {
      gone = process.Release(step);
    }
    // The pages are touched again one day.
    process.Lose(gone / kGiBf * (kReleasePerGiB + kTouchAgainPerGiB));
  });
  tally_.returned += gone;
  job.left -= step;
  if (step > 0 && gone > 0 && job.left > kPage) {
    return Put(now_ + Seconds(step / kGiBf * kReleasePerGiB), What::kJob, index);
  }
  if (KindOf(job.directive.action) == ActionKind::kCollect) {
    Alter(job.service, [](Process& process) { process.MarkLive(); });
  }
  EndJob(index, OutcomeStatus::kDone, std::max(job.before - Settled(job.service).usage(), 0.0), "");
}

void Machine::EndJob(int index, OutcomeStatus status, double claimed, const std::string& why) {
  const Job& job = jobs_[At(index)];
  const double before = std::max(job.before, claimed);
  const core::ClientOutcome outcome{.client = job.directive.client,
                                    .directive = job.directive.id,
                                    .received_at = now_,
                                    .status = status,
                                    .why = why,
                                    .before = static_cast<Bytes>(before),
                                    .after = static_cast<Bytes>(before - claimed),
                                    .wall = job.began == Instant{} ? Duration{} : now_ - job.began};
  free_jobs_.push_back(index);
  governor_.OnClient(outcome);
}

bool Machine::Answers(int service) const {
  const Manner manner = scenario_.services[At(service)].manner;
  return manner == Manner::kHonest || manner == Manner::kSlow || manner == Manner::kDying;
}

bool Machine::WouldGive(int service) const { return Answers(service) && clients_[At(service)].attached; }

double Machine::TakeSpare(int service, double bytes) {
  double gone = 0;
  Alter(service, [&](Process& process) {
    bytes = std::min(bytes, process.Spare());
    if (process.plan().heap == Heap::kCaches) {
      gone = process.Shed(bytes);
    } else {
      gone = process.Release(bytes / process.plan().worth);
    }
    process.Lose(gone / kGiBf * (kReleasePerGiB + kTouchAgainPerGiB));
    if (process.plan().heap == Heap::kCollected) {
      process.SetSoftLimit(process.live() + process.retained(), now_ + kHeld);
    }
  });
  if (gone <= 0) return 0;
  ++tally_.requests;
  tally_.asked += gone;
  tally_.returned += gone;
  return gone;
}

void Machine::SetFixedLimit(int service, double bytes) {
  Alter(service, [bytes](Process& process) { process.SetFixedLimit(bytes); });
}

void Machine::Start(const core::Reclaim& request) {
  reclaims_.push_back(request);
  const double most = SecondsOf(request.longest) / kPageOutPerGiB * kGiBf;
  const double seconds = std::min(static_cast<double>(request.bytes), most) / kGiBf * kPageOutPerGiB;
  Put(now_ + Seconds(seconds + kFixedSeconds), What::kReclaim, static_cast<int>(reclaims_.size()) - 1);
}

void Machine::FinishReclaim(int index) {
  const core::Reclaim request = reclaims_[At(index)];
  Cgroup& cgroup = Group(request.cgroup);
  if (!cgroup.alive) return;
  SettleGroup(cgroup);
  const double before = cgroup.usage;
  double left =
      std::min(static_cast<double>(request.bytes), SecondsOf(request.longest) / kPageOutPerGiB * kGiBf);
  if (request.lever == core::ReclaimLever::kReclaim) {
    left -= TakeBack(request.cgroup, left);
  } else {
    for (const int service : cgroup.services) {
      if (left <= 0 || Settled(service).lazy() < kPage) continue;
      Alter(service, [&](Process& process) { left -= process.TakeLazy(left); });
    }
  }
  SettleGroup(cgroup);
  governor_.OnReclaimed({.id = request.id,
                         .finished_at = now_,
                         .before = static_cast<Bytes>(before),
                         .after = static_cast<Bytes>(cgroup.usage)});
}

}  // namespace memgov::sim
