/* mimalloc, through its C interface.
 *
 * A heap belongs to the thread that allocates from it, and nobody else may touch it: mi_collect(true) on the
 * agent thread reaches what is shared (cached segments, arenas, heaps that ended threads left behind), and
 * nothing of what a living thread holds (needs_owner_thread). mimalloc has no count of either, so the
 * estimate is "none".
 *
 * The release mode works on all threads, from the next free on. Options have numbers that changed with 2.1.2,
 * and the two layouts below are those of the versions whose sources were read. Any other has no mode lever.
 */

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/c/allocators/allocator.h"
#include "client/c/environment.h"

extern char** environ;

enum { SETTINGS_MAX = 4, DEFAULTS_MAX = 3 };

#define AS_IT_IS LONG_MIN

typedef struct setting {
  int option;
  long defaults[DEFAULTS_MAX]; /* in any of these versions; the unused ones repeat the first */
  long lazy, eager;
} setting;

typedef struct layout {
  size_t count;
  setting settings[SETTINGS_MAX];
} layout;

static const layout kUntil211 = {4,
                                 {{11, {0, 0, 0}, 1, 0},                /* page_reset: MADV_FREE */
                                  {15, {25, 25, 25}, AS_IT_IS, 0},      /* decommit_delay, ms */
                                  {22, {1, 1, 1}, 0, 1},                /* allow_decommit: MADV_DONTNEED */
                                  {23, {500, 500, 500}, AS_IT_IS, 0}}}; /* segment_decommit_delay, ms */
static const layout kSince212 = {2,
                                 {{5, {1, 1, 1}, 0, 1},                  /* purge_decommits, or MADV_FREE */
                                  {15, {10, 1000, 2500}, AS_IT_IS, 0}}}; /* purge_delay, ms */

static struct {
  mg_mimalloc functions;
  const layout* layout;
  bool changed; /* a mode of ours is in force */
  struct {
    long before, ours;
  } values[SETTINGS_MAX];
} g_mimalloc;

/* As mi_version() tells them: 209 is 2.0.9, 3012 is 3.0.12, 20301 is 2.3.1. */
static const layout* layout_of(int version) {
  if (version >= 206 && version <= 211) return &kUntil211;
  const bool known = (version >= 182 && version <= 199) || (version >= 212 && version <= 229) ||
                     (version >= 301 && version <= 319) || (version >= 3000 && version <= 3299) ||
                     (version >= 10908 && version <= 10999) || (version >= 20300 && version <= 20499) ||
                     (version >= 30300 && version <= 30499);
  return known ? &kSince212 : NULL;
}

static mg_estimate mimalloc_estimate(const mg_process* process) {
  (void)process;
  return (mg_estimate){.kind = MG_ESTIMATE_NONE};
}

static const char* mimalloc_release(mg_release* release) {
  (void)release;
  /* A thread that never allocated has no heap, and mi_collect() would do nothing at all. */
  g_mimalloc.functions.thread_init();
  g_mimalloc.functions.collect(true);
  return NULL;
}

/* On its owner's thread it reaches what the agent's could not. */
static void mimalloc_release_thread(void) { g_mimalloc.functions.collect(true); }

static void mimalloc_restore_mode(void) {
  if (!g_mimalloc.changed) return;
  g_mimalloc.changed = false;
  for (size_t i = 0; i < g_mimalloc.layout->count; ++i) {
    const int option = g_mimalloc.layout->settings[i].option;
    /* What is not ours any more was changed by the application in between: its setting wins. */
    if (g_mimalloc.functions.option_get(option) != g_mimalloc.values[i].ours) continue;
    g_mimalloc.functions.option_set(option, g_mimalloc.values[i].before);
  }
}

static const char* mimalloc_set_mode(mg_release_mode mode) {
  mimalloc_restore_mode(); /* so that `before` always is what the application had */
  g_mimalloc.changed = true;
  for (size_t i = 0; i < g_mimalloc.layout->count; ++i) {
    const setting* each = &g_mimalloc.layout->settings[i];
    const long wanted = mode == MG_MODE_LAZY ? each->lazy : each->eager;
    const long before = g_mimalloc.functions.option_get(each->option);
    g_mimalloc.values[i].before = before;
    g_mimalloc.values[i].ours = wanted == AS_IT_IS ? before : wanted;
    if (wanted != AS_IT_IS) g_mimalloc.functions.option_set(each->option, wanted);
  }
  return NULL;
}

/* Whether the environment has a variable about giving memory back, in any case, as mimalloc reads them. */
static bool in_environment(void) {
  if (!mg_environment_counts()) return false;
  for (char** each = environ; each != NULL && *each != NULL; ++each) {
    if (strncasecmp(*each, "mimalloc_", 9) != 0) continue;
    if (strcasestr(*each, "purge") != NULL || strcasestr(*each, "decommit") != NULL ||
        strcasestr(*each, "reset") != NULL) {
      return true;
    }
  }
  return false;
}

/* NULL, or why its release mode is not ours to set. */
static const char* mode_is_taken(void) {
  if (g_mimalloc.layout == NULL) return "the numbers of this mimalloc's options are not known";
  bool taken = in_environment();
  for (size_t i = 0; i < g_mimalloc.layout->count; ++i) {
    const setting* each = &g_mimalloc.layout->settings[i];
    const long value = g_mimalloc.functions.option_get(each->option);
    bool usual = false;
    for (size_t n = 0; n < DEFAULTS_MAX; ++n) usual |= value == each->defaults[n];
    taken |= !usual;
  }
  return taken ? "the user configured when mimalloc gives memory back, and that wins" : NULL;
}

static void put_name(char* name, size_t size, int version) {
  if (version >= 10000) {
    snprintf(name, size, "mimalloc %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
  } else if (version >= 1000) {
    snprintf(name, size, "mimalloc %d.%d.%d", version / 1000, version / 100 % 10, version % 100);
  } else {
    snprintf(name, size, "mimalloc %d.%d.%d", version / 100, version / 10 % 10, version % 10);
  }
}

mg_allocator* mg_mimalloc_allocator(const mg_mimalloc* functions) {
  static mg_allocator allocator;
  mimalloc_restore_mode(); /* a fork may have taken us away in the middle of a mode */
  /* Written once: the application's threads read it at their checkpoints. */
  if (g_mimalloc.functions.collect != functions->collect) g_mimalloc.functions = *functions;
  const int version = functions->version();
  g_mimalloc.layout = layout_of(version);
  allocator =
      (mg_allocator){.capabilities = {.release = true, .needs_owner_thread = true, .stall = MG_STALL_SHORT},
                     .why_no_mode = mode_is_taken(),
                     .estimate = mimalloc_estimate,
                     .release = mimalloc_release,
                     .set_mode = mimalloc_set_mode,
                     .restore_mode = mimalloc_restore_mode,
                     .release_thread = mimalloc_release_thread};
  allocator.capabilities.set_release_mode = allocator.why_no_mode == NULL;
  put_name(allocator.name, sizeof(allocator.name), version);
  return &allocator;
}
