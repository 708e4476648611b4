#include "governor/base/grpc_connection.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace memgov::base {
namespace {

constexpr std::size_t kPrefix = 5;
constexpr std::size_t kMaxHeaders = 16384;     // bytes of all names and values, uncompressed
constexpr std::size_t kMostPath = 100;         // that is handed on
constexpr std::size_t kMostText = 512;         // of a grpc-message
constexpr std::uint32_t kMaxStreams = 4;       // calls at a time
constexpr std::size_t kMostAnswers = 64;       // frames that wait because the peer does not read
constexpr std::size_t kMostOutboundAcks = 64;  // SETTINGS and PING that the peer does not read the answers of

absl::Status TooManyAnswers() {
  return absl::ResourceExhaustedError("too many frames whose answers are not read");
}

absl::string_view Text(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

nghttp2_nv Header(absl::string_view name, absl::string_view value) {
  // nghttp2 copies both; its struct is of an API without const.
  const auto bytes = [](absl::string_view text) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

}  // namespace

std::string PercentEncoded(absl::string_view text) {
  constexpr absl::string_view kHex = "0123456789ABCDEF";
  std::string encoded;
  for (const char character : text.substr(0, kMostText)) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte >= 0x20 && byte < 0x7F && byte != '%') {
      encoded.push_back(character);
    } else {
      encoded.append({'%', kHex[byte >> 4], kHex[byte & 15]});
    }
  }
  return encoded;
}

// What nghttp2 calls. Errors of the peer are told by Receive; a callback itself fails only where the peer
// sends more than it may.
struct Nghttp2Callbacks {
  static GrpcConnection& Of(void* user) { return *static_cast<GrpcConnection*>(user); }

  static int OnBeginHeaders(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    GrpcConnection& self = Of(user);
    self.request_ = {};
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) self.request_.stream = frame->hd.stream_id;
    return 0;
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame*, const std::uint8_t* name, std::size_t name_size,
                      const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* user) {
    GrpcConnection& self = Of(user);
    self.OnHeader(Text(name, name_size), Text(value, value_size));
    if (self.request_.size <= kMaxHeaders) return 0;
    self.broken_ = absl::StrCat("headers of more than ", kMaxHeaders, " bytes");
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }

  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    GrpcConnection& self = Of(user);
    const bool is_request = frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    if (is_request) self.OnRequest();
    const bool may_end = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (!may_end || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    if (const auto call = self.calls_.find(frame->hd.stream_id); call != self.calls_.end()) {
      self.handler_->OnHalfClosed(call->first, !call->second.inbox.empty());
    }
    return 0;
  }

  static int OnData(nghttp2_session*, std::uint8_t, std::int32_t stream, const std::uint8_t* bytes,
                    std::size_t size, void* user) {
    GrpcConnection& self = Of(user);
    const auto call = self.calls_.find(stream);
    if (call != self.calls_.end()) self.OnData(stream, call->second, Text(bytes, size));
    return 0;
  }

  static int OnClosed(nghttp2_session*, std::int32_t stream, std::uint32_t, void* user) {
    GrpcConnection& self = Of(user);
    if (self.calls_.erase(stream) > 0) self.handler_->OnCallOver(stream);
    return 0;
  }

  static int OnSent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    // A peer that has not ended its side waits for the end of the stream: RFC 9113, section 8.1.
    if (frame->hd.type == NGHTTP2_HEADERS && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
        nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0) {
      return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
      GrpcConnection& self = Of(user);
      self.fault_ = self.NotHttp2(nghttp2_http2_strerror(frame->goaway.error_code));
    }
    return 0;
  }

  // It may quote the peer.
  static int OnError(nghttp2_session*, int, const char* text, std::size_t size, void* user) {
    Of(user).broken_ = absl::CHexEscape(absl::string_view(text, std::min(size, kMostText)));
    return 0;
  }

  static ssize_t Read(nghttp2_session*, std::int32_t stream, std::uint8_t* to, std::size_t size,
                      std::uint32_t* flags, nghttp2_data_source*, void* user) {
    GrpcConnection& self = Of(user);
    const std::size_t read = self.ReadOutbox(stream, self.calls_.at(stream), to, size, flags);
    if (read == 0 && *flags == NGHTTP2_DATA_FLAG_NONE) return NGHTTP2_ERR_DEFERRED;
    return static_cast<ssize_t>(read);
  }

  // Both are made once and kept: they are the same for all connections.
  static const nghttp2_session_callbacks* All() {
    static nghttp2_session_callbacks* const callbacks = [] {
      nghttp2_session_callbacks* made = nullptr;
      if (nghttp2_session_callbacks_new(&made) != 0) std::abort();  // out of memory, at the start
      nghttp2_session_callbacks_set_on_begin_headers_callback(made, OnBeginHeaders);
      nghttp2_session_callbacks_set_on_header_callback(made, OnHeader);
      nghttp2_session_callbacks_set_on_frame_recv_callback(made, OnFrame);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, OnData);
      nghttp2_session_callbacks_set_on_stream_close_callback(made, OnClosed);
      nghttp2_session_callbacks_set_on_frame_send_callback(made, OnSent);
      nghttp2_session_callbacks_set_error_callback2(made, OnError);
      return made;
    }();
    return callbacks;
  }

  static const nghttp2_option* Options() {
    static nghttp2_option* const option = [] {
      nghttp2_option* made = nullptr;
      if (nghttp2_option_new(&made) != 0) std::abort();
      nghttp2_option_set_max_outbound_ack(made, kMostOutboundAcks);
      nghttp2_option_set_no_closed_streams(made, 1);
      nghttp2_option_set_max_deflate_dynamic_table_size(made, 0);  // our answers have few headers
      return made;
    }();
    return option;
  }
};

