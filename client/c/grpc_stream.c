#include "client/c/grpc_stream.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/c/bounds.h"

enum { PREFIX = 5 };

/* grpc-status values with which a governor refuses us (session.proto), as opposed to going away. */
enum {
  INVALID_ARGUMENT = 3,
  PERMISSION_DENIED = 7,
  RESOURCE_EXHAUSTED = 8,
  UNIMPLEMENTED = 12,
  UNAUTHENTICATED = 16
};

static const char* status_name(int status) {
  static const char* const names[] = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  return status >= 0 && status < (int)(sizeof(names) / sizeof(names[0])) ? names[status]
                                                                         : "an unknown status";
}

/* Keeps the first error: later ones are its consequences. */
__attribute__((format(printf, 2, 3))) static void set_error(mg_grpc_stream* stream, const char* format, ...) {
  stream->closed = true;
  if (stream->error[0] != '\0') return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(stream->error, sizeof(stream->error), format, arguments);
  va_end(arguments);
  for (char* at = stream->error; *at != '\0'; ++at) { /* it may quote the peer, and goes to logs */
    if ((unsigned char)*at < 0x20 || *at == 0x7f) *at = '?';
  }
}

/* --- what the peer sends ----------------------------------------------------------------------------------
 */

/* grpc-message is percent-encoded UTF-8. */
static void take_grpc_message(mg_grpc_stream* stream, const uint8_t* value, size_t size) {
  size_t used = 0;
  for (size_t i = 0; i < size && used + 1 < sizeof(stream->grpc_message); ++i) {
    unsigned char byte = value[i];
    if (byte == '%' && i + 2 < size) {
      const char digits[3] = {(char)value[i + 1], (char)value[i + 2], '\0'};
      char* end = NULL;
      const unsigned long decoded = strtoul(digits, &end, 16);
      if (end == digits + 2) {
        byte = (unsigned char)decoded;
        i += 2;
      }
    }
    stream->grpc_message[used++] = (char)byte;
  }
  stream->grpc_message[used] = '\0';
}

static bool is(const uint8_t* text, size_t size, const char* word) {
  return size == strlen(word) && memcmp(text, word, size) == 0;
}

