// How a decision reads in the log: for people one sentence, for machines its fields as well.

#include <fmt/format.h>

#include "governor/core/explain.h"
#include "governor/core/words.h"
#include "governor/daemon.h"
#include "governor/identity/tenant.h"

namespace memgov {
namespace {

double Milliseconds(core::Duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

std::string SentenceOf(const core::Note& note, const std::string& domain, const std::string& who) {
  const std::string reason = core::TextOf(note.reason);
  const std::string bytes = core::TextOf(note.bytes);
  const std::string usage = core::TextOf(note.usage);
  const std::string level = note.limit ? fmt::format("{} of {}", usage, core::TextOf(*note.limit)) : usage;
  const std::string took = note.took ? fmt::format(" after {:.1f} ms", Milliseconds(*note.took)) : "";
  std::string asked = note.action;
  if (note.bytes > 0) asked += " " + bytes;
  if (!note.text.empty()) asked += " " + note.text;
  switch (note.kind) {
    case core::NoteKind::kWoke:
    case core::NoteKind::kCritical:
    case core::NoteKind::kRelaxed:
      return fmt::format("{} {} at {} ({})", domain, core::NameOf(note.kind), level, reason);
    case core::NoteKind::kAsked:
      return fmt::format("asked {}: {} for {} ({})", who, asked, domain, reason);
    case core::NoteKind::kWouldAsk:
      return fmt::format("observing: would ask {}: {} for {} ({})", who, asked, domain, reason);
    case core::NoteKind::kReturned:
      return fmt::format("{} returned {}{} ({}), {} is at {}", who, bytes, took, note.action, domain, level);
    case core::NoteKind::kDeclined:
      return fmt::format("{} did not do {}{}: {}", who, note.action, took, note.text);
    case core::NoteKind::kExpired:
      return fmt::format("{} did not answer {}{}: {}", who, note.action, took, note.text);
    case core::NoteKind::kWithheld:
      return fmt::format("{} lacks {}: {}", domain, bytes, note.text);
    case core::NoteKind::kUnsavable:
      return fmt::format("{} cannot be saved if it goes on like this: {}", domain, note.text);
    case core::NoteKind::kStalled:
      return note.text + fmt::format(" (usage {})", usage);
    case core::NoteKind::kBrakeArmed:
      return fmt::format("{} brake armed at {}: {}", domain, bytes, note.text);
    case core::NoteKind::kBraking:
      return fmt::format("{} braking at {}: {}", domain, level, note.text);
    case core::NoteKind::kBrakeReleased:
      return fmt::format("{} brake let go at {}: {}", domain, level, note.text);
    case core::NoteKind::kFrozen:
      return fmt::format("{} stands still for {} at {}: {}", who, domain, level, note.text);
    case core::NoteKind::kThawed:
      return fmt::format("{} goes on{}, {} is at {}: {}", who, took, domain, level, note.text);
    case core::NoteKind::kOomKill:
      return note.text;
  }
  return "";
}

void AddProcesses(const std::vector<core::ProcessSize>& processes, EventLine* line) {
  line->BeginArray("processes");
  for (const core::ProcessSize& process : processes) {
    line->BeginItem()
        .Add("pid", std::int64_t{process.pid})
        .Add("name", process.name)
        .Add("rss", process.rss)
        .EndObject();
  }
  line->EndArray();
}

}  // namespace

void Daemon::WriteKill(const core::Note& note) {
  core::KillReport kill = *note.kill;
  std::vector<core::ProcessSize> processes = ProcessesFor(kill);
  EventLine line(note.at, core::NameOf(note.kind));
  line.Add("domain", kill.domain).Add("cgroup", kill.cgroup);
  line.BoundBy(LogBudget::Cause::kDecision,
               identity::TenantOfCgroup(kill.cgroup.empty() ? kill.domain : kill.cgroup));
  line.Add("kills", static_cast<std::int64_t>(kill.count)).Add("usage", note.usage);
  if (note.limit) line.Add("limit", *note.limit);
  if (kill.victim) {
    line.BeginObject("victim")
        .Add("pid", std::int64_t{kill.victim->pid})
        .Add("name", kill.victim->name)
        .Add("cgroup", kill.cgroup)
        .EndObject();
  }
  AddProcesses(processes, &line);
  if (kill.victim) kill.victim->processes = std::move(processes);
  log_->Write(std::move(line), core::TextOf(kill));
}

void Daemon::AddFacts(const core::DomainFacts& facts, EventLine* line) const {
  line->BeginObject("memory").Add("pressing", facts.pressing).Add("growth_bytes_per_s", facts.growth);
  if (const auto& stat = facts.stat) {
    line->Add("anon", stat->anon)
        .Add("file", stat->file)
        .Add("shmem", stat->shmem)
        .Add("unevictable", stat->unevictable)
        .Add("inactive_file", stat->inactive_file)
        .Add("lazily_freed_at_least", facts.lazily_freed_at_least)
        .Add("lazily_freed_at_most", facts.lazily_freed_at_most);
    if (stat->slab) line->Add("slab", *stat->slab);
  }
  line->Add("swap_left", facts.swap_left).BeginArray("headroom");
  for (const core::DomainFacts::Headroom& level : facts.headroom) {
    line->BeginItem().Add("domain", tree_.PathOf(level.domain)).Add("bytes", level.bytes).EndObject();
  }
  line->EndArray().EndObject();
}

void Daemon::WriteNote(const core::Note& note) {
  if (note.kill) return WriteKill(note);
  const std::string domain = tree_.PathOf(note.domain);
  std::string who = "the kernel";  // for what is collected without a client
  EventLine line(note.at, core::NameOf(note.kind));
  line.Add("domain", domain);
  if (note.cgroup) line.Add("cgroup", tree_.PathOf(*note.cgroup));
  const bool freezes = note.kind == core::NoteKind::kFrozen || note.kind == core::NoteKind::kThawed;
  if (freezes) who = tree_.PathOf(*note.cgroup);
  // What the node itself comes to is told in any case.
  std::string tenant;
  if (note.domain != core::kNodeId) tenant = identity::TenantOfCgroup(domain);
  if (note.client) {
    line.Add("client", static_cast<std::int64_t>(*note.client));
    who = fmt::format("client {}", static_cast<std::uint64_t>(*note.client));
    if (const auto name = names_.find(*note.client); name != names_.end()) {
      line.Add("pid", std::int64_t{name->second.pid}).Add("name", name->second.name);
      tenant = name->second.tenant;
      who = fmt::format("{} (pid {})", name->second.name, name->second.pid);
    }
  }
  if (note.directive) line.Add("directive", static_cast<std::int64_t>(*note.directive));
  if (!note.action.empty()) line.Add("action", note.action);
  line.Add("bytes", note.bytes).Add("usage", note.usage);
  if (note.limit) line.Add("limit", *note.limit);
  if (note.took) line.Add("took_ms", Milliseconds(*note.took));
  if (!note.reason.rule.empty()) {
    line.BeginObject("reason")
        .Add("rule", note.reason.rule)
        .Add("signal", core::NameOf(note.reason.signal))
        .Add("observed", note.reason.observed)
        .Add("threshold", note.reason.threshold)
        .Add("held_ms", Milliseconds(note.reason.held))
        .EndObject();
  }
  if (!tenant.empty()) line.BoundBy(LogBudget::Cause::kDecision, std::move(tenant));
  if (note.facts) AddFacts(*note.facts, &line);
  log_->Write(std::move(line), SentenceOf(note, domain, who));
}

}  // namespace memgov
