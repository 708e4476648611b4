/* Workers of a server that forks ahead: COUNT processes, each with KIB of heap that it has freed and the
 * allocator keeps. With LD_PRELOAD each becomes a client. They do nothing and end with SIGTERM; without a
 * COUNT (0) the process itself is one. */

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

enum { BLOCK = 1024 };

static void work(size_t kib) {
  char** blocks = malloc((kib + 1) * sizeof *blocks);
  if (blocks == NULL) _exit(1);
  for (size_t i = 0; i <= kib; ++i) {
    blocks[i] = malloc(BLOCK);
    if (blocks[i] == NULL) _exit(1);
    memset(blocks[i], 1, BLOCK);
  }
  /* The last one stays: below it the heap cannot shrink by itself. */
  for (size_t i = 0; i < kib; ++i) free(blocks[i]);
  for (;;) usleep(200 * 1000); /* the preload attaches in a wait */
}

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: bench_workers COUNT KIB\n");
    return 2;
  }
  const long count = strtol(argv[1], NULL, 10);
  const size_t kib = strtoul(argv[2], NULL, 10);
  if (count == 0) work(kib);
  char* worker[] = {argv[0], "0", argv[2], NULL};
  for (long i = 0; i < count; ++i) {
    pid_t pid = 0;
    if (posix_spawn(&pid, argv[0], NULL, NULL, worker, environ) != 0) {
      perror("bench_workers: posix_spawn");
      return 1;
    }
  }
  printf("{\"started\":%ld}\n", count);
  fflush(stdout);
  while (wait(NULL) > 0) continue;
  return 0;
}
