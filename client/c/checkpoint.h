/* Heaps that only their own thread can release: what the agent wants is left as a note, and each thread acts
 * on it when it comes by (memgov_thread_checkpoint). */

#ifndef MEMGOV_CLIENT_C_CHECKPOINT_H_
#define MEMGOV_CLIENT_C_CHECKPOINT_H_

#include "client/c/allocators/allocator.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Asks every thread that passes a checkpoint to release its heap, once. Does nothing when no allocator has
 * such heaps. To be called when the agent has released what it can: the work is the agent's, not a request's,
 * and two that purge jemalloc's arena at once do not wait for each other, so that the agent would answer
 * before the memory has left. For the agent thread. */
void mg_checkpoint_ask(const mg_allocators* allocators);

#ifdef __cplusplus
}
#endif

#endif
