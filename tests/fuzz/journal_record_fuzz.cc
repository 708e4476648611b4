// One record of a journal, past its checksum: what decodes is a record, also for those who show it.

#include "governor/journal/records.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view payload = memgov::fuzz::Text(data, size);
  const memgov::core::Instant now{std::chrono::seconds(1000)};
  const auto record = memgov::journal::DecodeRecord(now, payload);
  if (!record.ok())
    memgov::fuzz::Require(!record.status().message().empty(), "what is no record is refused with a reason");
  const auto decisions = memgov::journal::DecodeDecisions(now, payload);
  if (decisions.ok()) {
    const std::string once = memgov::journal::EncodeDecisions(now, *decisions);
    const auto again = memgov::journal::DecodeDecisions(now, once);
    memgov::fuzz::Require(again.ok() && memgov::journal::EncodeDecisions(now, *again) == once,
                          "equal decisions are equal bytes");
  }
  return 0;
}
