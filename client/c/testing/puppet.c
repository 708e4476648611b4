/* A program with an allocator of its own that tests pull the strings of: one command a line on standard
 * input, one line of answer each. Linked in several ways (tests.cmake); PUPPET_MALLOC and PUPPET_MALLCTL name
 * what it uses.
 *
 *   start SOCKET | stop   memgov_start, memgov_stop       -> "0" or the errno
 *   grow MIB              allocates and writes 1 KiB blocks
 *   free                  frees 9 of 10 of them, in runs of 36 MiB, so that whole pages become free
 *   owner | owner_pass    starts a thread that frees what its allocator keeps for it; it passes a checkpoint
 *   churn                 allocates and frees for 300 ms, which lets jemalloc's decay run
 *   anon | rss | threads  resident anonymous memory in KiB, all resident memory in KiB, threads
 *   agent_mallocs         how often the agent's thread called the allocator, if that is odd_malloc.c's
 *   workers N MIB         N threads at once grow by MIB each and free as above, then end
 *   holders N MIB         the same, but they stay
 *   plugin PATH MIB       loads an object that takes and frees so much by an allocator of its own (plugin.c)
 *   settings              gperftools' aggressive_memory_decommit, or mimalloc's options 5, 11, 15, 22 and 23
 *   lazy                  memory in KiB that was given up with MADV_FREE
 *   decay                 jemalloc's decay times, dirty and muzzy: of future arenas, then of arena 0
 */

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#ifdef PUPPET_MEMGOV
#include "client/c/memgov.h"
#endif

#ifndef PUPPET_MALLOC
#define PUPPET_MALLOC malloc
#define PUPPET_FREE free
#else
void* PUPPET_MALLOC(size_t size);
void PUPPET_FREE(void* memory);
#endif

extern int odd_malloc_agent_calls(void) __attribute__((weak));

enum { BLOCK_BYTES = 1024, RUN_BLOCKS = 36 * 1024, BLOCKS_MAX = 2048 * 1024 };

static void* g_blocks[BLOCKS_MAX];
static size_t g_count;

static void grow(size_t mib) {
  for (size_t i = 0; i < mib * 1024 && g_count < BLOCKS_MAX; ++i) {
    g_blocks[g_count] = PUPPET_MALLOC(BLOCK_BYTES);
    memset(g_blocks[g_count++], 1, BLOCK_BYTES);
  }
}

static void free_most(void) {
  size_t kept = 0;
  for (size_t i = 0; i < g_count; ++i) {
    if (i % RUN_BLOCKS < RUN_BLOCKS / 10) {
      g_blocks[kept++] = g_blocks[i];
    } else {
      PUPPET_FREE(g_blocks[i]);
    }
  }
  g_count = kept;
}

typedef struct worker {
  pthread_t thread;
  size_t blocks;
  pthread_barrier_t* barrier;
  bool stays;
} worker;

/* What it keeps stays allocated, as `free` leaves it: the first tenth of each run. */
static void* work(void* argument) {
  const worker* self = argument;
  const bool stays = self->stays;
  void** blocks = PUPPET_MALLOC(self->blocks * sizeof(void*));
  for (size_t i = 0; i < self->blocks; ++i) {
    blocks[i] = PUPPET_MALLOC(BLOCK_BYTES);
    memset(blocks[i], 1, BLOCK_BYTES);
  }
  pthread_barrier_wait(self->barrier);
  for (size_t i = 0; i < self->blocks; ++i) {
    if (i % RUN_BLOCKS >= RUN_BLOCKS / 10) PUPPET_FREE(blocks[i]);
  }
  PUPPET_FREE(blocks);
  pthread_barrier_wait(self->barrier);
  if (!stays) return NULL;
  for (;;) pause();
}

static void run_workers(size_t count, size_t mib, bool stay) {
  worker workers[16];
  static pthread_barrier_t barrier; /* those who stay may be about to leave it */
  pthread_barrier_init(&barrier, NULL, (unsigned)count + 1);
  for (size_t i = 0; i < count; ++i) {
    workers[i].blocks = mib * 1024;
    workers[i].barrier = &barrier;
    workers[i].stays = stay;
    pthread_create(&workers[i].thread, NULL, work, &workers[i]);
  }
  pthread_barrier_wait(&barrier); /* all have grown */
  pthread_barrier_wait(&barrier); /* all have freed */
  for (size_t i = 0; i < count && !stay; ++i) pthread_join(workers[i].thread, NULL);
}

static void churn(void) {
  const clock_t end = clock() + CLOCKS_PER_SEC * 3 / 10;
  while (clock() < end) {
    void* blocks[64];
    for (size_t i = 0; i < 64; ++i) blocks[i] = PUPPET_MALLOC(20000);
    for (size_t i = 0; i < 64; ++i) PUPPET_FREE(blocks[i]);
  }
}

static void load_plugin(const char* arguments) {
  char path[512];
  size_t mib = 0;
  void (*hold)(size_t mib) = NULL;
  if (sscanf(arguments, "%511s %zu", path, &mib) == 2) {
    void* const plugin = dlopen(path, RTLD_NOW);
    if (plugin != NULL) *(void**)&hold = dlsym(plugin, "plugin_hold");
  }
  if (hold != NULL) hold(mib);
  printf("%s\n", hold != NULL ? "held" : dlerror());
}

static atomic_int g_owner_step;

