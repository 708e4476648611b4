// memgovctl journal: what a journal has recorded, a line a record.

#include <fmt/format.h>

#include <chrono>
#include <ctime>
#include <iostream>
#include <iterator>
#include <memory>

#include "governor/core/explain.h"
#include "governor/core/printable.h"
#include "governor/core/words.h"
#include "governor/ctl/command.h"
#include "governor/journal/reader.h"
#include "governor/journal/show.h"
#include "governor/journal/tally.h"

namespace memgov::ctl {
namespace {

constexpr char kFooter[] = R"(
Times are CLOCK_MONOTONIC in seconds, as in memgovd's log. As text each tick is one line with what came in and how
much was decided, and one more for each note; --json has every field (proto/memgov/v1/journal.proto), sizes in
bytes, times in seconds. Ticks in which nothing was noted are left out of the text without --all.

Exit codes: 0 all was read, 1 something could not be (stderr says what), 2 there is nothing to read.

Examples:
  memgovctl journal /var/lib/memgov/journal
  memgovctl journal --json /var/lib/memgov/journal | jq 'select(.tick.decisions.directives)'
)";

struct Flags {
  std::string path;
  bool json = false;
  bool all = false;
};

double SecondsOf(core::Instant at) { return std::chrono::duration<double>(at.time_since_epoch()).count(); }

std::string WallTimeOf(std::int64_t nanoseconds) {
  const auto seconds = static_cast<std::time_t>(nanoseconds / 1'000'000'000);
  std::tm utc{};
  char text[32] = "";
  if (::gmtime_r(&seconds, &utc) != nullptr) std::strftime(text, sizeof text, "%FT%TZ", &utc);
  return text;
}

class Printer {
 public:
  explicit Printer(bool all) : all_(all) {}

  void Print(const journal::Entry& entry, const journal::SegmentHeader& header) {
    const double now = SecondsOf(entry.record.now);
    if (const auto* keyframe = std::get_if<journal::Keyframe>(&entry.record.what)) {
      PrintKeyframe(now, *keyframe, *entry.link, header);
    } else if (const auto* tick = std::get_if<journal::Tick>(&entry.record.what)) {
      PrintTick(entry.record.now, *tick);
    } else if (const auto* policy = std::get_if<core::Policy>(&entry.record.what)) {
      std::cout << fmt::format("{:.6f} policy: {} rules\n", now, policy->rules.size());
    } else {
      const auto& levers = std::get<core::KernelLevers>(entry.record.what);
      std::cout << fmt::format("{:.6f} kernel levers: page_out {}, reclaim {}\n", now, levers.page_out,
                               levers.reclaim);
    }
  }

 private:
  void PrintKeyframe(double now, const journal::Keyframe& keyframe, journal::Link link,
                     const journal::SegmentHeader& header) {
    const char* how = link == journal::Link::kStart       ? "memgovd started"
                      : link == journal::Link::kContinues ? "goes on"
                                                          : "begins anew";
    std::cout << Bold(fmt::format("{:.6f} segment {} of {}: {}, {} cgroups, {} clients, memgov {}", now,
                                  header.sequence, WallTimeOf(header.opened_ns), how, keyframe.cgroups.size(),
                                  keyframe.clients.size(), core::Printable(header.memgov_version)))
              << "\n";
    if (keyframe.lost_ticks > 0) {
      std::cout << Red(fmt::format("  {} ticks before could not be recorded: {}", keyframe.lost_ticks,
                                   core::Printable(keyframe.lost_why)))
                << "\n";
    }
    if (link == journal::Link::kContinues) return;
    names_ = {};
    for (const journal::KnownCgroup& known : keyframe.cgroups) {
      names_.Learn({.appeared = {known.cgroup}}, {});
    }
    for (const journal::KnownClient& known : keyframe.clients) names_.Learn({}, {known.client});
  }

  void PrintTick(core::Instant now, const journal::Tick& tick) {
    names_.Learn(tick.snapshot, tick.events);
    const auto decisions = journal::DecodeDecisions(now, tick.decisions);
    if (!decisions.ok()) {
      std::cout << fmt::format("{:.6f} tick: its decisions: {}\n", SecondsOf(now),
                               std::string(decisions.status().message()));
      return;
    }
    if (!all_ && decisions->notes.empty()) return;
    std::cout << fmt::format("{:.6f} tick: {} samples, {} client events, {} decisions\n", SecondsOf(now),
                             tick.snapshot.samples.size(), tick.events.size(), journal::CountOf(*decisions));
    for (const core::Note& note : decisions->notes)
      std::cout << "  " << core::Printable(TextOf(note)) << "\n";
  }

  std::string TextOf(const core::Note& note) const {
    std::string text =
        fmt::format("{} {}", std::string_view(core::NameOf(note.kind)), names_.PathOf(note.domain));
    if (note.cgroup) text += " " + names_.PathOf(*note.cgroup);
    if (note.client) {
      const auto client = names_.clients.find(*note.client);
      if (client != names_.clients.end()) text += " " + client->second;
    }
    if (!note.action.empty()) text += " " + note.action;
    if (note.bytes != 0) text += " " + core::TextOf(note.bytes);
    if (!note.text.empty()) text += ": " + note.text;
    if (!note.reason.rule.empty()) text += "; " + core::TextOf(note.reason);
    return text;
  }

  const bool all_;
  journal::Names names_;
};

int Print(const Flags& flags) {
  auto reader = journal::Reader::Open(flags.path);
  if (!reader.ok()) return Fail(std::string(reader.status().message()));
  Printer printer(flags.all);
  while (const auto entry = reader->Next()) {
    if (flags.json) {
      std::cout << journal::JsonOf(entry->record) << "\n";
    } else {
      printer.Print(*entry, reader->header());
    }
  }
  for (const std::string& trouble : reader->troubles())
    std::cerr << "memgovctl: " << core::Printable(trouble) << "\n";
  return reader->troubles().empty() ? kYes : kNo;
}

}  // namespace

void AddJournal(CLI::App* app, int* exit_code) {
  CLI::App* command = app->add_subcommand("journal", "print what a journal has recorded");
  auto flags = std::make_shared<Flags>();
  command->add_option("journal", flags->path, "its directory, or one segment")->required()->type_name("DIR");
  command->add_flag("--json", flags->json, "one object a line, with every field");
  command->add_flag("--all", flags->all, "also ticks in which nothing was noted");
  command->footer(kFooter);
  command->callback([flags, exit_code] { *exit_code = Print(*flags); });
}

}  // namespace memgov::ctl
