/* When glibc's heap is worth another trim. Pure: time is a parameter.
 *
 * A trim walks all free chunks with the arena locked. In a large heap with survivors everywhere that takes
 * 100 ms and returns nothing, again and again, if who asks takes what the program itself gives and takes
 * meanwhile for a gift. So a trim is judged by what it brought for its time; after one that was in vain the
 * next waits, each time twice as long, unless there is a sign that the heap has really changed: much memory
 * came since, which may be free by now, or much less is in use than there was (glibc.c counts that when it
 * costs nobody anything). The program's usual ups and downs are no such sign. */

#ifndef MEMGOV_CLIENT_C_ALLOCATORS_TRIM_PACE_H_
#define MEMGOV_CLIENT_C_ALLOCATORS_TRIM_PACE_H_

#include <stdbool.h>
#include <stdint.h>

#include "client/c/memgov.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mg_trim_pace {
  uint64_t pause_ns; /* 0: the last trim was worth its time, or there was none */
  uint64_t at_ns;    /* when the last one ended */
  uint64_t took_ns;
  uint64_t returned_bytes;
  uint64_t anon_bytes; /* resident right after it */
  uint64_t live_bytes; /* in use as last counted since; 0: not counted yet */
} mg_trim_pace;

/* How long to leave the heap alone yet. 0: a trim may be worth it. `anon_bytes` is resident now; near a kill
 * pauses are shorter. */
uint64_t mg_trim_wait_ns(const mg_trim_pace* pace, memgov_level level, uint64_t anon_bytes, uint64_t now_ns);

/* One has been done. `took_ns` of CPU, resident anonymous memory before and after. */
void mg_trim_done(mg_trim_pace* pace, uint64_t anon_before, uint64_t anon_after, uint64_t took_ns,
                  uint64_t now_ns);

/* So much is in use, as counted just now. */
void mg_trim_counted(mg_trim_pace* pace, uint64_t live_bytes);

#ifdef __cplusplus
}
#endif

#endif
