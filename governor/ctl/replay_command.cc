// memgovctl replay: does the journal's engine decide again what it decided then?

#include <fmt/format.h>

#include <iostream>
#include <memory>

#include "governor/ctl/command.h"
#include "governor/journal/replay.h"

namespace memgov::ctl {
namespace {

struct Flags {
  std::string path;
  bool json = false;
};

int Replay(const Flags& flags) {
  const auto result = journal::Replay(flags.path);
  if (!result.ok()) return Fail(std::string(result.status().message()));
  for (const std::string& trouble : result->troubles) std::cout << "note: " << trouble << "\n";
  const double rate = static_cast<double>(result->ticks + result->unjudged_ticks) / result->seconds;
  if (result->unjudged_ticks > 0) {
    std::cout << fmt::format(
        "{} ticks, {} decisions, not judged: their beginning is missing, and what was learned in it; {} "
        "ticks differ\n",
        result->unjudged_ticks, result->unjudged_decisions, result->unjudged_different);
  }
  const std::string judged = fmt::format("{} ticks, {} decisions, ", result->ticks, result->decisions);
  if (result->difference.empty()) {
    std::cout << fmt::format("{}{} ({:.0f} ticks/s)\n", judged, "identical", rate);
    return kYes;
  }
  std::cout << fmt::format("{}{} ticks differ ({:.0f} ticks/s); the first:\n", judged, result->different, rate);
  for (const std::string& line : result->difference) std::cout << line << "\n";
  return kNo;
}

}  // namespace

void AddReplay(CLI::App* app, int* exit_code) {
  CLI::App* command = app->add_subcommand("replay", "decide again what a journal has recorded, and compare");
  auto flags = std::make_shared<Flags>();
  command->add_option("journal", flags->path, "the directory, or one segment of it")->required();
  command->callback([flags, exit_code] { *exit_code = Replay(*flags); });
}

}  // namespace memgov::ctl