/* Sizes whose blocks jemalloc keeps in the thread's cache when they are freed. */
static int own(void* unused) {
  (void)unused;
  void* blocks[100];
  for (size_t i = 0; i < 100; ++i) {
    const size_t size = (16 + 4 * (i / 20)) << 10;
    blocks[i] = PUPPET_MALLOC(size);
    memset(blocks[i], 1, size);
  }
  for (size_t i = 0; i < 100; ++i) PUPPET_FREE(blocks[i]);
  atomic_store(&g_owner_step, 1);
  while (atomic_load(&g_owner_step) != 2) thrd_yield();
#ifdef PUPPET_MEMGOV
  memgov_thread_checkpoint();
#endif
  atomic_store(&g_owner_step, 3);
  return 0;
}

static void let_owner_pass(void) {
  atomic_store(&g_owner_step, 2);
  while (atomic_load(&g_owner_step) != 3) thrd_yield();
  printf("3\n");
}

static void start_owner(void) {
  thrd_t thread;
  if (thrd_create(&thread, own, NULL) == thrd_success) thrd_detach(thread);
  while (atomic_load(&g_owner_step) != 1) thrd_yield();
  printf("1\n");
}

/* The number behind a word in a file of /proc. (status has approximate sums for memory; smaps_rollup has
 * exact ones.) */
static long number_in(const char* path, const char* field) {
  FILE* file = fopen(path, "r");
  char line[256];
  long value = -1;
  while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
    if (strncmp(line, field, strlen(field)) == 0) value = strtol(line + strlen(field), NULL, 10);
  }
  if (file != NULL) fclose(file);
  return value;
}

static void print_decay(void) {
#ifdef PUPPET_MALLCTL
  int PUPPET_MALLCTL(const char*, void*, size_t*, void*, size_t);
  static const char* const names[] = {"arenas.dirty_decay_ms", "arenas.muzzy_decay_ms",
                                      "arena.0.dirty_decay_ms", "arena.0.muzzy_decay_ms"};
  for (size_t i = 0; i < 4; ++i) {
    ssize_t value = -2;
    size_t size = sizeof(value);
    PUPPET_MALLCTL(names[i], &value, &size, NULL, 0);
    printf("%s%zd", i == 0 ? "" : " ", value);
  }
  printf("\n");
#else
  printf("none\n");
#endif
}

static void print_settings(void) {
  int (*get_property)(const char*, size_t*) = NULL;
  long (*option_get)(int) = NULL;
  *(void**)&get_property = dlsym(RTLD_DEFAULT, "MallocExtension_GetNumericProperty");
  *(void**)&option_get = dlsym(RTLD_DEFAULT, "mi_option_get");
  if (get_property != NULL) {
    size_t eager = 2;
    get_property("tcmalloc.aggressive_memory_decommit", &eager);
    printf("%zu\n", eager);
  } else if (option_get != NULL) {
    printf("%ld %ld %ld %ld %ld\n", option_get(5), option_get(11), option_get(15), option_get(22),
           option_get(23));
  } else {
    printf("none\n");
  }
}

static void start(const char* socket) {
#ifdef PUPPET_MEMGOV
  memgov_options options = MEMGOV_OPTIONS_INIT;
  options.socket = socket;
  printf("%d\n", memgov_start(&options));
#else
  printf("no memgov here, not starting on %s\n", socket);
#endif
}

static void stop(void) {
#ifdef PUPPET_MEMGOV
  memgov_stop();
#endif
  printf("0\n");
}

int main(void) {
  char line[512];
  setvbuf(stdout, NULL, _IOLBF, 256);
  while (fgets(line, sizeof(line), stdin) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "start ", 6) == 0) {
      start(line + 6);
    } else if (strcmp(line, "stop") == 0) {
      stop();
    } else if (strncmp(line, "grow ", 5) == 0) {
      grow(strtoul(line + 5, NULL, 10));
      printf("%zu blocks\n", g_count);
    } else if (strncmp(line, "workers ", 8) == 0 || strncmp(line, "holders ", 8) == 0) {
      char* rest = NULL;
      const size_t count = strtoul(line + 8, &rest, 10);
      if (count <= 16) run_workers(count, strtoul(rest, NULL, 10), line[0] == 'h');
      printf("%zu workers\n", count);
    } else if (strncmp(line, "plugin ", 7) == 0) {
      load_plugin(line + 7);
    } else if (strcmp(line, "settings") == 0) {
      print_settings();
    } else if (strcmp(line, "lazy") == 0) {
      printf("%ld\n", number_in("/proc/self/smaps_rollup", "LazyFree:"));
    } else if (strcmp(line, "free") == 0) {
      free_most();
      printf("%zu blocks\n", g_count);
    } else if (strcmp(line, "owner") == 0) {
      start_owner();
    } else if (strcmp(line, "owner_pass") == 0) {
      let_owner_pass();
    } else if (strcmp(line, "churn") == 0) {
      churn();
      printf("churned\n");
    } else if (strcmp(line, "anon") == 0) {
      printf("%ld\n", number_in("/proc/self/smaps_rollup", "Anonymous:"));
    } else if (strcmp(line, "rss") == 0) {
      printf("%ld\n", number_in("/proc/self/smaps_rollup", "Rss:"));
    } else if (strcmp(line, "threads") == 0) {
      printf("%ld\n", number_in("/proc/self/status", "Threads:"));
    } else if (strcmp(line, "agent_mallocs") == 0) {
      printf("%d\n", odd_malloc_agent_calls == NULL ? -1 : odd_malloc_agent_calls());
    } else if (strcmp(line, "decay") == 0) {
      print_decay();
    } else {
      printf("unknown command\n");
    }
  }
  return 0;
}
