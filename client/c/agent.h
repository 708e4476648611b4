/* The agent: the one thread that keeps the session. Connects, polls, reconnects, and ends timed settings. */

#ifndef MEMGOV_CLIENT_C_AGENT_H_
#define MEMGOV_CLIENT_C_AGENT_H_

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/c/local/fallback.h"
#include "client/c/session.h"

/* Bytes that are read at once. Small, so that even if they are full of directives that must be declined (9
 * bytes each at least), the outcomes (at most 130) fit into the outbox; then it is flushed. */
enum { MG_READ_BYTES = 1024 };

typedef struct mg_agent {
  /* Constant while the thread runs. */
  char socket[108];
  pthread_t thread;

  atomic_int state; /* memgov_state */
  atomic_bool stopping;

  /* Guards the descriptors below against fork(): whoever makes or closes one holds it, so that a child finds
   * them all. Never held while anything else happens. */
  pthread_mutex_t descriptors;
  int wake_fd;  /* an eventfd, for stopping */
  int statm_fd; /* /proc/self/statm */
  int socket_fd;
  int reserve_fd; /* reserve.h; -1: it is spent */
  int probe_fd;   /* likewise; -1: there is none */

  /* The thread's own. */
  mg_session session;
  mg_fallback fallback; /* set up before the thread starts; its descriptors are guarded as those above */
  uint64_t retry_at_ns;
  uint64_t backoff_ns;
  uint64_t reserve_at_ns; /* when a spent reserve may be made anew */
  uint64_t look_at_ns;    /* when to look for allocators again */
  bool looks_on;          /* ... because there is more */
  uint64_t send_again_ns; /* there was no memory to send; 0: there was */
  uint64_t random;
  char last_reason[320]; /* of not being connected; said once, not with each attempt */
  uint8_t buffer[MG_READ_BYTES];
} mg_agent;

/* Once, of a zeroed agent. */
void mg_agent_init(mg_agent* agent);

/* Starts the thread. 0 or an errno value; then nothing is left behind. agent->socket and agent->fallback are
 * set. */
int mg_agent_start(mg_agent* agent, const mg_observer* observer, const char* name);

/* Asks the thread to end; it restores what directives changed. */
void mg_agent_request_stop(mg_agent* agent);

/* Waits for it and closes everything. */
void mg_agent_join(mg_agent* agent);

/* In the child of a fork: there is no thread any more; closes its descriptors. Async-signal-safe. */
void mg_agent_forget(mg_agent* agent);

#endif
