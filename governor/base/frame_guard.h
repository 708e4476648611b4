// Bounds what one connection may make an HTTP/2 library do and hold, before the library sees a byte.
//
// A peer of ours speaks one gRPC call of small messages; HTTP/2 allows much more, and each of its frames is a
// known way to make a server work or remember for free: streams that are reset at once, header blocks that
// never end, floods of SETTINGS, PING, WINDOW_UPDATE, PRIORITY, empty DATA. The guard reads frame headers
// only (RFC 9113, section 4.1) and counts: what is unusual has a small burst and a slow rate, what is never
// needed is refused at once. The limits are some ten times what the C core, grpc-go, grpc++ and grpcio send.
//
// What it leaves to the library: whether frames make sense. What it leaves to the caller: how fast DATA may
// come, because there the answer is to read later and not to end the connection.
//
// Pure: bytes and time come in. Not thread-safe.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "governor/base/token_bucket.h"
#include "governor/core/units.h"

namespace memgov::base {

class FrameGuard {
 public:
  // What HTTP/2 sends unless the server allows more.
  static constexpr std::size_t kMaxFrame = 16384;
  // Of one header block, compressed. A call's has about 200 bytes.
  static constexpr std::size_t kMaxHeaderBlock = 8192;
  static constexpr int kMaxContinuations = 4;  // of one header block

  // Takes the next bytes of the connection, in pieces of any size, at `now`. Not OK: the connection must end
  // and no byte of this piece may go on; the message says what there was too much of. INVALID_ARGUMENT: not
  // HTTP/2 as a client speaks it; RESOURCE_EXHAUSTED: too much of something. Later calls say the same again.
  absl::Status Take(absl::string_view bytes, core::Instant now);

  // Frames that began so far.
  std::uint64_t frames() const { return frames_; }

 private:
  static constexpr std::size_t kHeader = 9;  // bytes

  absl::Status Preface(absl::string_view* bytes);
  absl::Status Begin(core::Instant now);
  absl::Status HeaderBlock(bool ends, std::size_t length, bool begins);

  std::size_t preface_ = 0;  // bytes of the connection preface that have come
  std::array<unsigned char, kHeader> header_{};
  std::size_t header_size_ = 0;  // bytes of header_ that have come
  std::size_t payload_left_ = 0;
  std::uint64_t frames_ = 0;
  absl::Status refused_;

  bool in_block_ = false;  // a header block has begun and not ended
  std::size_t block_bytes_ = 0;
  int continuations_ = 0;

  // (a second, at once)
  base::TokenBucket calls_{2, 16};  // HEADERS, also of calls that are refused
  base::TokenBucket resets_{2, 16};
  base::TokenBucket settings_{1, 16};
  base::TokenBucket pings_{10, 64};  // grpc measures the bandwidth with them, one for a message at most
  base::TokenBucket window_updates_{50, 256};
  base::TokenBucket empty_data_{2, 16};
  base::TokenBucket others_{1, 16};  // PRIORITY, GOAWAY, and what is unknown
};

}  // namespace memgov::base
