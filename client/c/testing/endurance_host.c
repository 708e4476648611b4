/* A host of the agent that works while its governor comes and goes, and forks all the time. One command a
 * line on standard input, one line of answer each:
 *
 *   start SOCKET   memgov_start                                       -> "0" or the errno
 *   load           two threads begin to allocate and free             -> "2"
 *   fork N         a thread begins to fork N children, one by one     -> "0"
 *   forked         how many of them have ended                        -> a number
 *   bad            how many of those did not find what they should    -> a number
 *   descriptors | threads | rss (KiB) | work (what the load has done) -> a number
 *
 * A child allocates and asks for its state, which must be off; each 50th attaches and stops. An alarm ends
 * one that hangs. */

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/c/memgov.h"

static char g_socket[256];
static atomic_long g_work;
static atomic_long g_forked;
static atomic_long g_bad;

static void* load(void* argument) {
  unsigned seed = *(const unsigned*)argument;
  enum { BLOCKS = 200 };
  for (;;) {
    void* blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; ++i) {
      const size_t size = 64u << rand_r(&seed) % 10;
      blocks[i] = malloc(size);
      memset(blocks[i], 1, size);
    }
    for (size_t i = 0; i < BLOCKS; ++i) free(blocks[i]);
    memgov_thread_checkpoint();
    atomic_fetch_add(&g_work, 1);
    usleep(1000);
  }
  return NULL;
}

static int live_as_child(long number) {
  alarm(60);
  void* volatile memory = malloc(100000);
  memset(memory, 1, 100000);
  free(memory);
  if (memgov_status() != MEMGOV_OFF) return 1;
/* A lock of a sanitizer that another thread held at the fork is never released in the child. */
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
  if (number % 50 == 0) {
    memgov_options options = MEMGOV_OPTIONS_INIT;
    options.socket = g_socket;
    if (memgov_start(&options) != 0) return 2;
    memgov_stop();
    if (memgov_status() != MEMGOV_OFF) return 3;
  }
#endif
  (void)number;
  return 0;
}

static void* fork_all(void* argument) {
  const long count = *(const long*)argument;
  for (long i = 1; i <= count; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(live_as_child(i));
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) atomic_fetch_add(&g_bad, 1);
    atomic_store(&g_forked, i);
  }
  return NULL;
}

static long entries(const char* path) {
  long count = -2; /* "." and ".." */
  DIR* directory = opendir(path);
  while (directory != NULL && readdir(directory) != NULL) ++count;
  if (directory != NULL) closedir(directory);
  return count;
}

static long resident_kib(void) {
  long pages = 0;
  FILE* file = fopen("/proc/self/statm", "re");
  if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1) abort();
  fclose(file);
  return pages * 4;
}

static void begin(void* (*run)(void*), void* argument) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, run, argument) != 0) abort();
  pthread_detach(thread);
}

static long answer(const char* command) {
  if (strncmp(command, "start ", 6) == 0) {
    snprintf(g_socket, sizeof(g_socket), "%s", command + 6);
    memgov_options options = MEMGOV_OPTIONS_INIT;
    options.socket = g_socket;
    return memgov_start(&options);
  }
  if (strcmp(command, "load") == 0) {
    static unsigned seeds[] = {1, 2};
    for (size_t i = 0; i < 2; ++i) begin(load, &seeds[i]);
    return 2;
  }
  if (strncmp(command, "fork ", 5) == 0) {
    static long count;
    count = strtol(command + 5, NULL, 10);
    begin(fork_all, &count);
    return 0;
  }
  if (strcmp(command, "forked") == 0) return atomic_load(&g_forked);
  if (strcmp(command, "bad") == 0) return atomic_load(&g_bad);
  if (strcmp(command, "work") == 0) return atomic_load(&g_work);
  if (strcmp(command, "rss") == 0) return resident_kib();
  if (strcmp(command, "threads") == 0) return entries("/proc/self/task");
  return entries("/proc/self/fd");
}

int main(void) {
  char line[256];
  setvbuf(stdout, NULL, _IOLBF, 256);
  while (fgets(line, sizeof(line), stdin) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    printf("%ld\n", answer(line));
  }
  return 0;
}
