/* What to do next about want of memory, and when: the ladder of a process that has no governor. Pure: time is
 * a parameter, and who asks carries it out.
 *
 *   eager release mode, renewed while the want lasts; its time to live ends it
 *   release, a piece at a time, as long as something comes
 *   the application's pressure hooks, when releasing gives nothing more and the want goes on
 *
 * A step that gives is soon repeated; one that gives nothing waits, each time twice as long. So a process
 * whose cgroup is always full costs next to nothing, and a cache is not emptied for a moment's stall. */

#ifndef MEMGOV_CLIENT_C_LOCAL_PACE_H_
#define MEMGOV_CLIENT_C_LOCAL_PACE_H_

#include <stdbool.h>
#include <stdint.h>

#include "client/c/memgov.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Values are those of the directives that do it. */
typedef enum mg_step {
  MG_STEP_NONE = MEMGOV_ACTION_NONE,
  MG_STEP_EAGER = MEMGOV_ACTION_SET_RELEASE_MODE,
  MG_STEP_RELEASE = MEMGOV_ACTION_RELEASE,
  MG_STEP_SHED = MEMGOV_ACTION_SHED
} mg_step;

/* What the process could do at this moment. */
typedef struct mg_means {
  bool eager;   /* an allocator has a release mode that is ours to set */
  bool release; /* ... or can release */
  bool shed;    /* hooks are registered */
  bool told;    /* retained_bytes is an estimate, not ignorance */
  uint64_t retained_bytes;
} mg_means;

typedef struct mg_rung {
  uint64_t tried_ns;
  uint64_t pause_ns; /* 0: not tried yet */
} mg_rung;

typedef struct mg_pace {
  uint64_t pressed_since_ns; /* 0: calm */
  uint64_t eager_until_ns;   /* 0: not set by us */
  mg_rung release;
  mg_rung shed;
} mg_pace;

/* Times to live and bytes of one step. */
enum { MG_LOCAL_TTL_MS = 30000, MG_LOCAL_PIECE_BYTES = 64 << 20 };

/* `level` is CALM when nothing is wanted; `told_bytes`: how much is wanted is known, so a limit is near (else
 * it is stalls). */
mg_step mg_pace_next(mg_pace* pace, memgov_level level, bool told_bytes, const mg_means* means,
                     uint64_t now_ns);

/* The step was carried out and `given` bytes have left the process. */
void mg_pace_done(mg_pace* pace, mg_step step, uint64_t given, uint64_t now_ns);

#ifdef __cplusplus
}
#endif

#endif
