// memgovctl policy check: everything that is wrong with a policy, before it is loaded.

#include <iostream>
#include <memory>
#include <string>

#include "governor/ctl/command.h"
#include "governor/policy/check.h"

namespace memgov::ctl {

void AddPolicy(CLI::App* app, int* exit_code) {
  CLI::App* policy = app->add_subcommand("policy", "work on policy files");
  policy->require_subcommand(1);
  policy->footer(
      "Examples:\n"
      "  memgovctl policy check policy.yaml\n"
      "  memgovctl policy check --help");
  CLI::App* check = policy->add_subcommand("check", "say all that is wrong with a policy");
  check->footer(
      "Each mistake stands on a line with file, line and column, and what may have been meant.\n\n"
      "Exit codes: 0 the policy is good, 1 it is not.\n\n"
      "Examples:\n"
      "  memgovctl policy check policy.yaml\n"
      "  memgovctl policy check /etc/memgov/policy.d");
  const auto path = std::make_shared<std::string>();
  check->add_option("PATH", *path, "a file, or a directory whose *.yaml files are one policy")->required();
  check->callback([path, exit_code] {
    const policy::CheckResult result = policy::CheckPolicy(*path);
    (result.ok ? std::cout : std::cerr) << result.text;
    *exit_code = result.ok ? kYes : kNo;
  });
}

}  // namespace memgov::ctl