static int on_header(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name,
                     size_t name_size, const uint8_t* value, size_t value_size, uint8_t flags, void* user) {
  (void)session;
  (void)flags;
  mg_grpc_stream* stream = user;
  /* A few bytes of HPACK can stand for many; a header list may also have no end. */
  stream->header_bytes += name_size + value_size + 32;
  if (stream->header_bytes > MG_HEADER_BYTES) {
    set_error(stream, "the governor sent more than %d bytes of headers", (int)MG_HEADER_BYTES);
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
  if (frame->hd.stream_id != stream->stream_id) return 0;
  if (is(name, name_size, ":status") && !is(value, value_size, "200")) {
    set_error(stream, "HTTP status %.*s: no governor speaks there", (int)value_size, (const char*)value);
  } else if (is(name, name_size, "grpc-status")) {
    int status = 0;
    for (size_t i = 0; i < value_size && i < 3; ++i) status = status * 10 + (value[i] - '0');
    stream->grpc_status = status;
  } else if (is(name, name_size, "grpc-message")) {
    take_grpc_message(stream, value, value_size);
  }
  return 0;
}

/* Delivers the message in the inbox once it is whole. False: it will never be acceptable. */
static bool advance_inbox(mg_grpc_stream* stream, size_t* wanted) {
  if (stream->inbox_size < PREFIX) {
    *wanted = PREFIX - stream->inbox_size;
    return true;
  }
  const uint8_t* prefix = stream->inbox;
  const uint32_t size =
      (uint32_t)prefix[1] << 24 | (uint32_t)prefix[2] << 16 | (uint32_t)prefix[3] << 8 | prefix[4];
  if (prefix[0] != 0) {
    set_error(stream, "the governor sent a compressed message, which we did not offer to read");
    return false;
  }
  if (size > MG_MESSAGE_MAX) {
    set_error(stream, "the governor sent a message of %u bytes; at most %d are allowed", size,
              MG_MESSAGE_MAX);
    return false;
  }
  *wanted = PREFIX + size - stream->inbox_size;
  if (*wanted == 0) {
    stream->inbox_size = 0;
    stream->on_message(stream->user, stream->inbox + PREFIX, size);
    *wanted = PREFIX;
  }
  return true;
}

static int on_data(nghttp2_session* session, uint8_t flags, int32_t stream_id, const uint8_t* bytes,
                   size_t size, void* user) {
  (void)session;
  (void)flags;
  mg_grpc_stream* stream = user;
  if (stream_id != stream->stream_id || stream->closed) return 0;
  size_t wanted = 0;
  if (!advance_inbox(stream, &wanted)) return NGHTTP2_ERR_CALLBACK_FAILURE;
  while (size > 0) {
    const size_t take = size < wanted ? size : wanted;
    memcpy(stream->inbox + stream->inbox_size, bytes, take);
    stream->inbox_size += take;
    bytes += take;
    size -= take;
    if (!advance_inbox(stream, &wanted)) return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
  return 0;
}

/* The call is over: says why, from the trailers if there were any. */
static void finish(mg_grpc_stream* stream, uint32_t error_code) {
  const int status = stream->grpc_status;
  stream->refused = status == INVALID_ARGUMENT || status == PERMISSION_DENIED ||
                    status == RESOURCE_EXHAUSTED || status == UNIMPLEMENTED || status == UNAUTHENTICATED;
  if (status > 0) {
    set_error(stream, "%s: %s", status_name(status), stream->grpc_message);
  } else if (status == 0 || stream->going_away) {
    set_error(stream, "the governor is going away");
  } else {
    set_error(stream, "the governor reset the stream: %s", nghttp2_http2_strerror(error_code));
  }
}

static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
  mg_grpc_stream* stream = user;
  if (frame->hd.type == NGHTTP2_GOAWAY && !stream->going_away) {
    /* A server that shuts down waits for its calls to end: end ours, the data provider says so. */
    stream->going_away = true;
    nghttp2_session_resume_data(session, stream->stream_id);
  } else if (frame->hd.stream_id == stream->stream_id && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
             (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA)) {
    finish(stream, NGHTTP2_NO_ERROR);
  }
  return 0;
}

static int on_close(nghttp2_session* session, int32_t stream_id, uint32_t error_code, void* user) {
  (void)session;
  mg_grpc_stream* stream = user;
  if (stream_id == stream->stream_id) finish(stream, error_code);
  return 0;
}

static int on_invalid_frame(nghttp2_session* session, const nghttp2_frame* frame, int error, void* user) {
  (void)session;
  (void)frame;
  set_error(user, "not valid HTTP/2: %s", nghttp2_strerror(error));
  return 0;
}

static int on_error(nghttp2_session* session, int error, const char* text, size_t size, void* user) {
  (void)session;
  (void)error;
  set_error(user, "not valid HTTP/2: %.*s", (int)size, text);
  return 0;
}

/* --- what we send -----------------------------------------------------------------------------------------
 */

static ssize_t read_outbox(nghttp2_session* session, int32_t stream_id, uint8_t* to, size_t size,
                           uint32_t* flags, nghttp2_data_source* source, void* user) {
  (void)session;
  (void)stream_id;
  (void)source;
  mg_grpc_stream* stream = user;
  const size_t take = stream->outbox_size < size ? stream->outbox_size : size;
  memcpy(to, stream->outbox, take);
  stream->outbox_size -= take;
  memmove(stream->outbox, stream->outbox + take, stream->outbox_size);
  if (stream->outbox_size == 0 && stream->going_away) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
  } else if (take == 0) {
    return NGHTTP2_ERR_DEFERRED;
  }
  return (ssize_t)take;
}

#define HEADER(name, value) \
  { (uint8_t*)(name), (uint8_t*)(value), sizeof(name) - 1, sizeof(value) - 1, NGHTTP2_NV_FLAG_NONE }

static int submit_call(mg_grpc_stream* stream) {
  /* No SETTINGS_HEADER_TABLE_SIZE = 0: an early refusal would then die as COMPRESSION_ERROR and hide its
   * status. */
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                             {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 8192}};
  int error = nghttp2_submit_settings(stream->session, NGHTTP2_FLAG_NONE, settings, 2);
  if (error != 0) return error;
  const nghttp2_nv headers[] = {HEADER(":method", "POST"),
                                HEADER(":scheme", "http"),
                                HEADER(":path", "/memgov.v1.Session/Attach"),
                                HEADER(":authority", "localhost"),
                                HEADER("te", "trailers"),
                                HEADER("content-type", "application/grpc"),
                                HEADER("user-agent", "memgov-c/" MEMGOV_VERSION)};
  const nghttp2_data_provider provider = {.read_callback = read_outbox};
  stream->stream_id = nghttp2_submit_request(stream->session, NULL, headers,
                                             sizeof(headers) / sizeof(headers[0]), &provider, NULL);
  return stream->stream_id < 0 ? stream->stream_id : 0;
}

