/* glibc's malloc.
 *
 * Release is malloc_trim(0): all whole free pages of all arenas, by MADV_DONTNEED; it may stall threads that
 * use the same arena for 100 ms and more. There is no lazy mode, so none is claimed.
 *
 * The estimate. glibc keeps no cheap count of free memory: mallinfo2() walks all free chunks under the
 * arena's lock (measured: 5 us to 71 ms). So it is called only when nobody is hurt: while the process is
 * quiet (uses under 2 % of a CPU: nobody waits for the lock) and has done something since the last time; or
 * at most once a minute in a busy process as long as a call takes under 1 ms; and never for more than 0.1 %
 * of the time. From the last call's numbers
 *
 *     before any trim:  retained = min(free chunks, resident anonymous memory)
 *     after one:        retained = what became free and is resident since, at most the above
 *
 * because free chunks that a trim emptied stay in glibc's count, and pages that hold a survivor stay
 * resident. The second lot comes back in proportion as survivors are freed. kind BOUND. But "little" from
 * before the process did something means nothing: it may have freed much since. Then the kind is NONE, and
 * the governor asks us after those who know. It asks on, then, though the heap may be large and hold nothing
 * but small pieces between survivors; such a trim is declined for a while (trim_pace.h).
 */

#include <malloc.h>

#include "client/c/allocators/allocator.h"
#include "client/c/allocators/trim_pace.h"

#ifdef __GLIBC__
#include <gnu/libc-version.h>
#include <stdio.h>

#define SECONDS(n) ((uint64_t)(n)*1000000000u)

typedef struct glibc_state {
  uint64_t tick_ns, tick_cpu_ns;     /* the last estimate */
  uint64_t sample_ns, sample_cpu_ns; /* the last call of mallinfo2(), or when we began */
  uint64_t cost_ns;                  /* what it took */
  uint64_t live_bytes, free_bytes;   /* what it said */
  bool began, sampled;
  enum { NEVER_TRIMMED, JUST_TRIMMED, TRIMMED } trim;
  uint64_t anon_then, live_then, pinned_then; /* right after the last trim */
  mg_trim_pace pace;
} glibc_state;

static glibc_state g_glibc;

/* Below this an old count is not worth telling. */
static const uint64_t kWorthTelling = 16u << 20;

static uint64_t less(uint64_t from, uint64_t what) { return from > what ? from - what : 0; }
static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Whether the process has used a noticeable amount of CPU since the last sample. */
static bool has_changed(const mg_process* process) {
  return less(process->cpu_ns, g_glibc.sample_cpu_ns) >= MG_NS_PER_MS;
}

static bool may_sample(const mg_process* process, bool quiet) {
  const uint64_t since_ns = less(process->now_ns, g_glibc.sample_ns);
  if (since_ns < g_glibc.cost_ns * 1000) return false;
  if (!quiet) return since_ns >= SECONDS(60) && g_glibc.cost_ns <= MG_NS_PER_MS;
  return !g_glibc.sampled || g_glibc.trim == JUST_TRIMMED || has_changed(process);
}

static void sample(const mg_process* process) {
  /* CPU time: on a crowded machine the wall clock would count what others did. */
  const uint64_t begin_ns = mg_clock_ns(CLOCK_THREAD_CPUTIME_ID);
  const struct mallinfo2 info = mallinfo2();
  g_glibc.cost_ns = mg_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns;
  g_glibc.sample_ns = process->now_ns;
  g_glibc.sample_cpu_ns = process->cpu_ns;
  g_glibc.sampled = true;
  g_glibc.live_bytes = info.uordblks + info.hblkhd;
  g_glibc.free_bytes = info.fordblks;
  mg_trim_counted(&g_glibc.pace, g_glibc.live_bytes);
}