GrpcConnection::GrpcConnection(CallHandler* handler) : handler_(handler) {
  if (nghttp2_session_server_new2(&session_, Nghttp2Callbacks::All(), this, Nghttp2Callbacks::Options()) !=
      0) {
    session_ = nullptr;  // out of memory: Receive says so
    return;
  }
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kMaxStreams},
                                             {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, kMaxHeaders}};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
}

GrpcConnection::~GrpcConnection() { nghttp2_session_del(session_); }

absl::Status GrpcConnection::NotHttp2(absl::string_view otherwise) const {
  return absl::InvalidArgumentError(
      absl::StrCat("not valid HTTP/2: ", broken_.empty() ? otherwise : absl::string_view(broken_)));
}

absl::Status GrpcConnection::Receive(absl::string_view bytes) {
  if (session_ == nullptr) return absl::ResourceExhaustedError("memgovd is out of memory");
  const ssize_t taken =
      nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (taken == NGHTTP2_ERR_FLOODED) return TooManyAnswers();
  return taken < 0 ? NotHttp2(nghttp2_strerror(static_cast<int>(taken))) : absl::OkStatus();
}

// --- from the client
// -----------------------------------------------------------------------------------------

void GrpcConnection::OnHeader(absl::string_view name, absl::string_view value) {
  request_.size += name.size() + value.size();
  if (name == ":path") {
    request_.path = std::string(value.substr(0, kMostPath));
  } else if (name == ":method") {
    request_.post = value == "POST";
  } else if (name == "content-type") {
    request_.grpc = value == "application/grpc" || absl::StartsWith(value, "application/grpc+") ||
                    absl::StartsWith(value, "application/grpc;");
  }
}

void GrpcConnection::OnRequest() {
  if (!request_.post || !request_.grpc) return AnswerNoGrpc();
  const CallId id = request_.stream;
  calls_.try_emplace(id);
  const absl::Status accepted = handler_->OnCall(id, request_.path);
  if (accepted.ok()) return;
  calls_.erase(id);
  AnswerOther(id, accepted);
}

void GrpcConnection::OnData(CallId id, Call& call, absl::string_view bytes) {
  while (!bytes.empty() && !call.deaf) {
    const std::size_t whole = call.inbox.size() < kPrefix ? kPrefix : kPrefix + call.message_size;
    const std::size_t taken = std::min(whole - call.inbox.size(), bytes.size());
    call.inbox.append(bytes.data(), taken);
    bytes.remove_prefix(taken);
    if (call.inbox.size() < whole) return;
    if (whole == kPrefix && !TakePrefix(id, call)) return;
    if (call.inbox.size() < kPrefix + call.message_size) continue;
    const std::string message = std::exchange(call.inbox, {});
    call.message_size = 0;
    handler_->OnMessage(id, absl::string_view(message).substr(kPrefix));
  }
}

