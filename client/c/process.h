/* What the agent reads about its own process, cheaply: clocks and /proc/self/statm through a kept descriptor.
 */

#ifndef MEMGOV_CLIENT_C_PROCESS_H_
#define MEMGOV_CLIENT_C_PROCESS_H_

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline uint64_t mg_clock_ns(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static inline uint64_t mg_now_ns(void) { return mg_clock_ns(CLOCK_MONOTONIC); }

enum { MG_NS_PER_MS = 1000000, MG_NS_PER_US = 1000 };

/* One reading. All 0 when /proc is not there. */
typedef struct mg_process {
  uint64_t now_ns;         /* CLOCK_MONOTONIC */
  uint64_t resident_bytes; /* all of it */
  uint64_t anon_bytes;     /* resident anonymous memory: heaps, stacks, written data */
  uint64_t cpu_ns;         /* used by all threads but the calling one since the process began */
} mg_process;

/* Opens /proc/self/statm, close-on-exec. -1 when that is not possible; mg_process_read() copes. */
int mg_statm_open(void);

/* Reads in about 5 us. For the agent thread. */
mg_process mg_process_read(int statm_fd);

/* Whether the process has locked its memory (mlockall): what an allocator keeps cannot be given back by
 * madvise() then. Takes about 5 us. False also before Linux 5.4, which does not tell. */
bool mg_process_is_locked(void);

/* Asks the kernel (6.12 or newer) to run the calling thread in slices of 0.1 ms: when it wakes, it does not
 * wait for the end of another's. It gets no more of the processor than before. For the agent thread. One with
 * another policy than SCHED_OTHER and SCHED_BATCH keeps it. Where the kernel refuses, or is older and does
 * nothing, the thread waits as others do. Source: sched_setattr(2). */
void mg_ask_for_short_slices(void);

#ifdef __cplusplus
}
#endif

#endif
