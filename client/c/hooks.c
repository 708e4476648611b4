#include "client/c/hooks.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "client/c/process.h"

typedef struct hook {
  uint64_t handle; /* 0: a free place; never used twice, so that an old handle means nobody */
  int priority;
  uint64_t (*give)(void* user, const memgov_pressure* pressure);
  void* user;
  char name[32];
} hook;

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows, up to g_count */
static pthread_cond_t g_returned = PTHREAD_COND_INITIALIZER;
static hook g_hooks[MG_HOOKS_MAX]; /* a fixed table: nothing is to be freed while a shed goes through it */
static uint64_t g_last_handle;
static uint64_t g_running; /* handle of the hook that is being called, 0: none */
static pthread_t g_runner; /* ... by this thread */
static bool g_prepared;    /* fork() is handled */

static atomic_uint g_count; /* of registered hooks */
static atomic_bool g_stopping;

/* --- fork() -----------------------------------------------------------------------------------------------
 */

static void before_fork(void) { pthread_mutex_lock(&g_lock); }

static void after_fork_in_parent(void) { pthread_mutex_unlock(&g_lock); }

/* The child keeps the hooks, as it keeps the caches. The thread that ran one is not there, so nobody may wait
 * for it. */
static void after_fork_in_child(void) {
  g_running = 0;
  pthread_cond_init(&g_returned, NULL);
  pthread_mutex_unlock(&g_lock);
}

/* --- the table --------------------------------------------------------------------------------------------
 */

/* In the order of calling: by priority, then by age. */
static bool comes_after(const hook* a, const hook* b) {
  if (a->priority != b->priority) return a->priority > b->priority;
  return a->handle > b->handle;
}

static hook* place_of(uint64_t handle) {
  for (size_t i = 0; i < MG_HOOKS_MAX; ++i) {
    if (g_hooks[i].handle == handle) return &g_hooks[i];
  }
  return NULL;
}

/* The first hook after `last` that is no younger than `youngest`. */
static const hook* next_after(const hook* last, uint64_t youngest) {
  const hook* next = NULL;
  for (size_t i = 0; i < MG_HOOKS_MAX; ++i) {
    const hook* each = &g_hooks[i];
    if (each->handle == 0 || each->handle > youngest || !comes_after(each, last)) continue;
    if (next == NULL || comes_after(next, each)) next = each;
  }
  return next;
}

static unsigned count_after(hook last, uint64_t youngest) {
  unsigned count = 0;
  pthread_mutex_lock(&g_lock);
  for (const hook* next = next_after(&last, youngest); next != NULL; next = next_after(next, youngest)) {
    ++count;
  }
  pthread_mutex_unlock(&g_lock);
  return count;
}

static int add(const memgov_pressure_hook* from, memgov_handle* handle) {
  if (!g_prepared) {
    const int error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    if (error != 0) return error;
    g_prepared = true;
  }
  hook* place = place_of(0);
  if (place == NULL) return ENOSPC;
  *place =
      (hook){.handle = ++g_last_handle, .priority = from->priority, .give = from->give, .user = from->user};
  snprintf(place->name, sizeof(place->name), "%s", from->name != NULL ? from->name : "cache");
  if (handle != NULL) *handle = place->handle;
  atomic_fetch_add(&g_count, 1);
  return 0;
}

int memgov_on_pressure(const memgov_pressure_hook* hook, memgov_handle* handle) {
  /* This is the structure's first version: there is no smaller one. */
  if (hook == NULL || hook->size < sizeof(*hook) || hook->give == NULL) return EINVAL;
  pthread_mutex_lock(&g_lock);
  const int error = add(hook, handle);
  pthread_mutex_unlock(&g_lock);
  return error;
}

int memgov_off_pressure(memgov_handle handle) {
  if (handle == 0) return ENOENT;
  pthread_mutex_lock(&g_lock);
  hook* place = place_of(handle);
  if (place != NULL) {
    *place = (hook){.handle = 0};
    atomic_fetch_sub(&g_count, 1);
  }
  /* Also when somebody else took it out: what the hook uses may go away when we return. */
  while (g_running == handle && !pthread_equal(g_runner, pthread_self())) {
    pthread_cond_wait(&g_returned, &g_lock);
  }
  pthread_mutex_unlock(&g_lock);
  return place != NULL ? 0 : ENOENT;
}

