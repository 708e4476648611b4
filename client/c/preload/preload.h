/* What the functions in front of the C library's (waits.c, stdio.c) and the attachment (preload.c) of
 * libmemgov_preload.so share. */

#ifndef MEMGOV_CLIENT_C_PRELOAD_PRELOAD_H_
#define MEMGOV_CLIENT_C_PRELOAD_PRELOAD_H_

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/c/memgov.h"

/* What is known of a place where the program could be attached; a sum. */
enum {
  MG_ANYWHERE = 0,
  MG_IN_HANDLERS = 1, /* the function is async-signal-safe: we may be inside a signal handler */
  MG_IF_LARGE = 2,    /* only a process that holds enough to be worth a thread */
  MG_ENDLESS = 4,  /* may be entered once and never left: a process that is large already need not settle */
  MG_NO_WAIT = 8,  /* the program goes on at once: not in a child of fork(), which may be a snapshot */
  MG_NOWHERE = 32, /* this call does not wait */
  MG_CALLER = 16   /* allocators wait in it, too, with their locks taken: not when one of them calls */
};

/* CLOCK_MONOTONIC from when on the next wait attaches; 0: there is nothing to do. */
extern _Atomic uint64_t mg_preload_due_ns;

/* Attaches if it is time to and if this is a good place. errno stays. `caller` is an address in the program
 * that called the function. */
void mg_preload_consider(int place, const void* caller);

static inline void mg_preload_at(int place, const void* caller) {
  if (atomic_load_explicit(&mg_preload_due_ns, memory_order_relaxed) != 0) mg_preload_consider(place, caller);
}

/* A function that ours stands in front of. Aligned, so that the section "mg_fronts" is an array of them. */
typedef struct __attribute__((aligned(32))) mg_next {
  _Atomic(void*) function; /* NULL: not looked for yet */
  const char* name;
  bool early;
} mg_next;

/* The next function of that name in the loader's order; if there is none, one that fails with ENOSYS. */
void* mg_preload_find(mg_next* next);

/* Finds those that may be called in signal handlers, where looking is not allowed. The others are found when
 * they are called first: a look-up takes a good part of a microsecond, and there are many. */
void mg_preload_find_early(void);

static inline void* mg_preload_next(mg_next* next) {
  void* const found = atomic_load_explicit(&next->function, memory_order_relaxed);
  return found != NULL ? found : mg_preload_find(next);
}

/* Puts a function in front of the C library's: a load and a branch, then a jump. `place` may use the
 * parameters. FRONT_IN_HANDLERS is for functions that are async-signal-safe. */
/* NOLINTBEGIN(bugprone-macro-parentheses): lists of parameters and arguments have theirs */
#define MG_FRONT(is_early, place, name, type, parameters, arguments)                             \
  __attribute__((section("mg_fronts"), used)) static mg_next g_##name = {NULL, #name, is_early}; \
  MEMGOV_EXPORT type name parameters {                                                           \
    mg_preload_at(place, __builtin_return_address(0));                                           \
    type(*next) parameters = NULL;                                                               \
    *(void**)&next = mg_preload_next(&g_##name);                                                 \
    return next arguments;                                                                       \
  }
#define FRONT(place, name, type, parameters, arguments) \
  MG_FRONT(false, place, name, type, parameters, arguments)
#define FRONT_IN_HANDLERS(place, name, type, parameters, arguments) \
  MG_FRONT(true, (place) | MG_IN_HANDLERS, name, type, parameters, arguments)
/* NOLINTEND(bugprone-macro-parentheses) */

#endif
