// memgovctl replay: does the engine decide again what it decided then, and what would another policy decide?

#include <fmt/format.h>

#include <iostream>
#include <iterator>
#include <memory>
#include <vector>

#include "governor/core/explain.h"
#include "governor/core/json.h"
#include "governor/core/printable.h"
#include "governor/ctl/command.h"
#include "governor/journal/compare.h"
#include "governor/journal/replay.h"
#include "governor/journal/show.h"
#include "governor/policy/loader.h"

namespace memgov::ctl {
namespace {

constexpr char kFooter[] = R"(
Without --policy the recorded inputs go through a fresh engine with the recorded policies, and every decision has
to be the same, byte for byte. What reaches back to a start of memgovd is judged. Where the oldest segments are
gone, or records could not be written, replay begins anew at the next keyframe: what was learned before is
missing there, decisions may differ at first, and nothing is judged.

With --policy the recorded inputs go through the new policy, and what it asks is put beside what was asked. The
recorded usage does not react: memory that only the new policy asks for does not leave, and what was given
leaves also if the new policy did not ask for it. Answers of clients go to the oldest open request of the same
kind to the same client; requests without one expire. And a cgroup was read when the recorded policy had a reason
to, so an earlier threshold is noticed at the next reading only. So read it for when, whom and how much, and use
`memgovctl simulate` for who would have lived.

Exit codes: 0 identical (with --policy: compared), 1 a decision differs, 2 there is nothing to read or to judge,
or the policy is bad.

Examples:
  memgovctl replay /var/lib/memgov/journal
  memgovctl replay --json journal/journal-00000007.mgj
  memgovctl replay --policy new.yaml /var/lib/memgov/journal
)";

using core::JsonString;

struct Flags {
  std::string path;
  std::string policy;
  bool json = false;
};

std::string ListOf(const std::vector<std::string>& items) {
  std::string list = "[";
  for (const std::string& item : items) list += (list == "[" ? "" : ", ") + JsonString(item);
  return list + "]";
}

double RateOf(std::uint64_t ticks, double seconds) {
  return seconds > 0 ? static_cast<double>(ticks) / seconds : 0;
}

void SayTroubles(const std::vector<std::string>& troubles) {
  for (const std::string& trouble : troubles) std::cerr << "memgovctl: " << core::Printable(trouble) << "\n";
}

// --- with the recorded policies

int Judge(const Flags& flags) {
  const auto result = journal::Replay(flags.path);
  if (!result.ok()) return Fail(std::string(result.status().message()));
  const bool judged = result->ticks > 0;
  const bool identical = result->different == 0;
  const int code = !judged ? kCannot : identical ? kYes : kNo;
  const double rate = RateOf(result->ticks + result->unjudged_ticks, result->seconds);
  if (flags.json) {
    std::cout << fmt::format(
        "{{\"identical\": {}, \"ticks\": {}, \"decisions\": {}, \"runs\": {}, \"different_ticks\": {}, "
        "\"difference\": {}, \"unjudged_ticks\": {}, \"unjudged_decisions\": {}, "
        "\"unjudged_different_ticks\": {}, \"versions\": {}, \"troubles\": {}, \"ticks_per_second\": "
        "{:.0f}}}\n",
        !judged     ? "null"
        : identical ? "true"
                    : "false",
        result->ticks, result->decisions, result->runs, result->different, ListOf(result->difference),
        result->unjudged_ticks, result->unjudged_decisions, result->unjudged_different,
        ListOf({result->versions.begin(), result->versions.end()}), ListOf(result->troubles), rate);
    return code;
  }
  SayTroubles(result->troubles);
  if (result->unjudged_ticks > 0) {
    std::cout << fmt::format(
        "{} ticks, {} decisions, not judged: what was learned before them is missing; {} of these ticks "
        "differ\n",
        result->unjudged_ticks, result->unjudged_decisions, result->unjudged_different);
  }
  if (!judged) {
    std::cout << "nothing to judge: no stretch reaches back to a start of memgovd\n";
    return code;
  }
  std::cout << fmt::format(
      "{} ticks, {} decisions, {} ({:.0f} ticks/s)\n", result->ticks, result->decisions,
      identical ? Bold("identical") : Red(fmt::format("{} ticks differ", result->different)), rate);
  if (identical) return code;
  for (const std::string& version : result->versions) {
    if (version == MEMGOV_VERSION) continue;
    std::cout << "written by memgov " << core::Printable(version) << ", replayed by " MEMGOV_VERSION << "\n";
  }
  std::cout << "the first that differs:\n";
  for (const std::string& line : result->difference) std::cout << core::Printable(line) << "\n";
  return code;
}

// --- with another policy

// Since the journal's beginning.
std::string TimeOf(const std::optional<core::Instant>& at, core::Instant begins) {
  if (!at) return "never";
  return fmt::format("{:+.3f} s", std::chrono::duration<double>(*at - begins).count());
}

std::string TextOf(const journal::Asked* asked) {
  if (asked == nullptr) return "-";
  std::string text;
  if (asked->requests > 0) text = fmt::format("{} x, {}", asked->requests, core::TextOf(asked->bytes));
  if (asked->would_requests > 0) {
    text += fmt::format("{}({} x, {})", text.empty() ? "" : " ", asked->would_requests,
                        core::TextOf(asked->would_bytes));
  }
  return text.empty() ? "-" : text;
}

std::string JsonOf(const journal::Asked& asked, core::Instant begins) {
  const std::string first =
      asked.first ? fmt::format("{:.6f}", std::chrono::duration<double>(*asked.first - begins).count())
                  : "null";
  return fmt::format(
      "{{\"requests\": {}, \"bytes\": {}, \"would_requests\": {}, \"would_bytes\": {}, \"first_s\": {}, "
      "\"whom\": {}}}",
      asked.requests, asked.bytes, asked.would_requests, asked.would_bytes, first,
      ListOf({asked.whom.begin(), asked.whom.end()}));
}

std::string JsonOf(const journal::Tally& tally, core::Instant begins) {
  std::string json = fmt::format(
      "{{\"needs\": {}, \"ended\": {}, \"kills\": {}, \"kills_asked\": {}, \"longest_lead_s\": {:.6f}, "
      "\"asked\": {}, \"containers\": {{",
      tally.needs, tally.ended, tally.kills, tally.kills_asked,
      std::chrono::duration<double>(tally.longest_lead).count(), JsonOf(tally.total, begins));
  for (const auto& [path, asked] : tally.containers) {
    fmt::format_to(std::back_inserter(json), "{}{}: {}", json.back() == '{' ? "" : ", ", JsonString(path),
                   JsonOf(asked, begins));
  }
  json += "}, \"notes\": {";
  for (const auto& [kind, count] : tally.notes) {
    fmt::format_to(std::back_inserter(json), "{}{}: {}", json.back() == '{' ? "" : ", ", JsonString(kind),
                   count);
  }
  return json + "}}";
}

void Row(std::string_view name, const std::string& recorded, const std::string& replayed) {
  const std::string line =
      fmt::format("{:<34} {:<30} {:<30}", name, core::Printable(recorded), core::Printable(replayed));
  std::cout << (recorded == replayed ? line : Bold(line)) << "\n";
}

std::string LeadOf(const journal::Tally& tally) {
  if (tally.kills_asked == 0) return "-";
  return fmt::format("{}, by {:.1f} s", tally.kills_asked,
                     std::chrono::duration<double>(tally.longest_lead).count());
}

void PrintContainers(const journal::Comparison& comparison) {
  const auto& left = comparison.recorded.containers;
  const auto& right = comparison.replayed.containers;
  std::set<std::string> paths;
  for (const auto* side : {&left, &right}) {
    for (const auto& [path, asked] : *side) paths.insert(path);
  }
  for (const std::string& path : paths) {
    const auto in_left = left.find(path);
    const auto in_right = right.find(path);
    const journal::Asked* recorded = in_left == left.end() ? nullptr : &in_left->second;
    const journal::Asked* replayed = in_right == right.end() ? nullptr : &in_right->second;
    const auto first = [&](const journal::Asked* asked) {
      return TimeOf(asked == nullptr ? std::nullopt : asked->first, comparison.begins);
    };
    const auto whom = [](const journal::Asked* asked) {
      return asked == nullptr ? std::string("-") : fmt::format("{}", fmt::join(asked->whom, ", "));
    };
    std::cout << core::Printable(path) << "\n";
    Row("  asked", TextOf(recorded), TextOf(replayed));
    Row("  first", first(recorded), first(replayed));
    Row("  whom", whom(recorded), whom(replayed));
  }
}

void PrintTable(const journal::Comparison& comparison, const std::string& policy) {
  const journal::Tally& left = comparison.recorded;
  const journal::Tally& right = comparison.replayed;
  const auto number = [](std::uint64_t count) { return fmt::format("{}", count); };
  std::cout << Bold(fmt::format("{:<34} {:<30} {:<30}", "", "recorded", policy)) << "\n";
  Row("needs", number(left.needs), number(right.needs));
  Row("  ended with nobody killed", number(left.ended), number(right.ended));
  Row("kills, recorded", number(left.kills), number(right.kills));
  Row("  asked before, by at most", LeadOf(left), LeadOf(right));
  Row("asked (or would have been)", TextOf(&left.total), TextOf(&right.total));
  Row("first", TimeOf(left.total.first, comparison.begins), TimeOf(right.total.first, comparison.begins));
  PrintContainers(comparison);
  std::cout << "notes\n";
  std::set<std::string> kinds;
  for (const auto* side : {&left.notes, &right.notes}) {
    for (const auto& [kind, count] : *side) kinds.insert(kind);
  }
  const auto count_of = [](const journal::Tally& tally, const std::string& kind) {
    const auto it = tally.notes.find(kind);
    return it == tally.notes.end() ? std::uint64_t{0} : it->second;
  };
  for (const std::string& kind : kinds) {
    Row("  " + kind, number(count_of(left, kind)), number(count_of(right, kind)));
  }
}

int CompareWith(const Flags& flags) {
  const auto policy = policy::LoadPolicy(flags.policy);
  if (!policy.ok()) return Fail(std::string(policy.status().message()));
  const auto comparison = journal::Compare(flags.path, *policy);
  if (!comparison.ok()) return Fail(std::string(comparison.status().message()));
  const double rate = RateOf(comparison->ticks, comparison->seconds);
  if (flags.json) {
    std::cout << fmt::format(
        "{{\"recorded\": {}, \"replayed\": {}, \"ticks\": {}, \"recorded_s\": {:.3f}, \"stretches\": {}, "
        "\"troubles\": {}, \"ticks_per_second\": {:.0f}}}\n",
        JsonOf(comparison->recorded, comparison->begins), JsonOf(comparison->replayed, comparison->begins),
        comparison->ticks, std::chrono::duration<double>(comparison->lasts).count(), comparison->stretches,
        ListOf(comparison->troubles), rate);
    return kYes;
  }
  SayTroubles(comparison->troubles);
  PrintTable(*comparison, flags.policy);
  std::cout << fmt::format(
      "{} ticks, {:.0f} s recorded in {} stretches ({:.0f} ticks/s); times since the first; "
      "the recorded usage does not react to the new policy (see --help)\n",
      comparison->ticks, std::chrono::duration<double>(comparison->lasts).count(), comparison->stretches,
      rate);
  return kYes;
}

}  // namespace

void AddReplay(CLI::App* app, int* exit_code) {
  CLI::App* command = app->add_subcommand(
      "replay", "decide again what a journal has recorded, with its policies or with another one");
  auto flags = std::make_shared<Flags>();
  command->add_option("journal", flags->path, "its directory, or one segment")->required()->type_name("DIR");
  command->add_option("--policy", flags->policy, "what this policy would have decided")->type_name("FILE");
  command->add_flag("--json", flags->json, "one object");
  command->footer(kFooter);
  command->callback(
      [flags, exit_code] { *exit_code = flags->policy.empty() ? Judge(*flags) : CompareWith(*flags); });
}

}  // namespace memgov::ctl
