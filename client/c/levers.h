/* Everything that a governor can make this process do, and the process's account of itself: the allocators
 * found, taken together. For the agent thread; nothing here mallocs except mg_levers_find(). */

#ifndef MEMGOV_CLIENT_C_LEVERS_H_
#define MEMGOV_CLIENT_C_LEVERS_H_

#include <pthread.h>
#include <stdint.h>

#include "client/c/allocators/allocator.h"
#include "client/c/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mg_levers {
  mg_allocators allocators;
  int statm_fd;             /* not owned */
  unsigned changes;         /* how often an allocator was found later */
  mg_release_mode mode;     /* in force now */
  uint64_t revert_at_ns;    /* when the present mode's time to live ends; 0: nothing to revert */
  uint64_t locked_until_ns; /* a release brought nothing because memory is locked: none before that */
} mg_levers;

void mg_levers_init(mg_levers* levers, mg_allocators allocators, int statm_fd);

/* Fills runtime, capabilities and startup_mode. */
void mg_levers_describe(const mg_levers* levers, mg_hello* hello);

mg_report mg_levers_report(const mg_levers* levers);

/* Looks for allocators in objects that were loaded since, one object at a time. When there is another one
 * `changes` rises, as the description has changed. True: there is more to look into. `descriptors` as for
 * mg_private_look(). */
bool mg_levers_look(mg_levers* levers, pthread_mutex_t* descriptors);

/* Carries a directive out, or declines it and says why. Takes as long as the allocator and the application's
 * hooks take. */
mg_outcome mg_levers_carry_out(mg_levers* levers, const mg_directive* directive, uint64_t received_ns);

/* Restores what directives changed, whatever their time to live. */
void mg_levers_revert(mg_levers* levers);

#ifdef __cplusplus
}
#endif

#endif
