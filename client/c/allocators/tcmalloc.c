/* google/tcmalloc, through the weak C functions that its own C++ MallocExtension calls. (gperftools' tcmalloc
 * is another: gperftools.c.) What follows is read in the source that libtcmalloc-sys 0.1.14 carries (June
 * 2025), and measured on it.
 *
 * The page heap keeps whole free huge pages in a cache, and free pages on huge pages that are in use in part;
 * pageheap_free_bytes counts both. ReleaseMemoryToSystem() takes the first kind first and drops the page
 * heap's lock while the kernel works; for the second kind (subrelease) it holds the lock throughout and takes
 * all that is free on a huge page. So Release goes in slices of a huge page (page_heap.h), with pauses as
 * long as they: with gperftools' slices and pauses others waited through several (of 12 runs the median of
 * the longest waits was 8 ms, against 2).
 *
 * What a call returned too much the next one withholds, and none after it; what went back by itself since the
 * last call counts as returned by the next. So a few calls may return nothing, and their results (older
 * versions have none) do not tell what they returned; the growth of pageheap_unmapped_bytes does.
 *
 * Subrelease gets help twice while a Release runs, unless the program has set these things itself:
 *
 * 1. It spares what was in use at the peaks of the last 300 s ("skip subrelease": variations within 60 s, the
 *    trend over 300 s), so what a load needed stays for minutes after it: where nine tenths of 512 MiB in
 *    blocks of 16 KiB had been freed at random, 6 of 453 MiB were returned, and all with both intervals at 0.
 * 2. It uses MADV_DONTNEED. That unmaps a part of a transparent huge page, but the kernel frees nothing until
 *    it is short of memory and splits the page: of those 453 MiB all left RSS, and 3 the cgroup. MADV_FREE on
 *    a part splits at once, so we ask for MADV_FREE and MADV_DONTNEED: all left the cgroup as well. (It is
 *    several times the work: 0.2 to 0.6 ms a MiB.)
 *
 * Caches of CPUs and threads are left alone: neither live nor retained. No mode: frees give back only whole
 * huge pages beyond what the cache wants, whatever madvise is used; the rest is for a background thread that
 * the program may run.
 *
 * It does not handle fork(): a child that is made while a thread holds the page heap's lock can never take
 * it. What we call takes that lock, so we hold back a fork for as long. */

#include <pthread.h>
#include <string.h>

#include "client/c/allocators/allocator.h"
#include "client/c/allocators/page_heap.h"

static const char kLive[] = "generic.current_allocated_bytes";
static const char kFree[] = "tcmalloc.pageheap_free_bytes";
static const char kUnmapped[] = "tcmalloc.pageheap_unmapped_bytes";

static const mg_tcmalloc_duration kDefaultShort = {.seconds = 60};
static const mg_tcmalloc_duration kDefaultLong = {.seconds = 300};
static const mg_tcmalloc_duration kOff = {.seconds = 0};

/* Its MadvisePreference. */
enum { DONT_NEED = 1, FREE_AND_DONT_NEED = 3 };

static struct {
  mg_tcmalloc functions;
  bool lifted; /* skip subrelease is off, by us */
  bool splits; /* FREE_AND_DONT_NEED, by us */
} g_tcmalloc;

/* --- fork() -----------------------------------------------------------------------------------------------
 */

/* Held in calls that take tcmalloc's locks, and while its settings change. */
static pthread_mutex_t g_calls = PTHREAD_MUTEX_INITIALIZER;

void mg_tcmalloc_before_fork(void) { pthread_mutex_lock(&g_calls); }
void mg_tcmalloc_after_fork_in_parent(void) { pthread_mutex_unlock(&g_calls); }

/* --- help for subrelease ----------------------------------------------------------------------------------
 */

static bool intervals_are(mg_tcmalloc_duration short_one, mg_tcmalloc_duration long_one) {
  const mg_tcmalloc* functions = &g_tcmalloc.functions;
  if (functions->get_skip_short == NULL || functions->get_skip_long == NULL ||
      functions->set_skip_short == NULL || functions->set_skip_long == NULL) {
    return false;
  }
  mg_tcmalloc_duration now_short = kOff;
  mg_tcmalloc_duration now_long = kOff;
  functions->get_skip_short(&now_short);
  functions->get_skip_long(&now_long);
  return memcmp(&now_short, &short_one, sizeof(short_one)) == 0 &&
         memcmp(&now_long, &long_one, sizeof(long_one)) == 0;
}

