// memgovctl journal: what a journal has recorded.

#include <fmt/format.h>

#include <iostream>
#include <memory>

#include "governor/ctl/command.h"
#include "governor/journal/reader.h"
#include "governor/journal/show.h"

namespace memgov::ctl {
namespace {

struct Flags {
  std::string path;
  bool json = false;
};

int Print(const Flags& flags) {
  auto reader = journal::Reader::Open(flags.path);
  if (!reader.ok()) return Fail(std::string(reader.status().message()));
  while (const auto entry = reader->Next()) std::cout << journal::JsonOf(entry->record) << "\n";
  for (const std::string& trouble : reader->troubles()) std::cerr << "memgovctl: " << trouble << "\n";
  return reader->troubles().empty() ? kYes : kNo;
}

}  // namespace

void AddJournal(CLI::App* app, int* exit_code) {
  CLI::App* command = app->add_subcommand("journal", "print what a journal has recorded");
  auto flags = std::make_shared<Flags>();
  command->add_option("journal", flags->path, "the directory, or one segment of it")->required();
  command->add_flag("--json", flags->json, "one object a line");
  command->callback([flags, exit_code] { *exit_code = Print(*flags); });
}

}  // namespace memgov::ctl
