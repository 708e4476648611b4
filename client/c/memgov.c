/* The C ABI (memgov.h): counts starts, owns the one agent, and keeps fork() safe. */

#include "client/c/memgov.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "client/c/agent.h"
#include "client/c/allocators/allocator.h"
#include "client/c/allocators/private.h"
#include "client/c/environment.h"

/* Guards what follows. Not held while a callback runs or while the agent is joined. */
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t g_stopped = PTHREAD_COND_INITIALIZER; /* signalled when g_running becomes false */
static unsigned g_starts;
static bool g_running; /* the agent's thread exists; with g_starts == 0: it is being stopped */
static mg_agent g_agent;

static pthread_once_t g_once = PTHREAD_ONCE_INIT;
static int g_prepare_error; /* constant after g_once */

/* --- fork() -----------------------------------------------------------------------------------------------
 */

static void before_fork(void) {
  pthread_mutex_lock(&g_lock);
  pthread_mutex_lock(&g_agent.descriptors);
  mg_tcmalloc_before_fork();
  mg_private_before_fork();
}

static void after_fork_in_parent(void) {
  mg_private_after_fork_in_parent();
  mg_tcmalloc_after_fork_in_parent();
  pthread_mutex_unlock(&g_agent.descriptors);
  pthread_mutex_unlock(&g_lock);
}

/* The child has no agent thread; starting one here would not be safe. It attaches when it calls
 * memgov_start(). */
static void after_fork_in_child(void) {
  mg_private_after_fork_in_child();
  mg_tcmalloc_after_fork_in_child();
  g_starts = 0;
  g_running = false;
  mg_agent_forget(&g_agent);
  pthread_mutex_unlock(&g_agent.descriptors);
  pthread_cond_init(&g_stopped, NULL);
  pthread_mutex_unlock(&g_lock);
}

/* Not under the lock: a fork in another thread before the handlers are registered would take it along. */
static void prepare(void) {
  mg_agent_init(&g_agent);
  g_prepare_error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* --- options ----------------------------------------------------------------------------------------------
 */

/* Copies what the caller's version of the structure has; the rest is 0. False: a size that never was. */
static bool read_options(const memgov_options* from, memgov_options* to) {
  const size_t first_version = offsetof(memgov_options, local);
  *to = (memgov_options)MEMGOV_OPTIONS_INIT;
  if (from == NULL) return true;
  if (from->size < sizeof(*to) && from->size != first_version) return false;
  memcpy(to, from, from->size < sizeof(*to) ? first_version : sizeof(*to));
  return true;
}

/* The user's word goes before the program's. */
static bool wants_local(const memgov_options* options) {
  const char* value = mg_environment("MEMGOV_LOCAL");
  return value != NULL && *value != '\0' ? strcmp(value, "0") != 0 : options->local != 0;
}

/* libmemgov_preload.so keeps a session of its own until the program begins one. Then that one is for both. */
static unsigned take_over_from_preload(void) {
  unsigned (*give_way)(void) = NULL;
  *(void**)&give_way = dlsym(RTLD_DEFAULT, "memgov_preload_give_way");
  return give_way == NULL ? 0 : give_way();
}

static int start_agent(const memgov_options* options) {
  const char* socket = options->socket;
  if (socket == NULL) socket = mg_environment("MEMGOV_SOCKET");
  if (socket == NULL || *socket == '\0') socket = MEMGOV_DEFAULT_SOCKET;
  if (strlen(socket) >= sizeof(g_agent.socket)) return ENAMETOOLONG;
  memset(g_agent.socket, 0, sizeof(g_agent.socket));
  memcpy(g_agent.socket, socket, strlen(socket));

  mg_observer observer = {.log = options->log, .on_event = options->on_event, .user = options->user};
  if (observer.log == NULL && mg_environment_says("MEMGOV_LOG")) observer.log = mg_log_to_stderr;
  mg_stall_source source;
  mg_stall_source_parse(&source, mg_environment("MEMORY_PRESSURE_WATCH"),
                        mg_environment("MEMORY_PRESSURE_WRITE"));
  mg_fallback_setup(&g_agent.fallback, wants_local(options), &source, &g_agent.descriptors);
  return mg_agent_start(&g_agent, &observer,
                        options->name != NULL ? options->name : program_invocation_short_name);
}

/* --- public -----------------------------------------------------------------------------------------------
 */

static bool on_agent_thread(void) { return g_running && pthread_equal(pthread_self(), g_agent.thread); }

int memgov_start(const memgov_options* options) {
  memgov_options known;
  if (!read_options(options, &known)) return EINVAL;
  if (mg_environment_says("MEMGOV_DISABLE")) return 0;
  pthread_once(&g_once, prepare);
  int error = g_prepare_error;
  if (error != 0) return error;
  pthread_mutex_lock(&g_lock);
  if (on_agent_thread()) {
    error = EDEADLK;
  } else {
    while (g_running && g_starts == 0) pthread_cond_wait(&g_stopped, &g_lock);
    if (!g_running) {
      const unsigned others = take_over_from_preload();
      error = start_agent(&known);
      g_running = error == 0;
      g_starts = g_running ? others : 0;
    }
    if (error == 0) ++g_starts;
  }
  pthread_mutex_unlock(&g_lock);
  return error;
}

void memgov_stop(void) {
  pthread_mutex_lock(&g_lock);
  const bool last = !on_agent_thread() && g_starts > 0 && --g_starts == 0;
  pthread_mutex_unlock(&g_lock);
  if (!last) return;
  mg_agent_request_stop(&g_agent);
  mg_agent_join(&g_agent);
  pthread_mutex_lock(&g_lock);
  g_running = false;
  pthread_cond_broadcast(&g_stopped);
  pthread_mutex_unlock(&g_lock);
}

memgov_state memgov_status(void) { return (memgov_state)atomic_load(&g_agent.state); }

const char* memgov_version(void) { return MEMGOV_VERSION; }
