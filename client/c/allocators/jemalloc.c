/* jemalloc 5 and newer, through mallctl.
 *
 * Freed pages are first dirty, then (after dirty_decay_ms) muzzy: given up with MADV_FREE, then (after
 * muzzy_decay_ms) given back with MADV_DONTNEED. With dirty_decay_ms = 0 pages skip the muzzy state, so:
 *
 *     lazy:   muzzy_decay_ms = -1 (stay muzzy), dirty_decay_ms = 100
 *     eager:  both 0; jemalloc purges at once what is dirty or muzzy then
 *
 * Both exist for each arena and, under arenas.*, for arenas that are made later. (arena.4096, which means all
 * arenas elsewhere, is refused there.)
 *
 * Release is arena.<i>.purge, which takes all dirty and muzzy pages of that arena, in any mode: so it can
 * stop between arenas, not within one. jemalloc holds none of malloc's locks while it calls madvise, so one
 * purge stalls others for milliseconds however much it returns, and a stall bound needs no stop. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "client/c/allocators/allocator.h"
#include "client/c/environment.h"

enum {
  ALL_ARENAS = 4096, /* MALLCTL_ARENAS_ALL */
  ARENAS_MAX = 512,  /* jemalloc makes four for each CPU; those beyond are left as they are */
  DEFAULT_DIRTY_MS = 10000,
  DEFAULT_MUZZY_MS = 0,
  LAZY_DIRTY_MS = 100
};

typedef struct decay {
  ssize_t dirty_ms;
  ssize_t muzzy_ms;
} decay;

static struct {
  mg_mallctl mallctl;
  uint64_t page_bytes;
  char error[64];

  bool changed; /* a mode of ours is in force: `ours`; below is what was there before */
  decay ours;
  decay future_before;
  decay before[ARENAS_MAX];
  bool saved[ARENAS_MAX];
} g_jemalloc;

static bool get(const char* name, void* value, size_t size) {
  return g_jemalloc.mallctl(name, value, &size, NULL, 0) == 0;
}

static bool get_decay(const char* prefix, decay* value) {
  char name[48];
  snprintf(name, sizeof(name), "%s.dirty_decay_ms", prefix);
  if (!get(name, &value->dirty_ms, sizeof(value->dirty_ms))) return false;
  snprintf(name, sizeof(name), "%s.muzzy_decay_ms", prefix);
  return get(name, &value->muzzy_ms, sizeof(value->muzzy_ms));
}

static bool set_decay(const char* prefix, decay value) {
  char name[48];
  snprintf(name, sizeof(name), "%s.muzzy_decay_ms", prefix);
  if (g_jemalloc.mallctl(name, NULL, NULL, &value.muzzy_ms, sizeof(value.muzzy_ms)) != 0) return false;
  snprintf(name, sizeof(name), "%s.dirty_decay_ms", prefix);
  return g_jemalloc.mallctl(name, NULL, NULL, &value.dirty_ms, sizeof(value.dirty_ms)) == 0;
}

static bool same(decay a, decay b) { return a.dirty_ms == b.dirty_ms && a.muzzy_ms == b.muzzy_ms; }

/* "arena.<i>", and whether that arena is there. */
static bool arena_prefix(unsigned i, char prefix[24]) {
  char name[40];
  bool initialized = false;
  snprintf(prefix, 24, "arena.%u", i);
  snprintf(name, sizeof(name), "%s.initialized", prefix);
  return get(name, &initialized, sizeof(initialized)) && initialized;
}

static unsigned arena_count(void) {
  unsigned count = 0;
  if (!get("arenas.narenas", &count, sizeof(count))) return 0;
  return count < ARENAS_MAX ? count : ARENAS_MAX;
}

static void jemalloc_restore_mode(void) {
  if (!g_jemalloc.changed) return;
  decay now;
  /* What is not ours any more was changed by the application in between: its setting wins. */
  if (get_decay("arenas", &now) && same(now, g_jemalloc.ours)) set_decay("arenas", g_jemalloc.future_before);
  const unsigned count = arena_count();
  for (unsigned i = 0; i < count; ++i) {
    char prefix[24];
    if (!arena_prefix(i, prefix) || !get_decay(prefix, &now) || !same(now, g_jemalloc.ours)) continue;
    set_decay(prefix, g_jemalloc.saved[i] ? g_jemalloc.before[i] : g_jemalloc.future_before);
  }
  g_jemalloc.changed = false;
}

static const char* jemalloc_set_mode(mg_release_mode mode) {
  const decay wanted = mode == MG_MODE_LAZY ? (decay){LAZY_DIRTY_MS, -1} : (decay){0, 0};
  if (g_jemalloc.changed && same(g_jemalloc.ours, wanted)) return NULL;
  if (g_jemalloc.changed) jemalloc_restore_mode(); /* so that `before` always is what the application had */
  if (!get_decay("arenas", &g_jemalloc.future_before)) return "jemalloc does not tell its decay times";
  memset(g_jemalloc.saved, 0, sizeof(g_jemalloc.saved));
  g_jemalloc.changed = true;
  g_jemalloc.ours = wanted;
  if (!set_decay("arenas", wanted)) {
    jemalloc_restore_mode();
    return "jemalloc refused to set arenas.*_decay_ms";
  }
  const unsigned count = arena_count();
  for (unsigned i = 0; i < count; ++i) {
    char prefix[24];
    if (!arena_prefix(i, prefix) || !get_decay(prefix, &g_jemalloc.before[i])) continue;
    g_jemalloc.saved[i] = true;
    set_decay(prefix, wanted); /* fails if the arena has been destroyed just now; that is well */
  }
  return NULL;
}

