/* The session protocol's messages (proto/memgov/v1/session.proto) as plain C values, and their translation to
 * and from bytes. nanopb's generated types stay in wire.c. Nothing here allocates; safe on the agent thread.
 */

#ifndef MEMGOV_CLIENT_C_WIRE_H_
#define MEMGOV_CLIENT_C_WIRE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/c/memgov.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Values are the protocol's. */
typedef enum mg_release_mode { MG_MODE_UNKNOWN = 0, MG_MODE_LAZY = 1, MG_MODE_EAGER = 2 } mg_release_mode;
typedef enum mg_stall {
  MG_STALL_UNKNOWN = 0,
  MG_STALL_SHORT = 1,
  MG_STALL_MEDIUM = 2,
  MG_STALL_LONG = 3
} mg_stall;
typedef enum mg_estimate_kind {
  MG_ESTIMATE_EXACT = 1,
  MG_ESTIMATE_BOUND = 2,
  MG_ESTIMATE_NONE = 3
} mg_estimate_kind;

typedef struct mg_capabilities {
  bool set_release_mode;
  bool release;
  bool release_in_chunks;
  bool retroactive;
  bool needs_owner_thread;
  mg_stall stall;
} mg_capabilities;

typedef struct mg_hello {
  char runtime[112];
  char client[32];
  char name[64];
  mg_capabilities capabilities;
  mg_release_mode startup_mode;
  bool shed; /* the application has registered caches */
} mg_hello;

typedef struct mg_report {
  uint64_t live_bytes;
  uint64_t retained_bytes;
  mg_estimate_kind retained_kind;
  uint64_t lazily_freed_bytes; /* a part of retained_bytes */
  uint64_t non_heap_bytes;
  mg_release_mode mode;
} mg_report;

typedef struct mg_outcome {
  uint64_t id;
  memgov_outcome status;
  char why[192]; /* if not DONE: the reason; if DONE: why it ended early, or empty */
  uint64_t before_bytes;
  uint64_t after_bytes;
  uint64_t wall_ns;
  uint64_t cpu_ns;
} mg_outcome;

typedef struct mg_welcome {
  char cgroup[256]; /* cut to fit */
  bool enforcing;
  uint32_t report_every_ms;
} mg_welcome;

typedef struct mg_directive {
  uint64_t id;
  uint32_t deadline_ms; /* 0: none */
  uint32_t ttl_ms;
  memgov_level level;
  char reason[256]; /* cut to fit */
  memgov_action action;
  mg_release_mode mode; /* of SetReleaseMode, which may be a number that we do not know */
  uint64_t bytes;
  uint32_t longest_stall_ms; /* of Release; 0: no bound */
} mg_directive;

typedef enum mg_message_kind { MG_MESSAGE_UNKNOWN, MG_MESSAGE_WELCOME, MG_MESSAGE_DIRECTIVE } mg_message_kind;

typedef struct mg_governor_message {
  mg_message_kind kind;
  union {
    mg_welcome welcome;
    mg_directive directive;
  };
} mg_governor_message;

/* Large enough for any message that we send. */
enum { MG_WIRE_MAX = 512 };

/* Write the message to `out` and return its length; each fits by construction. */
size_t mg_wire_hello(const mg_hello* hello, uint8_t out[MG_WIRE_MAX]);
size_t mg_wire_report(const mg_report* report, uint8_t out[MG_WIRE_MAX]);
size_t mg_wire_outcome(const mg_outcome* outcome, uint8_t out[MG_WIRE_MAX]);

/* Reads what a governor sent. NULL when it is well-formed (a kind from the future is MG_MESSAGE_UNKNOWN),
 * else what is wrong with it. */
const char* mg_wire_parse(const uint8_t* bytes, size_t size, mg_governor_message* message);

#ifdef __cplusplus
}
#endif

#endif
