// Asks bench_release_heap, through a session, for all it does not need, and prints what came of it as JSON.
//
//     bench_release_asker LIBRARY|none MIB random|contiguous SEED LONGEST_STALL_MS

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "client/c/testing/fake_governor.h"
#include "client/c/testing/puppet_process.h"

namespace {

using memgov::testing::FakeGovernor;
using memgov::testing::PuppetProcess;
namespace v1 = memgov::v1;

// The last report before we ask. glibc counts when the process has been quiet for a while.
v1::Report ReportOf(FakeGovernor& governor) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  v1::Report report;
  do {
    const std::size_t before = governor.heard().reports.size();
    if (!governor.WaitFor([&](const auto& heard) { return heard.reports.size() > before; })) break;
    report = governor.heard().reports.back();
  } while (report.retained_kind() == v1::ESTIMATE_KIND_NONE && std::chrono::steady_clock::now() < give_up);
  return report;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: %s LIBRARY|none MIB random|contiguous SEED LONGEST_STALL_MS\n", argv[0]);
    return 2;
  }
  const std::string library = argv[1];
  const memgov::testing::SocketDirectory directory;
  FakeGovernor governor(directory.path(), {.report_every_ms = 200});
  std::vector<std::string> environment;
  if (library != "none") environment.push_back("LD_PRELOAD=" + library);
  PuppetProcess heap("bench_release_heap", environment, {argv[2], argv[3], argv[4]});
  const std::string filled = heap.Call("start " + directory.path());
  if (heap.Answer() != "0" || !governor.WaitFor([](const auto& heard) { return heard.hellos.size() == 1; })) {
    std::fprintf(stderr, "bench_release_heap did not attach\n");
    return 1;
  }
  const v1::Report report = ReportOf(governor);
  heap.Call("probe");
  heap.Call("mark");
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const long quiet_us = heap.Number("mark");
  const v1::Outcome outcome =
      governor.Ask(memgov::testing::Release(1ull << 40, static_cast<std::uint32_t>(std::stoul(argv[5]))));
  const long stall_us = heap.Number("mark");
  const long rest = heap.Number("rest");
  if (outcome.status() != v1::Outcome::STATUS_DONE) {
    std::fprintf(stderr, "not released: %s\n", outcome.why().c_str());
    return 1;
  }
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "{\"runtime\":\"%s\",\"heap\":%s,\"estimate\":\"%s\",\"retained_bytes\":%llu,\"before_bytes\":%llu,"
      "\"after_bytes\":%llu,\"wall_us\":%llu,\"cpu_us\":%llu,\"quiet_stall_us\":%ld,\"stall_us\":%ld,"
      "\"rest_bytes\":%ld,\"why\":\"%s\"}\n",
      governor.heard().hellos.at(0).runtime().c_str(), filled.c_str(),
      v1::EstimateKind_Name(report.retained_kind()).c_str(), number(report.retained_bytes()),
      number(outcome.before_bytes()), number(outcome.after_bytes()), number(outcome.wall_us()),
      number(outcome.cpu_us()), quiet_us, stall_us, rest, outcome.why().c_str());
  return 0;
}
