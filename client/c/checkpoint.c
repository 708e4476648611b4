#include "client/c/checkpoint.h"

#include <stdatomic.h>

#include "client/c/memgov.h"

typedef void (*release_thread)(void);

static _Atomic(release_thread) g_releases[MG_ALLOCATORS_MAX];
static atomic_uint g_asked; /* how often; published after g_releases */

/* In the thread's fixed block, where reaching it calls nothing: the library needs libc alone. */
static _Thread_local unsigned t_answered __attribute__((tls_model("initial-exec")));

void mg_checkpoint_ask(const mg_allocators* allocators) {
  bool any = false;
  for (size_t i = 0; i < MG_ALLOCATORS_MAX; ++i) {
    const release_thread release = i < allocators->count ? allocators->list[i]->release_thread : NULL;
    atomic_store_explicit(&g_releases[i], release, memory_order_relaxed);
    any |= release != NULL;
  }
  if (any) atomic_fetch_add_explicit(&g_asked, 1, memory_order_release);
}

void memgov_thread_checkpoint(void) {
  if (atomic_load_explicit(&g_asked, memory_order_relaxed) == t_answered) return;
  t_answered = atomic_load_explicit(&g_asked, memory_order_acquire);
  for (size_t i = 0; i < MG_ALLOCATORS_MAX; ++i) {
    const release_thread release = atomic_load_explicit(&g_releases[i], memory_order_relaxed);
    if (release != NULL) release();
  }
}
