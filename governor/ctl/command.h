// What the subcommands of memgovctl share. Each lives in a file of its own, adds itself to the application,
// and does its work in the callback.

#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace memgov::ctl {

// Exit codes; each command's --help says what 0 and 1 mean for it.
inline constexpr int kYes = 0;
inline constexpr int kNo = 1;
inline constexpr int kCannot = 2;  // bad flags, nothing to read

// Each adds one subcommand. `exit_code` is set when it runs.
void AddReplay(CLI::App* app, int* exit_code);
void AddJournal(CLI::App* app, int* exit_code);
void AddPolicy(CLI::App* app, int* exit_code);
void AddSimulate(CLI::App* app, int* exit_code);

// Prints "memgovctl: `what`" on stderr. Returns kCannot.
int Fail(const std::string& what);

// `text` in bold or red, on a terminal only.
std::string Bold(const std::string& text);
std::string Red(const std::string& text);

}  // namespace memgov::ctl
