/* What a governor may cost this process, whoever it is. The numbers are above anything that memgovd sends: it
 * asks a client for one thing at a time, once in 10 ms at the very most, and may take a fifth of its time
 * while a kill is near (governor/core/ledger.cc); a bound that an honest governor met would make a kill of a
 * need. Kept over reconnects, or hanging up would buy a new account. Pure: time is a parameter. */

#ifndef MEMGOV_CLIENT_C_BOUNDS_H_
#define MEMGOV_CLIENT_C_BOUNDS_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  MG_MESSAGES_A_SECOND = 200,
  MG_MESSAGES_AT_ONCE = 512,
  MG_BYTES_A_SECOND =
      64 * 1024, /* 200 messages of 300 bytes; also bounds what is no message: pings, empty frames */
  MG_BYTES_AT_ONCE = 256 * 1024,
  MG_HEADER_BYTES =
      16 * 1024,       /* of a call, as HPACK counts them; our SETTINGS ask for half of that in a list */
  MG_WORK_DIVISOR = 4, /* directives may take this part of the time ... */
  MG_WORK_AT_ONCE_MS = 2000, /* ... beyond so much at once */
  /* One directive counts for no more: a rest is 5 s at most unless a policy says otherwise, so one that takes
   * longer than a quarter of that has more than its part. */
  MG_WORK_COUNTED_MS = 1250,
  MG_TTL_MAX_MS = 3600 * 1000 /* the longest that a policy can say; what asks for more gets so much */
};

/* Each account is the time at which it would be empty (a leaky bucket as GCRA has it). */
typedef struct mg_bounds {
  uint64_t messages_ns;
  uint64_t bytes_ns;
  uint64_t work_ns;
} mg_bounds;

/* Count what came. False: the governor floods us. */
bool mg_bounds_bytes(mg_bounds* bounds, size_t size, uint64_t now_ns);
bool mg_bounds_message(mg_bounds* bounds, uint64_t now_ns);

/* Whether a directive may be carried out now. */
bool mg_bounds_may_work(const mg_bounds* bounds, uint64_t now_ns);

/* One was, in `took_ns`. */
void mg_bounds_worked(mg_bounds* bounds, uint64_t took_ns, uint64_t now_ns);

#ifdef __cplusplus
}
#endif

#endif