/* --- nghttp2's allocator ----------------------------------------------------------------------------------
 */

static void* arena_malloc(size_t size, void* arena) { return mg_arena_malloc(arena, size); }
static void arena_free(void* memory, void* arena) { mg_arena_free(arena, memory); }
static void* arena_calloc(size_t count, size_t size, void* arena) {
  return mg_arena_calloc(arena, count, size);
}
static void* arena_realloc(void* memory, size_t size, void* arena) {
  return mg_arena_realloc(arena, memory, size);
}

/* --- public -----------------------------------------------------------------------------------------------
 */

bool mg_grpc_setup(mg_grpc_stream* stream,
                   void (*on_message)(void* user, const uint8_t* message, size_t size), void* user) {
  stream->on_message = on_message;
  stream->user = user;
  stream->session = NULL;
  stream->option = NULL;
  if (nghttp2_session_callbacks_new(&stream->callbacks) != 0) return false;
  if (nghttp2_option_new(&stream->option) != 0) {
    nghttp2_session_callbacks_del(stream->callbacks);
    return false;
  }
  nghttp2_option_set_max_outbound_ack(stream->option,
                                      100); /* a flood of pings must end before the arena does */
  nghttp2_session_callbacks_set_on_header_callback(stream->callbacks, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(stream->callbacks, on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(stream->callbacks, on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(stream->callbacks, on_close);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(stream->callbacks, on_invalid_frame);
  nghttp2_session_callbacks_set_error_callback2(stream->callbacks, on_error);
  return true;
}

bool mg_grpc_open(mg_grpc_stream* stream) {
  stream->going_away = stream->closed = stream->refused = false;
  stream->stream_id = 0;
  stream->grpc_status = -1;
  stream->grpc_message[0] = stream->error[0] = '\0';
  stream->header_bytes = 0;
  stream->inbox_size = stream->outbox_size = stream->unsent_size = 0;
  mg_arena_reset(&stream->arena);
  nghttp2_mem memory = {.mem_user_data = &stream->arena,
                        .malloc = arena_malloc,
                        .free = arena_free,
                        .calloc = arena_calloc,
                        .realloc = arena_realloc};
  int error =
      nghttp2_session_client_new3(&stream->session, stream->callbacks, stream, stream->option, &memory);
  if (error == 0) error = submit_call(stream);
  if (error != 0) set_error(stream, "cannot begin a call: %s", nghttp2_strerror(error));
  return error == 0;
}

void mg_grpc_close(mg_grpc_stream* stream) {
  nghttp2_session_del(stream->session);
  stream->session = NULL;
}

bool mg_grpc_receive(mg_grpc_stream* stream, const uint8_t* bytes, size_t size) {
  const ssize_t taken = nghttp2_session_mem_recv(stream->session, bytes, size);
  if (taken < 0) set_error(stream, "not valid HTTP/2: %s", nghttp2_strerror((int)taken));
  return !stream->closed;
}

bool mg_grpc_put(mg_grpc_stream* stream, const uint8_t* message, size_t size) {
  if (stream->going_away) return true; /* we have said our last word */
  if (size + PREFIX > sizeof(stream->outbox) - stream->outbox_size) return false;
  uint8_t* to = stream->outbox + stream->outbox_size;
  to[0] = 0;
  for (int i = 0; i < 4; ++i) to[1 + i] = (uint8_t)(size >> (24 - 8 * i));
  memcpy(to + PREFIX, message, size);
  stream->outbox_size += PREFIX + size;
  nghttp2_session_resume_data(stream->session, stream->stream_id);
  return true;
}

ptrdiff_t mg_grpc_to_send(mg_grpc_stream* stream, const uint8_t** bytes) {
  if (stream->unsent_size == 0) {
    const ssize_t size = nghttp2_session_mem_send(stream->session, &stream->unsent);
    if (size < 0) {
      set_error(stream, "cannot send: %s", nghttp2_strerror((int)size));
      return -1;
    }
    stream->unsent_size = (size_t)size;
    if (size == 0 && !nghttp2_session_want_read(stream->session)) {
      set_error(stream, "not valid HTTP/2: the connection is not usable any more");
      return -1;
    }
  }
  *bytes = stream->unsent;
  return (ptrdiff_t)stream->unsent_size;
}

void mg_grpc_sent(mg_grpc_stream* stream, size_t size) {
  stream->unsent += size;
  stream->unsent_size -= size;
}

bool mg_grpc_backlog(const mg_grpc_stream* stream) {
  return stream->outbox_size > 0 || stream->unsent_size > 0;
}