// False: the message will never be acceptable.
bool GrpcConnection::TakePrefix(CallId id, Call& call) {
  const auto byte = [&call](std::size_t i) { return static_cast<unsigned char>(call.inbox[i]); };
  call.message_size =
      std::size_t{byte(1)} << 24 | std::size_t{byte(2)} << 16 | std::size_t{byte(3)} << 8 | byte(4);
  if (byte(0) != 0) {
    call.deaf = true;
    handler_->OnBadMessage(id, absl::UnimplementedError("a compressed message; send them as they are"));
  } else if (call.message_size > kMaxMessage) {
    call.deaf = true;
    handler_->OnBadMessage(
        id, absl::ResourceExhaustedError(absl::StrCat("a message of ", call.message_size, " bytes; at most ",
                                                      kMaxMessage, " are allowed")));
  }
  return !call.deaf;
}

// --- to the client
// -------------------------------------------------------------------------------------------

void GrpcConnection::Write(CallId id, absl::string_view message) {
  const auto found = calls_.find(id);
  if (found == calls_.end() || found->second.finishing) return;
  Call& call = found->second;
  const std::size_t size = message.size();
  for (const std::size_t byte : {std::size_t{0}, size >> 24, size >> 16, size >> 8, size}) {
    call.outbox.push_back(static_cast<char>(byte));
  }
  call.outbox.append(message.data(), size);
  ++call.waiting_messages;
  if (!std::exchange(call.answered, true)) {
    const nghttp2_nv headers[] = {Header(":status", "200"), Header("content-type", "application/grpc")};
    nghttp2_data_provider provider{};
    provider.read_callback = Nghttp2Callbacks::Read;
    nghttp2_submit_response(session_, id, headers, std::size(headers), &provider);
  } else {
    nghttp2_session_resume_data(session_, id);
  }
}

std::size_t GrpcConnection::waiting_messages(CallId id) const {
  const auto call = calls_.find(id);
  return call == calls_.end() ? 0 : call->second.waiting_messages;
}

std::size_t GrpcConnection::ReadOutbox(CallId id, Call& call, std::uint8_t* to, std::size_t size,
                                       std::uint32_t* flags) {
  const std::size_t taken = std::min(call.outbox.size(), size);
  std::memcpy(to, call.outbox.data(), taken);
  call.outbox.erase(0, taken);
  if (!call.outbox.empty()) return taken;
  call.waiting_messages = 0;
  if (call.finishing) {
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    const std::string code = absl::StrCat(static_cast<int>(call.status.code()));
    const std::string text = PercentEncoded(call.status.message());
    const nghttp2_nv trailers[] = {Header("grpc-status", code), Header("grpc-message", text)};
    nghttp2_submit_trailer(session_, id, trailers, std::size(trailers));
  }
  return taken;
}

void GrpcConnection::Finish(CallId id, const absl::Status& status) {
  const auto found = calls_.find(id);
  if (found == calls_.end() || std::exchange(found->second.finishing, true)) return;
  Call& call = found->second;
  call.deaf = true;
  call.status = status;
  if (call.answered) {
    nghttp2_session_resume_data(session_, id);
  } else {
    AnswerOther(id, status);
  }
}

// A call that ends before any message has its trailers in its only header block.
void GrpcConnection::AnswerOther(std::int32_t stream, const absl::Status& status) {
  const std::string code = absl::StrCat(static_cast<int>(status.code()));
  const std::string text = PercentEncoded(status.message());
  const nghttp2_nv headers[] = {Header(":status", "200"), Header("content-type", "application/grpc"),
                                Header("grpc-status", code), Header("grpc-message", text)};
  nghttp2_submit_response(session_, stream, headers, std::size(headers), nullptr);
}

void GrpcConnection::AnswerNoGrpc() {
  const nghttp2_nv headers[] = {Header(":status", "415")};
  nghttp2_submit_response(session_, request_.stream, headers, std::size(headers), nullptr);
}

void GrpcConnection::GoAway(nghttp2_error_code code, absl::string_view why) {
  if (session_ == nullptr) return;
  why = why.substr(0, kMostText);
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_), code,
                        reinterpret_cast<const std::uint8_t*>(why.data()), why.size());
}

absl::string_view GrpcConnection::ToSend() {
  if (session_ == nullptr) return {};
  const std::uint8_t* bytes = nullptr;
  const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
  return size > 0 ? Text(bytes, static_cast<std::size_t>(size)) : absl::string_view();
}

absl::Status GrpcConnection::Answers() const {
  if (session_ == nullptr || nghttp2_session_get_outbound_queue_size(session_) <= kMostAnswers) {
    return absl::OkStatus();
  }
  return TooManyAnswers();
}

bool GrpcConnection::over() const {
  return session_ == nullptr ||
         (nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0);
}

}  // namespace memgov::base
