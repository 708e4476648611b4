/* The heap of the release benchmark: fills, frees 90 %, and then measures how long malloc and free keep the
 * threads waiting while libmemgov releases. Its own books are in mappings, so that the heap is only the
 * blocks.
 *
 *     bench_release_heap MIB random|contiguous SEED
 *
 * prints a line of JSON when it has filled and freed, and answers one line to each command on standard input:
 *
 *   start SOCKET   memgov_start
 *   probe          two threads begin to allocate: the owner of the heap, and another
 *   mark           the longest wait since the last mark, in microseconds
 *   rest           the owner calls the allocator's own release of everything: what that still returned, in
 * bytes
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "client/c/memgov.h"

enum { PAGE_BYTES = 4096, SMALLEST_SHIFT = 4, OCTAVES = 18, PROBE_OCTAVES = 17, TABLE_SIZE = 1 << 21 };

typedef struct block {
  char* memory;
  size_t size;
} block;

static size_t g_bytes;
static bool g_random_order;
static uint64_t g_seed;
static block* g_blocks;
static size_t g_count, g_capacity;

static atomic_bool g_ready, g_probing, g_release_wanted;
static _Atomic uint64_t g_worst_ns;

static uint64_t next_random(uint64_t* state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 0x2545f4914f6cdd1dull;
}

/* Each octave from 16 B on has the same share of the bytes. */
static size_t random_size(uint64_t* state, unsigned octaves) {
  const unsigned halvings = (unsigned)__builtin_ctzll(next_random(state) | 1ull << (octaves - 1));
  const size_t low = (size_t)1 << (SMALLEST_SHIFT + halvings);
  return low + next_random(state) % low;
}

static void* map(size_t bytes) {
  void* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) abort();
  return memory;
}

static uint64_t anon_bytes(void) {
  char text[128] = "";
  unsigned long resident = 0;
  unsigned long shared = 0;
  const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (read(file, text, sizeof(text) - 1) <= 0 || sscanf(text, "%*u %lu %lu", &resident, &shared) != 2)
    abort();
  close(file);
  return (uint64_t)(resident - shared) * PAGE_BYTES;
}

static void fill(void) {
  uint64_t random = g_seed;
  size_t filled = 0;
  while (filled < g_bytes && g_count < g_capacity) {
    const size_t size = random_size(&random, OCTAVES);
    g_blocks[g_count] = (block){malloc(size), size};
    memset(g_blocks[g_count++].memory, 1, size);
    filled += size;
  }
}

/* Frees 9 of 10 blocks: the first ones, or any, in random order. */
static void free_most(void) {
  uint64_t random = g_seed + 1;
  for (size_t i = g_count; g_random_order && i > 1; --i) {
    const size_t other = next_random(&random) % i;
    const block swapped = g_blocks[i - 1];
    g_blocks[i - 1] = g_blocks[other];
    g_blocks[other] = swapped;
  }
  const size_t freed = g_count / 10 * 9;
  for (size_t i = 0; i < freed; ++i) free(g_blocks[i].memory);
  g_count -= freed;
  memmove(g_blocks, g_blocks + freed, g_count * sizeof(block));
}

/* Bytes of the pages that hold a block which is still in use. */
static uint64_t pinned_bytes(void) {
  uintptr_t* table = map(TABLE_SIZE * sizeof(uintptr_t));
  uint64_t pages = 0;
  for (size_t i = 0; i < g_count; ++i) {
    const uintptr_t first = (uintptr_t)g_blocks[i].memory / PAGE_BYTES;
    const uintptr_t last = ((uintptr_t)g_blocks[i].memory + g_blocks[i].size - 1) / PAGE_BYTES;
    for (uintptr_t page = first; page <= last; ++page) {
      size_t slot = page * 0x9e3779b97f4a7c15ull % TABLE_SIZE;
      while (table[slot] != 0 && table[slot] != page) slot = (slot + 1) % TABLE_SIZE;
      if (table[slot] == page) continue;
      table[slot] = page;
      if (++pages == TABLE_SIZE / 2) abort();
    }
  }
  munmap(table, TABLE_SIZE * sizeof(uintptr_t));
  return pages * PAGE_BYTES;
}

static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* How long this thread has been ready to run without a processor. */
static uint64_t queued_ns(int schedstat) {
  char text[96] = "";
  if (pread(schedstat, text, sizeof(text) - 1, 0) <= 0) return 0;
  const char* space = strchr(text, ' ');
  return space == NULL ? 0 : strtoull(space, NULL, 10);
}

