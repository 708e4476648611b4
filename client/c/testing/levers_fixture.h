// For tests of the levers on real allocators, in programs of their own (puppet.c).

#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "client/c/testing/fake_governor.h"
#include "client/c/testing/puppet_process.h"

namespace memgov::testing {

inline constexpr std::uint64_t kMiB = 1 << 20;

// A puppet, and a governor that it attaches to.
class LeversTest : public ::testing::Test {
 protected:
  // Starts a puppet's agent and waits until it is welcomed.
  v1::Hello Attach(PuppetProcess& puppet) {
    EXPECT_EQ(puppet.Call("start " + directory_.path()), "0");
    EXPECT_TRUE(governor_.WaitFor([](const auto& heard) { return heard.hellos.size() == 1; }));
    return governor_.heard().hellos.back();
  }

  // Waits for a new report that satisfies; an empty one when patience ends.
  template <typename Predicate>
  v1::Report WaitForReport(Predicate satisfies) {
    const std::size_t before = governor_.heard().reports.size();
    v1::Report found;
    EXPECT_TRUE(governor_.WaitFor([&](const auto& heard) {
      if (heard.reports.size() > before) found = heard.reports.back();
      return heard.reports.size() > before && satisfies(found);
    })) << "the last report was: "
        << governor_.heard().reports.back().ShortDebugString();
    return found;
  }

  v1::Report WaitForRetained(std::uint64_t at_least, std::uint64_t at_most) {
    return WaitForReport([=](const v1::Report& report) {
      return report.retained_bytes() >= at_least && report.retained_bytes() <= at_most;
    });
  }

  SocketDirectory directory_;
  FakeGovernor governor_{directory_.path(), {.report_every_ms = 200}};
};

inline std::int64_t Returned(const v1::Outcome& outcome) {
  return static_cast<std::int64_t>(outcome.before_bytes()) - static_cast<std::int64_t>(outcome.after_bytes());
}

}  // namespace memgov::testing