static uint64_t pages(const char* name) {
  size_t count = 0;
  return get(name, &count, sizeof(count)) ? count * g_jemalloc.page_bytes : 0;
}

/* Of the statistics. */
static void refresh(void) {
  uint64_t epoch = 1;
  g_jemalloc.mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
}

static mg_estimate jemalloc_estimate(const mg_process* process) {
  (void)process;
  refresh();
  mg_estimate estimate = {.kind = MG_ESTIMATE_EXACT};
  estimate.live_bytes = pages("stats.arenas.4096.pactive");
  estimate.lazily_freed_bytes = pages("stats.arenas.4096.pmuzzy");
  estimate.retained_bytes = pages("stats.arenas.4096.pdirty") + estimate.lazily_freed_bytes;
  return estimate;
}

static const char* purge(unsigned arena) {
  char name[24];
  snprintf(name, sizeof(name), "arena.%u.purge", arena);
  const int error = g_jemalloc.mallctl(name, NULL, NULL, NULL, 0);
  if (error == 0) return NULL;
  snprintf(g_jemalloc.error, sizeof(g_jemalloc.error), "jemalloc's %s failed with errno %d", name, error);
  return g_jemalloc.error;
}

/* Dirty and muzzy pages of one arena, as of the last refresh. */
static uint64_t held_by(unsigned arena) {
  char dirty[40];
  char muzzy[40];
  snprintf(dirty, sizeof(dirty), "stats.arenas.%u.pdirty", arena);
  snprintf(muzzy, sizeof(muzzy), "stats.arenas.%u.pmuzzy", arena);
  return pages(dirty) + pages(muzzy);
}

static const char* jemalloc_release(mg_release* release) {
  refresh();
  const uint64_t enough = release->bytes == 0 ? UINT64_MAX : release->bytes;
  const uint64_t held = held_by(ALL_ARENAS);
  uint64_t returned = 0;
  if (enough < held) {
    const unsigned count = arena_count();
    for (unsigned i = 0; i < count; ++i) {
      char prefix[24];
      const uint64_t here = arena_prefix(i, prefix) ? held_by(i) : 0;
      if (here == 0 || purge(i) != NULL) continue; /* fails if it has been destroyed just now; that is well */
      returned += here;
      if (returned >= enough) return NULL;
    }
  }
  return purge(ALL_ARENAS); /* with what became free meanwhile */
}

/* The thread's cache holds freed blocks that count as in use; once back in the arena their pages can go. */
static void jemalloc_release_thread(void) {
  unsigned arena = 0;
  char name[24];
  if (g_jemalloc.mallctl("thread.tcache.flush", NULL, NULL, NULL, 0) != 0) return; /* it has none */
  if (!get("thread.arena", &arena, sizeof(arena))) return;
  snprintf(name, sizeof(name), "arena.%u.purge", arena);
  g_jemalloc.mallctl(name, NULL, NULL, NULL, 0);
}

/* NULL, or why its release mode is not ours to set. */
static const char* mode_is_taken(void) {
  decay opt;
  const char* environment = mg_environment("MALLOC_CONF");
  if (!get_decay("opt", &opt)) return "this jemalloc was built without decay";
  if (opt.dirty_ms != DEFAULT_DIRTY_MS || opt.muzzy_ms != DEFAULT_MUZZY_MS ||
      (environment != NULL && strstr(environment, "decay_ms") != NULL)) {
    return "the user configured jemalloc's decay times, and that wins";
  }
  return NULL;
}

static mg_release_mode configured_mode(void) {
  decay opt;
  if (!get_decay("opt", &opt)) return MG_MODE_UNKNOWN;
  if (opt.muzzy_ms != 0 && opt.dirty_ms > 0) return MG_MODE_LAZY;
  /* The default (10 s dirty, then DONTNEED) is neither: it gives back, but an idle process never gets to it.
   */
  return opt.dirty_ms == 0 ? MG_MODE_EAGER : MG_MODE_UNKNOWN;
}

mg_allocator* mg_jemalloc_allocator(mg_mallctl mallctl) {
  static mg_allocator allocator;
  const char* version = NULL;
  size_t page = 0;
  /* Written once: the application's threads read it at their checkpoints. */
  if (g_jemalloc.mallctl != mallctl) g_jemalloc.mallctl = mallctl;
  if (!get("version", &version, sizeof(version)) || strtol(version, NULL, 10) < 5) return NULL;
  if (!get("arenas.page", &page, sizeof(page))) return NULL;
  g_jemalloc.page_bytes = page;
  jemalloc_restore_mode(); /* a fork may have taken us away in the middle of a mode */

  allocator = (mg_allocator){.capabilities = {.release = true, .retroactive = true, .stall = MG_STALL_SHORT},
                             .startup_mode = configured_mode(),
                             .why_no_mode = mode_is_taken(),
                             .estimate = jemalloc_estimate,
                             .release = jemalloc_release,
                             .set_mode = jemalloc_set_mode,
                             .restore_mode = jemalloc_restore_mode,
                             .release_thread = jemalloc_release_thread};
  allocator.capabilities.set_release_mode = allocator.why_no_mode == NULL;
  allocator.capabilities.release_in_chunks = arena_count() > 1;
  snprintf(allocator.name, sizeof(allocator.name), "jemalloc %.*s", (int)strcspn(version, "-"), version);
  return &allocator;
}
