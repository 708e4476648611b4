#include "governor/base/frame_guard.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace memgov::base {
namespace {

constexpr absl::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum FrameType : std::uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoaway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

constexpr std::uint8_t kEndStream = 0x1;   // of DATA and HEADERS
constexpr std::uint8_t kEndHeaders = 0x4;  // of HEADERS and CONTINUATION
constexpr std::size_t kMaxSettings = 32;   // entries of one frame
constexpr std::size_t kSettingsEntry = 6;  // bytes

absl::Status TooMuch(absl::string_view what) {
  return absl::ResourceExhaustedError(absl::StrCat("too many ", what));
}

absl::Status Within(base::TokenBucket& bucket, core::Instant now, absl::string_view what) {
  return bucket.Take(now) ? absl::OkStatus() : TooMuch(what);
}

}  // namespace

absl::Status FrameGuard::Take(absl::string_view bytes, core::Instant now) {
  if (refused_.ok()) refused_ = Preface(&bytes);
  while (refused_.ok() && !bytes.empty()) {
    const std::size_t skipped = std::min(payload_left_, bytes.size());
    payload_left_ -= skipped;
    bytes.remove_prefix(skipped);
    const std::size_t taken = std::min(kHeader - header_size_, bytes.size());
    std::memcpy(header_.data() + header_size_, bytes.data(), taken);
    header_size_ += taken;
    bytes.remove_prefix(taken);
    if (header_size_ == kHeader) {
      header_size_ = 0;
      refused_ = Begin(now);
    }
  }
  return refused_;
}

absl::Status FrameGuard::Preface(absl::string_view* bytes) {
  const std::size_t compared = std::min(kPreface.size() - preface_, bytes->size());
  if (bytes->substr(0, compared) != kPreface.substr(preface_, compared)) {
    return absl::InvalidArgumentError("not HTTP/2: the connection preface is wrong");
  }
  preface_ += compared;
  bytes->remove_prefix(compared);
  return absl::OkStatus();
}

absl::Status FrameGuard::Begin(core::Instant now) {
  ++frames_;
  const std::size_t length =
      std::size_t{header_[0]} << 16 | std::size_t{header_[1]} << 8 | std::size_t{header_[2]};
  const std::uint8_t type = header_[3];
  const std::uint8_t flags = header_[4];
  payload_left_ = length;
  if (length > kMaxFrame) {
    return absl::InvalidArgumentError(
        absl::StrCat("a frame of ", length, " bytes; at most ", kMaxFrame, " are allowed"));
  }
  if (in_block_ != (type == kContinuation)) {
    return absl::InvalidArgumentError(in_block_ ? "a header block that is interrupted by another frame"
                                                : "CONTINUATION without a header block");
  }
  switch (type) {
    case kData:
      if (length > 0 || (flags & kEndStream) != 0) return absl::OkStatus();
      return Within(empty_data_, now, "empty DATA frames");
    case kHeaders:
      if (absl::Status calls = Within(calls_, now, "calls"); !calls.ok()) return calls;
      return HeaderBlock((flags & kEndHeaders) != 0, length, /*begins=*/true);
    case kContinuation:
      return HeaderBlock((flags & kEndHeaders) != 0, length, /*begins=*/false);
    case kRstStream:
      return Within(resets_, now, "RST_STREAM frames");
    case kSettings:
      if (length > kMaxSettings * kSettingsEntry) return TooMuch("settings in one frame");
      return Within(settings_, now, "SETTINGS frames");
    case kPushPromise:
      return absl::InvalidArgumentError("PUSH_PROMISE, which no client may send");
    case kPing:
      return Within(pings_, now, "PING frames");
    case kWindowUpdate:
      return Within(window_updates_, now, "WINDOW_UPDATE frames");
    case kPriority:
    case kGoaway:
    default:
      return Within(others_, now, "frames that no client of memgov sends");
  }
}

absl::Status FrameGuard::HeaderBlock(bool ends, std::size_t length, bool begins) {
  if (begins) {
    block_bytes_ = 0;
    continuations_ = 0;
  } else if (++continuations_ > kMaxContinuations) {
    return TooMuch("CONTINUATION frames in one header block");
  }
  block_bytes_ += length;
  if (block_bytes_ > kMaxHeaderBlock) {
    return absl::ResourceExhaustedError(absl::StrCat("a header block of ", block_bytes_, " bytes; at most ",
                                                     kMaxHeaderBlock, " are allowed"));
  }
  in_block_ = !ends;
  return absl::OkStatus();
}

}  // namespace memgov::base