bool mg_hooks_any(void) { return atomic_load_explicit(&g_count, memory_order_relaxed) > 0; }

/* --- calling them -----------------------------------------------------------------------------------------
 */

static void put_size(char out[24], uint64_t bytes) {
  if (bytes >= 10u << 20) {
    snprintf(out, 24, "%llu MiB", (unsigned long long)(bytes >> 20));
  } else {
    snprintf(out, 24, "%llu KiB", (unsigned long long)(bytes >> 10));
  }
}

/* Adds ", name 8 MiB" to the list; what does not fit is three dots. */
static void tell_one(char* list, size_t size, const char* name, uint64_t given, uint64_t took_ns) {
  char bytes[24] = "nothing";
  char took[32] = "";
  char item[96];
  if (given == MEMGOV_HOOK_FAILED) {
    snprintf(bytes, sizeof(bytes), "failed");
  } else if (given > 0) {
    put_size(bytes, given);
  }
  const unsigned long long took_ms = took_ns / MG_NS_PER_MS;
  if (took_ms >= 100) snprintf(took, sizeof(took), " in %llu ms", took_ms);
  const size_t used = strlen(list);
  const int length = snprintf(item, sizeof(item), "%s%s %s%s", used == 0 ? "" : ", ", name, bytes, took);
  const size_t dots = sizeof(", ...");
  if (used + (size_t)length + dots <= size) {
    memcpy(list + used, item, (size_t)length + 1);
  } else if (used >= dots && strcmp(list + used + 1 - dots, ", ...") != 0) {
    memcpy(list + used, ", ...", dots);
  }
}

static void tell_all(mg_shed* shed, uint64_t bytes, const char* list) {
  char given[24];
  char asked[24];
  char left[56] = "";
  put_size(given, shed->given);
  put_size(asked, bytes);
  if (shed->left > 0) {
    snprintf(left, sizeof(left), "; %s, %u not asked",
             atomic_load(&g_stopping) ? "memgov stops" : "the time was up", shed->left);
  }
  snprintf(shed->text, sizeof(shed->text), "gave %s of %s%s%s%s", given, asked, list[0] == '\0' ? "" : ": ",
           list, left);
}

/* Takes the next hook's entry and marks it as running. */
static bool begin_next(hook* last, uint64_t youngest) {
  pthread_mutex_lock(&g_lock);
  const hook* next = next_after(last, youngest);
  if (next != NULL) {
    *last = *next;
    g_running = next->handle;
    g_runner = pthread_self();
  }
  pthread_mutex_unlock(&g_lock);
  return next != NULL;
}

static void end_call(void) {
  pthread_mutex_lock(&g_lock);
  g_running = 0;
  pthread_cond_broadcast(&g_returned);
  pthread_mutex_unlock(&g_lock);
}

static uint64_t sum(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

mg_shed mg_hooks_shed(memgov_level level, uint64_t bytes, uint64_t until_ns) {
  mg_shed shed = {.called = 0};
  hook last = {.priority = INT_MIN};
  char list[80] = "";
  pthread_mutex_lock(&g_lock);
  const uint64_t youngest = g_last_handle;
  pthread_mutex_unlock(&g_lock);
  while (shed.given < bytes) {
    const uint64_t begin_ns = mg_now_ns();
    if (atomic_load(&g_stopping) || (until_ns != 0 && begin_ns >= until_ns)) {
      shed.left = count_after(last, youngest);
      break;
    }
    if (!begin_next(&last, youngest)) break;
    const memgov_pressure pressure = {
        .size = sizeof(pressure), .level = level, .bytes = bytes - shed.given, .until_ns = until_ns};
    const uint64_t given = last.give(last.user, &pressure);
    end_call();
    ++shed.called;
    if (given != MEMGOV_HOOK_FAILED) shed.given = sum(shed.given, given);
    tell_one(list, sizeof(list), last.name, given, mg_now_ns() - begin_ns);
  }
  if (shed.called + shed.left > 0) tell_all(&shed, bytes, list);
  return shed;
}

void mg_hooks_stop(bool stop) { atomic_store(&g_stopping, stop); }
