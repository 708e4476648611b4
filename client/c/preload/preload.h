/* What the waiting functions (waits.c) and the attachment (preload.c) of libmemgov_preload.so share. */

#ifndef MEMGOV_CLIENT_C_PRELOAD_PRELOAD_H_
#define MEMGOV_CLIENT_C_PRELOAD_PRELOAD_H_

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* CLOCK_MONOTONIC from when on the next wait attaches; 0: there is nothing to do. */
extern _Atomic uint64_t mg_preload_due_ns;

/* Attaches if it is time to and if this is a good place. errno stays. `signal_safe` says that the function
 * that the program called is async-signal-safe, so that we may be inside a signal handler. */
void mg_preload_consider(bool signal_safe);

/* Finds the functions that ours stand in front of. */
void mg_preload_find_waits(void);

static inline void mg_preload_at_wait(bool signal_safe) {
  if (atomic_load_explicit(&mg_preload_due_ns, memory_order_relaxed) != 0) mg_preload_consider(signal_safe);
}

#endif
