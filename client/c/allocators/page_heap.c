#include "client/c/allocators/page_heap.h"

#include <stdio.h>
#include <time.h>

static const uint64_t kSmallestSlice = MG_PAGE_HEAP_SMALLEST_SLICE;
static const uint64_t kLongestPauseNs = MG_NS_PER_MS;

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Whoever waits for the lock would not get it from a thread that takes it again at once. */
static void pause_for(uint64_t pause_ns) {
  const struct timespec pause = {.tv_nsec = (long)least(pause_ns, kLongestPauseNs)};
  nanosleep(&pause, NULL);
}

/* One slice. Returns what it gave back, and sets how long others may have waited. */
static uint64_t release_slice(const mg_page_heap* heap, uint64_t bytes, uint64_t* took_ns) {
  const uint64_t before = heap->returned_bytes();
  const uint64_t begin_ns = mg_now_ns();
  heap->release_to_system(bytes);
  *took_ns = mg_now_ns() - begin_ns;
  const uint64_t after = heap->returned_bytes();
  return after > before ? after - before : 0;
}

/* What cannot be cut is a span. One that took longer than the bound ends the release, as does the smallest
 * slice; a slice that nears the bound makes the next ones smaller. */
void mg_page_heap_release(const mg_page_heap* heap, mg_release* release) {
  /* A program that allocates meanwhile takes some of it again and frees more: that must not make it endless.
   */
  const uint64_t most_bytes = 2 * heap->free_bytes();
  const uint64_t enough = release->bytes == 0 ? most_bytes : least(release->bytes, most_bytes);
  const uint64_t bound_ns = release->longest_stall_ns;
  uint64_t slice = heap->slice;
  uint64_t returned = 0;
  uint64_t idle_calls = 0;
  while (returned < enough && heap->free_bytes() > 0) {
    uint64_t took_ns = 0;
    const uint64_t got = release_slice(heap, least(slice, most(enough - returned, kSmallestSlice)), &took_ns);
    returned += got;
    if (got == 0) {
      if (++idle_calls >= heap->idle_calls) break;
      continue;
    }
    idle_calls = 0;
    if (bound_ns != 0 && took_ns > bound_ns && (got > 2 * slice || slice == kSmallestSlice)) {
      snprintf(release->stopped, sizeof(release->stopped),
               "%s: stopped after %llu MiB: returning %llu MiB at once took %llu us, more than the bound",
               heap->name, (unsigned long long)(returned >> 20), (unsigned long long)(got >> 20),
               (unsigned long long)(took_ns / MG_NS_PER_US));
      break;
    }
    if (bound_ns != 0 && took_ns > bound_ns / 4 && slice > kSmallestSlice) slice /= 2;
    pause_for(took_ns / heap->pause_divisor);
  }
}
