#include "governor/core/serialised.h"

#include <sstream>
#include <variant>

#include "governor/core/explain.h"
#include "governor/core/words.h"

namespace memgov::core {
namespace {

void Put(std::ostream& out, const Reason& reason) {
  out << " reason " << reason.rule << ' ' << NameOf(reason.signal) << ' ' << reason.observed << ' '
      << reason.threshold << ' ' << reason.held.count();
}

std::uint64_t Number(Instant at) { return static_cast<std::uint64_t>(at.time_since_epoch().count()); }

}  // namespace

std::string Serialised(const Decisions& decisions) {
  std::ostringstream out;
  out.precision(17);
  for (const Directive& d : decisions.directives) {
    out << "directive " << static_cast<std::uint64_t>(d.id) << " to " << static_cast<std::uint64_t>(d.client)
        << " for " << static_cast<std::uint32_t>(d.domain) << ' ' << NameOf(d.level) << ' '
        << d.deadline.count() << ' ' << d.ttl.count() << ' ' << NameOf(d.action);
    std::visit(
        [&out](const auto& action) {
          if constexpr (requires { action.bytes; }) out << ' ' << action.bytes;
          if constexpr (requires { action.longest_stall; }) out << ' ' << action.longest_stall.count();
          if constexpr (requires { action.mode; }) out << ' ' << static_cast<int>(action.mode);
        },
        d.action);
    Put(out, d.reason);
    out << '\n';
  }
  for (const Reclaim& r : decisions.reclaims) {
    out << "reclaim " << static_cast<std::uint64_t>(r.id) << ' ' << static_cast<std::uint32_t>(r.cgroup)
        << ' ' << static_cast<std::uint32_t>(r.domain) << ' ' << NameOf(r.lever) << ' ' << r.bytes << ' '
        << r.longest.count();
    Put(out, r.reason);
    out << '\n';
  }
  for (const SetPressureAlarm& a : decisions.pressure_alarms) {
    out << "pressure_alarm " << static_cast<std::uint32_t>(a.cgroup) << ' ' << a.on << '\n';
  }
  for (const SetFreeze& f : decisions.freezes) {
    out << "freeze " << static_cast<std::uint32_t>(f.cgroup) << ' ' << f.on << '\n';
  }
  for (const SetWire& w : decisions.wires) {
    out << "wire " << static_cast<std::uint32_t>(w.cgroup) << ' ' << w.at.value_or(-1) << ' ' << w.brake
        << '\n';
  }
  for (const SetCadence& c : decisions.cadences) {
    out << "cadence " << static_cast<std::uint32_t>(c.cgroup) << ' ' << c.usage_every.count() << ' '
        << c.stat_every.count() << '\n';
  }
  for (const Note& n : decisions.notes) {
    out << "note " << NameOf(n.kind) << ' ' << Number(n.at) << ' ' << static_cast<std::uint32_t>(n.domain)
        << ' ' << static_cast<std::uint32_t>(n.cgroup.value_or(CgroupId{0})) << ' '
        << static_cast<std::uint64_t>(n.client.value_or(ClientId{0})) << ' '
        << static_cast<std::uint64_t>(n.directive.value_or(DirectiveId{0})) << ' ' << n.action << ' '
        << n.bytes << ' ' << n.usage << ' ' << n.limit.value_or(-1) << ' '
        << n.took.value_or(Duration(-1)).count() << ' ' << n.text;
    Put(out, n.reason);
    if (n.kill) out << " kill " << n.kill->domain << ' ' << n.kill->cgroup << ' ' << n.kill->count;
    out << '\n';
  }
  for (const CgroupId id : decisions.read_now) out << "read_now " << static_cast<std::uint32_t>(id) << '\n';
  if (decisions.next_tick) out << "next_tick " << Number(*decisions.next_tick) << '\n';
  return out.str();
}

}  // namespace memgov::core
