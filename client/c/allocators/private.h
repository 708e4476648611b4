/* Allocators that other people's objects have for themselves: the mimalloc and the jemalloc in pyarrow, the
 * jemalloc in polars and in many a program in Rust. Nothing of theirs is configured, they are released only.
 * All of them together are one allocator to the rest of the client. */

#ifndef MEMGOV_CLIENT_C_ALLOCATORS_PRIVATE_H_
#define MEMGOV_CLIENT_C_ALLOCATORS_PRIVATE_H_

#include <pthread.h>

#include "client/c/allocators/allocator.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum mg_look {
  MG_LOOK_DONE, /* all that is loaded has been looked into */
  MG_LOOK_MORE,
  MG_LOOK_FOUND /* `found` has changed, and there may be more */
} mg_look;

/* Looks into one object that was loaded and not looked into yet, which takes up to some tens of ms; adds what
 * it finds to `found` (before glibc, which is last) or, if it cannot be driven, names it there. `anon_bytes`
 * is what the process holds: in a small one nothing is looked into. For the agent thread; `descriptors` is
 * held against fork() while a descriptor is made or closed. */
mg_look mg_private_look(mg_allocators* found, uint64_t anon_bytes, pthread_mutex_t* descriptors,
                        uint64_t now_ns);

/* Those that were found before, in a process that attaches again. */
void mg_private_add(mg_allocators* found);

/* Around fork(): no child finds a lock of theirs taken by a call of ours. */
void mg_private_before_fork(void);
void mg_private_after_fork_in_parent(void);
void mg_private_after_fork_in_child(void);

#ifdef __cplusplus
}
#endif

#endif