/* Whether the process has been using under 2 % of a CPU since the last estimate. */
static bool tick_is_quiet(const mg_process* process) {
  const uint64_t elapsed_ns = less(process->now_ns, g_glibc.tick_ns);
  const uint64_t used_ns = less(process->cpu_ns, g_glibc.tick_cpu_ns);
  const bool quiet = g_glibc.began && used_ns * 50 <= elapsed_ns;
  if (!g_glibc.began) {
    g_glibc.began = true;
    g_glibc.sample_ns = process->now_ns;
    g_glibc.sample_cpu_ns = process->cpu_ns;
  }
  g_glibc.tick_ns = process->now_ns;
  g_glibc.tick_cpu_ns = process->cpu_ns;
  return quiet;
}

/* What has become free and resident since the last trim. */
static uint64_t retained_since_trim(uint64_t anon_bytes) {
  const uint64_t live = g_glibc.live_bytes;
  const uint64_t then = g_glibc.live_then;
  uint64_t unpinned = 0;
  if (live < then) unpinned = (uint64_t)((double)g_glibc.pinned_then * (double)(then - live) / (double)then);
  return less(anon_bytes + then + unpinned, g_glibc.anon_then + live);
}

static mg_estimate glibc_estimate(const mg_process* process) {
  const bool quiet = tick_is_quiet(process);
  if (may_sample(process, quiet)) sample(process);
  if (!g_glibc.sampled) return (mg_estimate){.kind = MG_ESTIMATE_NONE};

  if (g_glibc.trim == JUST_TRIMMED) {
    g_glibc.trim = TRIMMED;
    g_glibc.anon_then = process->anon_bytes;
    g_glibc.live_then = g_glibc.live_bytes;
    g_glibc.pinned_then = least(g_glibc.free_bytes, less(process->anon_bytes, g_glibc.live_bytes));
  }
  mg_estimate estimate = {.live_bytes = g_glibc.live_bytes, .kind = MG_ESTIMATE_BOUND};
  estimate.retained_bytes = least(g_glibc.free_bytes, process->anon_bytes);
  if (g_glibc.trim == TRIMMED) {
    estimate.retained_bytes = least(estimate.retained_bytes, retained_since_trim(process->anon_bytes));
  }
  if (estimate.retained_bytes < kWorthTelling && has_changed(process)) {
    return (mg_estimate){.kind = MG_ESTIMATE_NONE};
  }
  return estimate;
}

/* A trim cannot be cut: it takes all arenas, each of them whole. */
static const char* glibc_release(mg_release* release) {
  const mg_process before = mg_process_read(release->statm_fd);
  const uint64_t wait_ns = mg_trim_wait_ns(&g_glibc.pace, release->level, before.anon_bytes, before.now_ns);
  if (wait_ns > 0 && !release->freed) {
    snprintf(release->stopped, sizeof(release->stopped),
             "the last trim took %llu ms and brought %llu KiB: none for %llu s, unless the heap changes",
             (unsigned long long)(g_glibc.pace.took_ns / MG_NS_PER_MS),
             (unsigned long long)(g_glibc.pace.returned_bytes >> 10),
             (unsigned long long)((wait_ns + SECONDS(1) - 1) / SECONDS(1)));
    release->declined = true;
    return NULL;
  }
  const uint64_t begin_ns = mg_clock_ns(CLOCK_THREAD_CPUTIME_ID);
  malloc_trim(0);
  const uint64_t took_ns = mg_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns;
  const mg_process after = mg_process_read(release->statm_fd);
  mg_trim_done(&g_glibc.pace, before.anon_bytes, after.anon_bytes, took_ns, after.now_ns);
  g_glibc.trim = JUST_TRIMMED;
  return NULL;
}

mg_allocator* mg_glibc_allocator(void) {
  static mg_allocator allocator = {.is_last = true,
                                   .capabilities = {.release = true, .stall = MG_STALL_LONG},
                                   .why_no_mode = "glibc's malloc has no lazy mode",
                                   .estimate = glibc_estimate,
                                   .release = glibc_release};
  g_glibc = (glibc_state){.began = false};
  snprintf(allocator.name, sizeof(allocator.name), "glibc %s", gnu_get_libc_version());
  return &allocator;
}

#else
mg_allocator* mg_glibc_allocator(void) { return NULL; }
#endif
