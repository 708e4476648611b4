/* One bidirectional gRPC call over one HTTP/2 connection, on nghttp2. Knows bytes and messages, no sockets
 * and no clock: the agent feeds what it read and sends what this wants sent.
 *
 * What gRPC adds to HTTP/2: a POST with `te: trailers`; each message is preceded by a byte (compressed?) and
 * its length in 4 bytes, big endian; the call ends with trailers that hold grpc-status and grpc-message.
 *
 * Memory: nghttp2's comes from a static arena that each opening resets; the only malloc is in setup. */

#ifndef MEMGOV_CLIENT_C_GRPC_STREAM_H_
#define MEMGOV_CLIENT_C_GRPC_STREAM_H_

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/c/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  MG_MESSAGE_MAX = 16 * 1024, /* the longest message that we accept */
  MG_OUTBOX_BYTES = 16 * 1024 /* messages that wait to be sent, with their prefixes */
};

/* What nghttp2 uses of its arena in a session. */
enum { MG_AGENT_ARENA_BYTES = 64 * 1024 };

typedef struct mg_grpc_stream {
  /* Set by mg_grpc_setup(). */
  nghttp2_session_callbacks* callbacks;
  nghttp2_option* option;
  void (*on_message)(void* user, const uint8_t* message, size_t size);
  void* user;

  /* Of the present call. */
  nghttp2_session* session;
  int32_t stream_id;
  bool going_away;     /* we have half-closed because the governor said GOAWAY */
  bool closed;         /* the call is over; `error` says why */
  bool refused;        /* ... the governor ended it with a status other than OK, so it said no to us */
  int grpc_status;     /* -1: none yet */
  size_t header_bytes; /* of headers and trailers so far */
  char grpc_message[160];
  char error[224];

  uint8_t inbox[5 + MG_MESSAGE_MAX]; /* the message that is being received, with its prefix */
  size_t inbox_size;
  uint8_t outbox[MG_OUTBOX_BYTES];
  size_t outbox_size;
  const uint8_t* unsent; /* nghttp2's bytes that the socket did not take yet */
  size_t unsent_size;
  mg_arena arena;
} mg_grpc_stream;

/* Once before the first opening; mallocs what is kept for good. False: out of memory. */
bool mg_grpc_setup(mg_grpc_stream* stream,
                   void (*on_message)(void* user, const uint8_t* message, size_t size), void* user);

/* Begins a new call, forgetting the last one. False: see `error`. */
bool mg_grpc_open(mg_grpc_stream* stream);

/* Ends the call without a word; `error` stays readable. */
void mg_grpc_close(mg_grpc_stream* stream);

/* Takes bytes from the socket; on_message is called within. False when the call or the connection is over,
 * with `error` set. */
bool mg_grpc_receive(mg_grpc_stream* stream, const uint8_t* bytes, size_t size);

/* Queues a message. False when the outbox is full: the governor is not reading. */
bool mg_grpc_put(mg_grpc_stream* stream, const uint8_t* message, size_t size);

/* The bytes to send next, 0 when there are none, -1 on an error (`error` is set). After sending some say how
 * many. */
ptrdiff_t mg_grpc_to_send(mg_grpc_stream* stream, const uint8_t** bytes);
void mg_grpc_sent(mg_grpc_stream* stream, size_t size);

/* Whether something of ours is still waiting to be sent, in the outbox or in nghttp2. */
bool mg_grpc_backlog(const mg_grpc_stream* stream);

#ifdef __cplusplus
}
#endif

#endif
