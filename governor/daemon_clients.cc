// The daemon's side of clients: who may attach, whose process has died, and how a decision reads in the log.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "governor/core/explain.h"
#include "governor/daemon.h"

namespace memgov {
namespace {

// A connection that has not said Hello by then is gone, or the session room is about to end it.
constexpr auto kSilence = std::chrono::seconds(30);

double Milliseconds(core::Duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

}  // namespace

void Daemon::OnConnection(identity::AcceptedConnection connection) {
  session::Ticket ticket{.cookie = connection.cookie};
  if (connection.peer.ok()) {
    identity::AttestedPeer& attested = *connection.peer;
    ticket.pid = attested.peer.pid;
    ticket.cgroup = attested.peer.cgroup;
    ticket.container = attested.peer.container;
    owners_.insert_or_assign(connection.cookie, Owner{.pidfd = boost::asio::posix::stream_descriptor(
                                                          io_, attested.pidfd.Release()),
                                                      .accepted_at = clock_.Now(),
                                                      .client = std::nullopt});
  } else {
    ticket.refusal = connection.peer.status();
    log_->Warn(EventLine(clock_.Now(), "refused"),
               absl::StrCat("refused a connection: ", connection.peer.status().message()));
  }
  sessions_->Adopt(connection.fd.Release(), std::move(ticket));
}

std::optional<core::CgroupId> Daemon::Locate(const std::string& cgroup) {
  auto id = tree_.Innermost(cgroup);
  if (!id || tree_.PathOf(*id) != cgroup) {
    // A cgroup may be younger than our last look.
    Scan(clock_.Now(), &early_);
    id = tree_.Innermost(cgroup);
  }
  return id;
}

void Daemon::OnAttach(session::AttachRequest request) {
  const core::Instant now = clock_.Now();
  const auto owner = owners_.find(request.ticket.cookie);
  const auto cgroup = Locate(request.ticket.cgroup);
  EventLine line(now, cgroup ? "attached" : "refused");
  line.Add("client", static_cast<std::int64_t>(request.client))
      .Add("pid", std::int64_t{request.ticket.pid})
      .Add("name", request.name)
      .Add("cgroup", request.ticket.cgroup);
  const std::string who = absl::StrCat(request.name, " (pid ", request.ticket.pid, ")");
  if (!cgroup || owner == owners_.end()) {
    const std::string why =
        cgroup
            ? "the process that connected has exited"
            : absl::StrCat("cgroup ", request.ticket.cgroup, " is outside of what this governor watches (",
                           absl::StrJoin(options_.roots, ", "), "); start memgovd with --root to include it");
    sessions_->Refuse(request.client, absl::PermissionDeniedError(why));
    log_->Write(std::move(line), absl::StrCat("refused ", who, ": ", why));
    return;
  }
  names_[request.client] = {.pid = request.ticket.pid,
                            .name = request.name,
                            .cgroup = request.ticket.cgroup,
                            .container = request.ticket.container,
                            .cookie = request.ticket.cookie};
  owner->second.client = request.client;
  WatchOwner(request.ticket.cookie);

  const core::Rule& rule = core::RuleFor(policy_, request.ticket.cgroup);
  const bool enforcing = rule.mode == core::Mode::kEnforce;
  sessions_->Welcome(
      request.client,
      {.cgroup = request.ticket.cgroup, .container = request.ticket.container, .enforcing = enforcing});
  log_->Write(std::move(line),
              absl::StrCat("attached ", who, " in ", request.ticket.cgroup, ": ", request.runtime, ", ",
                           request.library, ", rule ", rule.name, enforcing ? " enforces" : " observes"));
  events_.emplace_back(core::ClientAttached{.client = request.client,
                                            .cgroup = *cgroup,
                                            .pid = request.ticket.pid,
                                            .name = request.name,
                                            .runtime = request.runtime,
                                            .capabilities = request.capabilities,
                                            .startup_release_mode = request.startup_release_mode});
  Wake();
}

void Daemon::OnOutcome(core::ClientOutcome outcome) {
  // The engine closes the request by a reading that is younger than the outcome.
  if (const auto name = names_.find(outcome.client); name != names_.end()) {
    if (const auto cgroup = tree_.Innermost(name->second.cgroup)) read_now_.insert(*cgroup);
  }
  events_.emplace_back(std::move(outcome));
  Wake();
}

void Daemon::OnDetached(core::ClientId client, const std::string& why) {
  const auto name = names_.find(client);
  if (name == names_.end()) return;  // was refused
  log_->Write(EventLine(clock_.Now(), "detached")
                  .Add("client", static_cast<std::int64_t>(client))
                  .Add("pid", std::int64_t{name->second.pid})
                  .Add("name", name->second.name)
                  .Add("cgroup", name->second.cgroup),
              absl::StrCat("detached ", name->second.name, " (pid ", name->second.pid, "): ", why));
  owners_.erase(name->second.cookie);
  names_.erase(name);
  events_.emplace_back(core::ClientDetached{client});
  Wake();
}

// A forked child can keep the connection of a dead process open; the pidfd tells.
void Daemon::WatchOwner(std::uint64_t cookie) {
  owners_.at(cookie).pidfd.async_wait(
      boost::asio::posix::stream_descriptor::wait_read,
      [this, cookie](const boost::system::error_code& error) {
        const auto owner = owners_.find(cookie);
        if (error || owner == owners_.end() || !owner->second.client) return;
        sessions_->Refuse(*owner->second.client, absl::AbortedError("the process that attached has exited"));
      });
}

void Daemon::ForgetSilentOwners(core::Instant now) {
  std::erase_if(owners_, [now](const auto& entry) {
    return !entry.second.client && now - entry.second.accepted_at > kSilence;
  });
}

// --- the record
// ----------------------------------------------------------------------------------------------

namespace {

// One sentence for people; JSON carries it as "text".
std::string SentenceOf(const core::Note& note, const std::string& domain, const std::string& who) {
  const std::string level =
      note.limit ? absl::StrCat(core::TextOf(note.usage), " of ", core::TextOf(*note.limit)) : "";
  const std::string asked =
      absl::StrCat(note.action, note.bytes > 0 ? absl::StrCat(" ", core::TextOf(note.bytes)) : std::string());
  const std::string took = note.took ? absl::StrFormat(" after %.1f ms", Milliseconds(*note.took)) : "";
  switch (note.kind) {
    case core::NoteKind::kWoke:
    case core::NoteKind::kCritical:
    case core::NoteKind::kRelaxed:
      return absl::StrCat(domain, " ", core::NameOf(note.kind), " at ", level, " (",
                          core::TextOf(note.reason), ")");
    case core::NoteKind::kAsked:
      return absl::StrCat("asked ", who, ": ", asked, " for ", domain, " (", core::TextOf(note.reason), ")");
    case core::NoteKind::kWouldAsk:
      return absl::StrCat("observing: would ask ", who, ": ", asked, " for ", domain, " (",
                          core::TextOf(note.reason), ")");
    case core::NoteKind::kReturned:
      return absl::StrCat(who, " returned ", core::TextOf(note.bytes), took, " (", note.action, "), ", domain,
                          " now ", level);
    case core::NoteKind::kDeclined:
      return absl::StrCat(who, " did not do ", note.action, took, ": ", note.text);
    case core::NoteKind::kExpired:
      return absl::StrCat(who, " did not answer ", note.action, took, ": ", note.text);
    case core::NoteKind::kWithheld:
      return absl::StrCat(domain, " lacks ", core::TextOf(note.bytes), ": ", note.text);
    case core::NoteKind::kBrakeArmed:
      return absl::StrCat(domain, " brake armed at ", core::TextOf(note.bytes), ": ", note.text);
    case core::NoteKind::kBraking:
    case core::NoteKind::kBrakeReleased:
      return absl::StrCat(domain,
                          note.kind == core::NoteKind::kBraking ? " braking at " : " brake let go at ", level,
                          ": ", note.text);
    case core::NoteKind::kOomKill:
      return absl::StrCat(note.text, " (usage ", core::TextOf(note.usage), ")");
  }
  return "";
}

}  // namespace

void Daemon::WriteNote(const core::Note& note) {
  const std::string domain = tree_.PathOf(note.domain);
  std::string who;
  EventLine line(note.at, core::NameOf(note.kind));
  line.Add("domain", domain);
  if (note.cgroup) line.Add("cgroup", tree_.PathOf(*note.cgroup));
  if (note.client) {
    line.Add("client", static_cast<std::int64_t>(*note.client));
    if (const auto name = names_.find(*note.client); name != names_.end()) {
      line.Add("pid", std::int64_t{name->second.pid}).Add("name", name->second.name);
      who = absl::StrCat(name->second.name, " (pid ", name->second.pid, ")");
    } else {
      who = absl::StrCat("client ", static_cast<std::uint64_t>(*note.client));
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
  log_->Write(std::move(line), SentenceOf(note, domain, who));
}

}  // namespace memgov
