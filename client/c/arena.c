#include "client/c/arena.h"

#include <stdint.h>
#include <string.h>

/* Stands before each allocation; as large as the alignment. */
typedef struct mg_header {
  uint32_t size_class;
} __attribute__((aligned(16))) mg_header;

static size_t block_size(uint32_t size_class) { return (size_t)16 << size_class; }

static mg_header* header_of(void* memory) { return (mg_header*)memory - 1; }

void mg_arena_reset(mg_arena* arena) {
  arena->used = 0;
  memset(arena->free, 0, sizeof(arena->free));
}

void* mg_arena_malloc(mg_arena* arena, size_t size) {
  if (size > block_size(MG_ARENA_CLASSES - 1) - sizeof(mg_header)) return NULL;
  uint32_t size_class = 0;
  while (block_size(size_class) < size + sizeof(mg_header)) ++size_class;
  if (arena->free[size_class] != NULL) {
    void* memory = arena->free[size_class];
    memcpy(&arena->free[size_class], memory, sizeof(void*));
    return memory;
  }
  if (block_size(size_class) > sizeof(arena->block) - arena->used) return NULL;
  mg_header* header = (mg_header*)(arena->block + arena->used);
  arena->used += block_size(size_class);
  header->size_class = size_class;
  return header + 1;
}

void* mg_arena_calloc(mg_arena* arena, size_t count, size_t size) {
  if (size != 0 && count > SIZE_MAX / size) return NULL;
  void* memory = mg_arena_malloc(arena, count * size);
  if (memory != NULL) memset(memory, 0, count * size);
  return memory;
}

void* mg_arena_realloc(mg_arena* arena, void* memory, size_t size) {
  if (memory == NULL) return mg_arena_malloc(arena, size);
  const size_t have = block_size(header_of(memory)->size_class) - sizeof(mg_header);
  if (size <= have) return memory;
  void* larger = mg_arena_malloc(arena, size);
  if (larger == NULL) return NULL;
  memcpy(larger, memory, have);
  mg_arena_free(arena, memory);
  return larger;
}

void mg_arena_free(mg_arena* arena, void* memory) {
  if (memory == NULL) return;
  const uint32_t size_class = header_of(memory)->size_class;
  memcpy(memory, &arena->free[size_class], sizeof(void*));
  arena->free[size_class] = memory;
}
