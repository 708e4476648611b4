// A message of a client, as the session room takes it in: nothing absurd passes.

#include <algorithm>

#include "governor/session/wire.h"
#include "tests/fuzz/fuzz.h"

namespace {

using memgov::fuzz::Require;

bool Clean(std::string_view text) {
  return text.size() <= memgov::session::kMaxText &&
         std::none_of(text.begin(), text.end(), [](char c) { return c >= 0 && c < 0x20; });
}

struct Check {
  void operator()(const memgov::session::AttachRequest& request) const {
    Require(Clean(request.name) && Clean(request.runtime) && Clean(request.library), "short text to show");
  }
  void operator()(const memgov::core::ClientReport& report) const {
    const auto sane = [](memgov::core::Bytes bytes) {
      return bytes >= 0 && bytes <= static_cast<memgov::core::Bytes>(memgov::session::kMaxBytes);
    };
    Require(sane(report.live) && sane(report.retained), "sizes that can be added");
  }
  void operator()(const memgov::core::ClientOutcome& outcome) const {
    Require(Clean(outcome.why), "a short reason");
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  memgov::v1::ClientMessage message;
  if (!message.ParseFromArray(data, static_cast<int>(size))) return 0;
  const auto said = memgov::session::FromWire(message);
  if (said.ok()) {
    std::visit(Check{}, *said);
  } else {
    Require(!said.status().message().empty(), "a refusal has a reason");
  }
  return 0;
}
