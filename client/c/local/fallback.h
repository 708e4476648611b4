/* The process's own watch while it has no governor (memgov.h, rule 13): joins what is wanted (watch.h), what
 * to do when (pace.h) and how (levers.h). The moment a governor welcomes the process it stands aside, because
 * two who ask the same process for memory would each misread what the other got. For the agent thread. */

#ifndef MEMGOV_CLIENT_C_LOCAL_FALLBACK_H_
#define MEMGOV_CLIENT_C_LOCAL_FALLBACK_H_

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/c/events.h"
#include "client/c/levers.h"
#include "client/c/local/pace.h"
#include "client/c/local/watch.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mg_fallback {
  bool wanted;
  bool watching;
  bool was_governed;
  bool none_said; /* that there is nothing to watch */
  bool set_eager; /* the mode in force is ours */
  mg_stall_source source;
  mg_watch watch;
  mg_pace pace;
  uint64_t begins_at_ns; /* when we shall have been alone for long enough; 0: we are not alone */
  uint64_t search_at_ns; /* when to look whether our cgroup or its limits have changed */
  pthread_mutex_t* descriptors;
} mg_fallback;

/* Before the thread starts. `wanted` false: everything below does nothing. `descriptors` is held while a
 * descriptor is made or closed. */
void mg_fallback_setup(mg_fallback* fallback, bool wanted, const mg_stall_source* source,
                       pthread_mutex_t* descriptors);

/* Does what is due, one step at most; returns when to come back. */
uint64_t mg_fallback_tick(mg_fallback* fallback, bool governed, mg_levers* levers,
                          const mg_observer* observer, uint64_t now_ns);

/* As mg_watch_polled() and mg_watch_heard(). */
size_t mg_fallback_polled(const mg_fallback* fallback, struct pollfd polled[MG_WATCH_POLLED_MAX]);
void mg_fallback_heard(mg_fallback* fallback, const struct pollfd* polled, size_t count);

/* Closes what is open, without a word. */
void mg_fallback_close(mg_fallback* fallback);

#ifdef __cplusplus
}
#endif

#endif
