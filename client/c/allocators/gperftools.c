/* gperftools' tcmalloc (2.7 and newer), through the C interface of MallocExtension.
 *
 * Its page heap keeps free spans resident and gives them back with MADV_DONTNEED, holding the one lock of the
 * page heap while the kernel works: ReleaseFreeMemory() takes that lock once for everything (measured: 97 ms
 * for 640 MiB). So Release goes in slices (page_heap.h).
 *
 * What cannot be cut is a span: each slice takes whole ones. Those above 1 MiB come in the order of their
 * length, so after one that took longer than the bound others would as well, and Release ends there.
 *
 * There is no lazy mode (nothing here uses MADV_FREE). Eager is tcmalloc.aggressive_memory_decommit: a span
 * that becomes free goes back at once, under the lock. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/c/allocators/allocator.h"
#include "client/c/allocators/page_heap.h"
#include "client/c/environment.h"

static const char kLive[] = "generic.current_allocated_bytes";
static const char kHeap[] = "generic.heap_size";
static const char kFree[] = "tcmalloc.pageheap_free_bytes";
static const char kDecommitted[] = "tcmalloc.pageheap_total_decommit_bytes"; /* ever; only grows */
static const char kEager[] = "tcmalloc.aggressive_memory_decommit";

static struct {
  mg_gperftools functions;
  bool keeps_all; /* the user forbade it to give memory back */
  bool eager;     /* by us */
} g_gperftools;

static uint64_t property(const char* name) {
  size_t value = 0;
  return g_gperftools.functions.get_property(name, &value) != 0 ? value : 0;
}

static bool has_property(const char* name) {
  size_t value = 0;
  return g_gperftools.functions.get_property(name, &value) != 0;
}

/* Free bytes in thread caches and in spans that are in use in part are neither live nor returnable. */
static mg_estimate gperftools_estimate(const mg_process* process) {
  (void)process;
  mg_estimate estimate = {.kind = MG_ESTIMATE_EXACT, .live_bytes = property(kLive)};
  if (!g_gperftools.keeps_all) estimate.retained_bytes = property(kFree);
  return estimate;
}

static uint64_t free_bytes(void) { return property(kFree); }
static uint64_t decommitted_bytes(void) { return property(kDecommitted); }

static const char* gperftools_release(mg_release* release) {
  /* A call returns nothing as long as earlier ones, which took whole spans, returned more than was asked of
   * them. That can be at most the whole heap. */
  const mg_page_heap heap = {.name = "gperftools",
                             .release_to_system = g_gperftools.functions.release_to_system,
                             .free_bytes = free_bytes,
                             .returned_bytes = decommitted_bytes,
                             .slice = (uint64_t)8 << 20,
                             .pause_divisor = 4,
                             .idle_calls = property(kHeap) / MG_PAGE_HEAP_SMALLEST_SLICE + 1};
  mg_page_heap_release(&heap, release);
  return NULL;
}

static void gperftools_restore_mode(void) {
  if (!g_gperftools.eager) return;
  g_gperftools.eager = false;
  g_gperftools.functions.set_property(kEager, 0); /* it was 0, or the mode would not have been ours to set */
}

static const char* gperftools_set_mode(mg_release_mode mode) {
  if (mode != MG_MODE_EAGER || g_gperftools.eager) return NULL;
  if (g_gperftools.functions.set_property(kEager, 1) == 0) {
    return "gperftools refused to set tcmalloc.aggressive_memory_decommit";
  }
  g_gperftools.eager = true;
  return NULL;
}

/* As gperftools reads its variables. */
static bool is_true(const char* value) { return value != NULL && strchr("tTyY1", value[0]) != NULL; }

static const char* mode_is_taken(void) {
  if (!has_property(kEager)) return "this gperftools has no aggressive_memory_decommit";
  if (property(kEager) != 0 || mg_environment("TCMALLOC_AGGRESSIVE_DECOMMIT") != NULL ||
      g_gperftools.keeps_all) {
    return "the user configured when gperftools gives memory back, and that wins";
  }
  return NULL;
}

static void put_version(char* name, size_t size) {
  int major = 0;
  int minor = 0;
  const char* patch = "";
  if (g_gperftools.functions.version == NULL) {
    snprintf(name, size, "gperftools");
    return;
  }
  g_gperftools.functions.version(&major, &minor, &patch);
  snprintf(name, size, "gperftools %d.%d%.8s", major, minor, patch == NULL ? "" : patch);
}

mg_allocator* mg_gperftools_allocator(const mg_gperftools* functions) {
  static mg_allocator allocator;
  g_gperftools.functions = *functions;
  if (!has_property(kFree) || !has_property(kDecommitted)) return NULL;
  gperftools_restore_mode(); /* a fork may have taken us away in the middle of a mode */
  g_gperftools.keeps_all = is_true(mg_environment("TCMALLOC_DISABLE_MEMORY_RELEASE"));

  allocator =
      (mg_allocator){.capabilities = {.release = true, .release_in_chunks = true, .stall = MG_STALL_MEDIUM},
                     .startup_mode = property(kEager) != 0 ? MG_MODE_EAGER : MG_MODE_UNKNOWN,
                     .why_no_mode = mode_is_taken(),
                     .why_no_lazy = "gperftools has no lazy mode",
                     .estimate = gperftools_estimate,
                     .release = gperftools_release,
                     .set_mode = gperftools_set_mode,
                     .restore_mode = gperftools_restore_mode};
  allocator.capabilities.set_release_mode = allocator.why_no_mode == NULL;
  put_version(allocator.name, sizeof(allocator.name));
  return &allocator;
}
