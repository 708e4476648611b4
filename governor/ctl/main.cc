// memgovctl: what operators ask of memgov. Flags and words only; the work is in the rooms.

#include <unistd.h>

#include <cstdio>
#include <exception>
#include <iostream>

#include "governor/core/printable.h"
#include "governor/ctl/command.h"

namespace memgov::ctl {
namespace {

std::string Painted(const char* colour, const std::string& text) {
  static const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  return terminal ? "\033[" + std::string(colour) + "m" + text + "\033[0m" : text;
}

}  // namespace

int Fail(const std::string& what) {
  std::cerr << "memgovctl: " << core::PrintableLines(what) << "\n";
  return kCannot;
}

std::string Bold(const std::string& text) { return Painted("1", text); }
std::string Red(const std::string& text) { return Painted("31", text); }

}  // namespace memgov::ctl

namespace {

int Main(int argc, char** argv) {
  CLI::App app("memgovctl asks memgov what it did and why, and what another policy would do.", "memgovctl");
  app.set_version_flag("--version", "memgovctl " MEMGOV_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  memgovctl replay /var/lib/memgov/journal\n"
      "  memgovctl replay --policy new.yaml /var/lib/memgov/journal\n"
      "  memgovctl journal --json /var/lib/memgov/journal\n"
      "  memgovctl simulate --policy new.yaml\n"
      "  memgovctl policy check new.yaml\n\n"
      "Exit codes: 0 yes, 1 no (each command says of what), 2 it could not be done.");
  int exit_code = 0;
  memgov::ctl::AddReplay(&app, &exit_code);
  memgov::ctl::AddJournal(&app, &exit_code);
  memgov::ctl::AddPolicy(&app, &exit_code);
  memgov::ctl::AddSimulate(&app, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? memgov::ctl::kYes : memgov::ctl::kCannot;
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const std::exception& error) {  // of the library that reads the flags
    std::fprintf(stderr, "memgovctl: %s\n", error.what());
    return memgov::ctl::kCannot;
  }
}