/* What an allocation waited for, less what it waited for a processor: the machine has other work as well. */
static void note(uint64_t begin_ns, uint64_t begin_queued_ns, int schedstat) {
  uint64_t took = now_ns() - begin_ns;
  if (took < 100000) return;
  const uint64_t queued = queued_ns(schedstat) - begin_queued_ns;
  took = took > queued ? took - queued : 0;
  uint64_t worst = atomic_load(&g_worst_ns);
  while (took > worst && !atomic_compare_exchange_weak(&g_worst_ns, &worst, took)) continue;
}

/* As a program would that knows its allocator. */
static void release_all(void) {
  int (*mallctl)(const char*, void*, size_t*, void*, size_t) = NULL;
  void (*release_free_memory)(void) = NULL;
  size_t (*release_memory)(size_t) = NULL;
  void (*collect)(bool) = NULL;
  *(void**)&mallctl = dlsym(RTLD_DEFAULT, "mallctl");
  *(void**)&release_free_memory = dlsym(RTLD_DEFAULT, "MallocExtension_ReleaseFreeMemory");
  *(void**)&release_memory = dlsym(RTLD_DEFAULT, "MallocExtension_Internal_ReleaseMemoryToSystem");
  *(void**)&collect = dlsym(RTLD_DEFAULT, "mi_collect");
  if (mallctl != NULL) {
    mallctl("arena.4096.purge", NULL, NULL, NULL, 0);
  } else if (release_free_memory != NULL) {
    release_free_memory();
  } else if (release_memory != NULL) {
    release_memory(SIZE_MAX / 2);
  } else if (collect != NULL) {
    collect(true);
  } else {
    malloc_trim(0);
  }
}

/* The owner of the heap passes NULL. */
static void* probe(void* argument) {
  uint64_t random = g_seed + (uintptr_t)argument;
  const int schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
  while (!atomic_load(&g_probing)) usleep(1000);
  for (;;) {
    if (atomic_load(&g_release_wanted) && argument == NULL) {
      release_all();
      atomic_store(&g_release_wanted, false);
    }
    /* Half of them are small; the others go past the caches of threads. */
    const unsigned octaves = next_random(&random) % 2 == 0 ? PROBE_OCTAVES : 1;
    const size_t size =
        octaves == 1 ? 32768 + next_random(&random) % (1 << 20) : random_size(&random, octaves);
    uint64_t queued = queued_ns(schedstat);
    uint64_t begin = now_ns();
    char* volatile memory = malloc(size);
    note(begin, queued, schedstat);
    memory[0] = 1;
    queued = queued_ns(schedstat);
    begin = now_ns();
    free(memory);
    note(begin, queued, schedstat);
    usleep(200);
  }
  return NULL;
}

static void* own(void* argument) {
  (void)argument;
  const uint64_t anon_empty = anon_bytes();
  g_capacity = g_bytes / 64;
  g_blocks = map(g_capacity * sizeof(block));
  fill();
  const size_t live = g_count;
  free_most();
  const uint64_t pinned = pinned_bytes();
  munmap(g_blocks, g_capacity * sizeof(block));
  const uint64_t held = anon_bytes() - anon_empty;
  printf("{\"blocks\":%zu,\"held_bytes\":%llu,\"releasable_bytes\":%llu}\n", live, (unsigned long long)held,
         (unsigned long long)(held > pinned ? held - pinned : 0));
  atomic_store(&g_ready, true);
  return probe(NULL);
}

int main(int count, char** arguments) {
  if (count != 4) {
    fprintf(stderr, "usage: %s MIB random|contiguous SEED\n", arguments[0]);
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 1024);
  g_bytes = strtoul(arguments[1], NULL, 10) << 20;
  g_random_order = strcmp(arguments[2], "random") == 0;
  g_seed = strtoull(arguments[3], NULL, 10) + 0x9e3779b97f4a7c15ull;
  pthread_t threads[2];
  pthread_create(&threads[0], NULL, own, NULL);
  while (!atomic_load(&g_ready)) usleep(1000);
  pthread_create(&threads[1], NULL, probe, (void*)1);
  char line[256];
  while (fgets(line, sizeof(line), stdin) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "start ", 6) == 0) {
      memgov_options options = MEMGOV_OPTIONS_INIT;
      options.socket = line + 6;
      printf("%d\n", memgov_start(&options));
    } else if (strcmp(line, "probe") == 0) {
      atomic_store(&g_probing, true);
      printf("0\n");
    } else if (strcmp(line, "rest") == 0) {
      const uint64_t before = anon_bytes();
      atomic_store(&g_release_wanted, true);
      while (atomic_load(&g_release_wanted)) usleep(1000);
      const uint64_t after = anon_bytes();
      printf("%llu\n", (unsigned long long)(before > after ? before - after : 0));
    } else {
      printf("%llu\n", (unsigned long long)atomic_exchange(&g_worst_ns, 0) / 1000);
    }
  }
  _exit(0); /* the probes go on */
}