static void set_intervals(mg_tcmalloc_duration short_one, mg_tcmalloc_duration long_one) {
  g_tcmalloc.functions.set_skip_short(short_one);
  g_tcmalloc.functions.set_skip_long(long_one);
}

static bool gives_back_with(int preference) {
  const mg_tcmalloc* functions = &g_tcmalloc.functions;
  return functions->get_madvise != NULL && functions->set_madvise != NULL &&
         functions->get_madvise() == preference;
}

/* To read the very defaults also shows that this version's durations are laid out as we know them. */
static void help_subrelease(void) {
  g_tcmalloc.lifted = intervals_are(kDefaultShort, kDefaultLong);
  if (g_tcmalloc.lifted) set_intervals(kOff, kOff);
  g_tcmalloc.splits = gives_back_with(DONT_NEED);
  if (g_tcmalloc.splits) g_tcmalloc.functions.set_madvise(FREE_AND_DONT_NEED);
}

/* What the program has set meanwhile stays. Async-signal-safe: these are atomic variables. */
static void put_back(void) {
  if (g_tcmalloc.lifted && intervals_are(kOff, kOff)) set_intervals(kDefaultShort, kDefaultLong);
  if (g_tcmalloc.splits && gives_back_with(FREE_AND_DONT_NEED)) g_tcmalloc.functions.set_madvise(DONT_NEED);
  g_tcmalloc.lifted = false;
  g_tcmalloc.splits = false;
}

void mg_tcmalloc_after_fork_in_child(void) {
  put_back();
  pthread_mutex_unlock(&g_calls);
}

/* --- the lever --------------------------------------------------------------------------------------------
 */

static bool get(const char* name, size_t* value) {
  pthread_mutex_lock(&g_calls);
  const bool known = g_tcmalloc.functions.get_property(name, strlen(name), value);
  pthread_mutex_unlock(&g_calls);
  return known;
}

static uint64_t property(const char* name) {
  size_t value = 0;
  return get(name, &value) ? value : 0;
}

static bool has_property(const char* name) {
  size_t value = 0;
  return get(name, &value);
}

static uint64_t free_bytes(void) { return property(kFree); }
static uint64_t unmapped_bytes(void) { return property(kUnmapped); }

static void release_to_system(size_t bytes) {
  pthread_mutex_lock(&g_calls);
  (void)g_tcmalloc.functions.release_to_system(bytes);
  pthread_mutex_unlock(&g_calls);
}

/* Whether a release returns all that is free. */
static bool returns_all(void) {
  if (g_tcmalloc.functions.subreleases != NULL && !g_tcmalloc.functions.subreleases()) return false;
  return intervals_are(kDefaultShort, kDefaultLong) || intervals_are(kOff, kOff);
}

static mg_estimate tcmalloc_estimate(const mg_process* process) {
  (void)process;
  return (mg_estimate){.kind = returns_all() ? MG_ESTIMATE_EXACT : MG_ESTIMATE_BOUND,
                       .live_bytes = property(kLive),
                       .retained_bytes = free_bytes()};
}

static const char* tcmalloc_release(mg_release* release) {
  /* Two for the credit, before and after one that only accounts for what was given back before; one to tell.
   */
  static const mg_page_heap heap = {.name = "google/tcmalloc",
                                    .release_to_system = release_to_system,
                                    .free_bytes = free_bytes,
                                    .returned_bytes = unmapped_bytes,
                                    .slice = (uint64_t)2 << 20,
                                    .pause_divisor = 1,
                                    .idle_calls = 4};
  pthread_mutex_lock(&g_calls);
  help_subrelease();
  pthread_mutex_unlock(&g_calls);
  mg_page_heap_release(&heap, release);
  pthread_mutex_lock(&g_calls);
  put_back();
  pthread_mutex_unlock(&g_calls);
  return NULL;
}

mg_allocator* mg_tcmalloc_allocator(const mg_tcmalloc* functions) {
  static mg_allocator allocator = {
      .name = "google/tcmalloc",
      .capabilities = {.release = true, .release_in_chunks = true, .stall = MG_STALL_MEDIUM},
      .startup_mode = MG_MODE_UNKNOWN,
      .why_no_mode = "google/tcmalloc has no release mode to set",
      .why_no_lazy = "google/tcmalloc has no lazy mode",
      .estimate = tcmalloc_estimate,
      .release = tcmalloc_release};
  g_tcmalloc.functions = *functions;
  if (!has_property(kFree) || !has_property(kUnmapped)) return NULL;
  return &allocator;
}
