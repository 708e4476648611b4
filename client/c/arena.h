/* Memory for nghttp2 without malloc: one static block, handed out in powers of two, recycled by size.
 *
 * The agent must work while the process is short of memory and must not disturb the host's allocator, so
 * nothing on its thread calls malloc. nghttp2 holds about 30 KB at its peak and frees in any order; size
 * classes with free lists waste up to half of a block but cannot fragment. When the block is exhausted (a
 * peer that floods us) allocation fails, nghttp2 gives the session up, and the next connection starts from an
 * empty arena. */

#ifndef MEMGOV_CLIENT_C_ARENA_H_
#define MEMGOV_CLIENT_C_ARENA_H_

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  MG_ARENA_BYTES = 128 * 1024,
  MG_ARENA_CLASSES = 13 /* 16 B << class: 16 B to 64 KiB */
};

typedef struct mg_arena {
  unsigned char block[MG_ARENA_BYTES] __attribute__((aligned(16)));
  size_t used;                  /* bytes of the block ever handed out since the reset */
  void* free[MG_ARENA_CLASSES]; /* singly linked through their first word */
} mg_arena;

/* Forgets every allocation. */
void mg_arena_reset(mg_arena* arena);

/* As the functions of the C library; 16-byte aligned; NULL when exhausted or larger than 64 KiB - 16. */
void* mg_arena_malloc(mg_arena* arena, size_t size);
void* mg_arena_calloc(mg_arena* arena, size_t count, size_t size);
void* mg_arena_realloc(mg_arena* arena, void* memory, size_t size);
void mg_arena_free(mg_arena* arena, void* memory);

#ifdef __cplusplus
}
#endif

#endif
