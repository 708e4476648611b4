/* One session with a governor, above the gRPC stream and below the agent's loop: says Hello, reports, carries
 * directives out, and keeps the session's own deadlines. Time is a parameter. For the agent thread. */

#ifndef MEMGOV_CLIENT_C_SESSION_H_
#define MEMGOV_CLIENT_C_SESSION_H_

#include <stdbool.h>
#include <stdint.h>

#include "client/c/bounds.h"
#include "client/c/events.h"
#include "client/c/grpc_stream.h"
#include "client/c/levers.h"
#include "client/c/wire.h"

enum { MG_QUEUE_MAX = 16 };

typedef struct mg_session {
  /* For all sessions; set by mg_session_setup(). */
  mg_observer observer;
  char name[64];
  mg_levers levers;
  mg_bounds bounds; /* of all sessions together */

  /* Of the present session. */
  mg_grpc_stream stream;
  bool flooded; /* it is over because the governor sent more than any does */
  bool welcomed;
  bool enforcing;
  bool told_shed;         /* Hello said that there are caches */
  unsigned told_changes;  /* ... and named the allocators of then */
  uint64_t read_at_ns;    /* when the bytes that are being parsed were read */
  uint64_t began_at_ns;   /* Welcome must come within 5 s of it */
  uint64_t leaving_at_ns; /* when we saw GOAWAY; 0: not yet */
  uint64_t progress_ns;   /* when the governor last took something, or had nothing to take */
  uint64_t report_every_ns;
  uint64_t report_due_ns;
  uint64_t check_due_ns;
  uint64_t reported_retained_bytes;
  struct {
    mg_directive directive;
    uint64_t received_ns;
  } queue[MG_QUEUE_MAX]; /* directives that wait, oldest first */
  unsigned queued;
} mg_session;

/* Once for each start of the agent. False: out of memory. */
bool mg_session_setup(mg_session* session, const mg_observer* observer, const char* name,
                      mg_allocators allocators, int statm_fd);

/* Opens the call and queues Hello. False: stream.error says why. */
bool mg_session_begin(mg_session* session, uint64_t now_ns);

/* Parses what was read at now_ns; directives are queued. False: over, stream.error says why. */
bool mg_session_receive(mg_session* session, const uint8_t* bytes, size_t size, uint64_t now_ns);

/* Carries out the oldest queued directive and queues its outcome and a report. False: there was none. */
bool mg_session_carry_out_one(mg_session* session);

/* Sends reports that are due and checks the session's deadlines. False: over, stream.error says why. */
bool mg_session_tick(mg_session* session, uint64_t now_ns);

/* Whether Hello has become untrue, because the first hook was registered or the last one went, or another
 * allocator was found, and this is a good moment to say a new one: nothing is waiting on either side. The
 * protocol has one Hello a session. */
bool mg_session_outdated(const mg_session* session, uint64_t now_ns);

/* When mg_session_tick() wants to be called next. */
uint64_t mg_session_next_ns(const mg_session* session);

#endif
