/* The application's pressure hooks: who has registered one (from any thread), and calling them in order (the
 * agent thread). The lock guards the table alone and is never held while a hook runs, so a hook may do to the
 * table what it likes. */

#ifndef MEMGOV_CLIENT_C_HOOKS_H_
#define MEMGOV_CLIENT_C_HOOKS_H_

#include <stdbool.h>
#include <stdint.h>

#include "client/c/memgov.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MG_HOOKS_MAX = 256 };

/* What came of calling them. */
typedef struct mg_shed {
  unsigned called;
  unsigned left; /* not called any more, although not enough was given: the time was up, or we are stopping */
  uint64_t given; /* bytes, as the hooks say */
  char
      text[160]; /* "gave 48 of 64 MiB: blocks 40 MiB, thumbs 8192 KiB"; empty when none was called or left */
} mg_shed;

/* Whether any is registered. Any thread, no lock. */
bool mg_hooks_any(void);

/* Calls hooks in their order until `bytes` were given, none is left, the clock has passed until_ns
 * (CLOCK_MONOTONIC; 0: no end), or mg_hooks_stop(true) was said. Hooks that are registered meanwhile are not
 * called. For one thread at a time. */
mg_shed mg_hooks_shed(memgov_level level, uint64_t bytes, uint64_t until_ns);

/* true: no further hook is to be called, because the agent ends. Any thread. */
void mg_hooks_stop(bool stop);

#ifdef __cplusplus
}
#endif

#endif
