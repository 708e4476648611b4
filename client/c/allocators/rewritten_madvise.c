/* Why nothing here turns MADV_DONTNEED into MADV_FREE behind an allocator's back: jemalloc takes pages that
 * it gave back for zeroed and hands them to calloc() as they are. This program does so, in front of jemalloc,
 * and counts the pages that calloc() then returns with old data. Succeeds if they are none without the
 * rewriting and some with it.
 *
 * jemalloc tries MADV_DONTNEED out when it starts, so the rewriting begins later, as a governor's would. */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BLOCKS = 20, BLOCK_BYTES = 1 << 20, PAGE_BYTES = 4096, ROUNDS = 10 };

static bool g_rewrites;

int madvise(void* address, size_t size, int advice) {
  if (g_rewrites && advice == MADV_DONTNEED) advice = MADV_FREE;
  return (int)syscall(SYS_madvise, address, size, advice);
}

static long pages_not_zero(void) {
  long count = 0;
  for (int round = 0; round < ROUNDS; ++round) {
    unsigned char* blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; ++i) {
      blocks[i] = malloc(BLOCK_BYTES);
      if (blocks[i] == NULL) abort();
      memset(blocks[i], 7, BLOCK_BYTES);
    }
    for (int i = 0; i < BLOCKS; ++i) free(blocks[i]);
    for (int i = 0; i < BLOCKS; ++i) {
      blocks[i] = calloc(1, BLOCK_BYTES);
      if (blocks[i] == NULL) abort();
      for (int at = 0; at < BLOCK_BYTES; at += PAGE_BYTES) count += blocks[i][at] != 0;
    }
    for (int i = 0; i < BLOCKS; ++i) free(blocks[i]);
  }
  return count;
}

int main(void) {
  const long without = pages_not_zero();
  g_rewrites = true;
  const long with_it = pages_not_zero();
  printf("pages from calloc() that were not zero: %ld, and %ld with MADV_DONTNEED made MADV_FREE\n", without,
         with_it);
  return without == 0 && with_it > 0 ? 0 : 1;
}
