// What a peer sends before an HTTP/2 library sees it. In whatever pieces the bytes come the guard says the
// same, and once it has refused it stays so.

#include <chrono>

#include "governor/base/frame_guard.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using memgov::fuzz::Require;
  const memgov::core::Instant now{std::chrono::seconds(1000)};
  memgov::fuzz::Pieces pieces(memgov::fuzz::Text(data, size));
  const std::size_t most = 1 + pieces.Number();
  const std::string_view bytes = pieces.Take(size);

  memgov::base::FrameGuard whole;
  const absl::Status at_once = whole.Take({bytes.data(), bytes.size()}, now);
  memgov::base::FrameGuard cut;
  absl::Status in_pieces;
  for (memgov::fuzz::Pieces rest(bytes); !rest.empty() && in_pieces.ok();) {
    const std::string_view piece = rest.Take(most);
    in_pieces = cut.Take({piece.data(), piece.size()}, now);
  }
  Require(at_once == in_pieces, "pieces do not matter");
  Require(whole.frames() <= size / 9 + 1, "a frame takes nine bytes");
  if (!in_pieces.ok()) Require(cut.Take("", now) == in_pieces, "a refusal stays");
  return 0;
}
