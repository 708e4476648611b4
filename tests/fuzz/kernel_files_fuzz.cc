// Files of the kernel and of our own state, and the kernel's log, in which tasks and cgroups choose their
// names.

#include "governor/kernel/brake_state.h"
#include "governor/kernel/freezer.h"
#include "governor/kernel/kernel_log.h"
#include "governor/kernel/parse.h"
#include "governor/kernel/process_table.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace memgov::kernel;  // NOLINT(google-build-using-namespace): nearly all of it

void ReadAsMemoryFile(std::string_view text) {
  (void)ParseNumber(text);
  (void)ParseBytes(text);
  (void)ParseLimit(text);
  (void)ParseOomKills(text);
  (void)ParsePressure(text);
  (void)ParseMemInfo(text);
  for (const MemoryVersion version : {MemoryVersion::kV1, MemoryVersion::kV2}) {
    (void)ParseMemoryStat(version, text);
    (void)ParseProcessCgroup(version, text);
  }
}

void ReadAsState(std::string_view text) {
  std::vector<std::string> complaints;
  for (const BrakeMark& mark : ParseBrakeState(text, "brake.state", &complaints))
    memgov::fuzz::Require(mark.path.starts_with('/'), "a mark names a cgroup");
  for (const FreezeMark& mark : ParseFreezeState(text, "freeze.state", &complaints))
    memgov::fuzz::Require(mark.path.starts_with('/'), "a mark names a cgroup");
}

void ReadAsLog(std::string_view text) {
  OomStory story(4096);
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (const auto said = KernelText(line)) (void)story.Tell(*said);
    if (const auto killed = story.Tell(line))
      memgov::fuzz::Require(killed->processes.size() <= OomStory::kMostProcesses, "a bounded table");
    memgov::fuzz::Require(Unescaped(line).size() <= line.size(), "escapes are longer than what they mean");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = memgov::fuzz::Text(data, size);
  ReadAsMemoryFile(text);
  ReadAsState(text);
  ReadAsLog(text);
  return 0;
}
