/* An object with an allocator of its own, as wheels have: a jemalloc under a prefix whose names are not
 * exported; with PLUGIN_MIMALLOC, a mimalloc. Or, with PLUGIN_PRETENDS, one that has such a name for
 * something else. */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { BLOCK_BYTES = 1024, BLOCKS_MAX = 512 * 1024 };

EXPORT void plugin_hold(size_t mib);

#ifdef PLUGIN_PRETENDS
int pretend_mallctl(const char* name, void* old_value, size_t* old_size, void* new_value, size_t new_size);

/* Whoever calls it ends the process. */
__attribute__((noinline)) int pretend_mallctl(const char* name, void* old_value, size_t* old_size,
                                              void* new_value, size_t new_size) {
  (void)name, (void)old_value, (void)old_size, (void)new_value, (void)new_size;
  abort();
}

void plugin_hold(size_t mib) {
  for (size_t i = 0; i < mib * 1024; ++i) memset(malloc(BLOCK_BYTES), 1, BLOCK_BYTES);
  if (mib == 0) pretend_mallctl(NULL, NULL, NULL, NULL, 0);
}
#else
#ifdef PLUGIN_MIMALLOC
#define ALLOCATE mi_malloc
#define FREE mi_free
#else
#define ALLOCATE je_malloc
#define FREE je_free
#endif
void* ALLOCATE(size_t size);
void FREE(void* memory);

static void* g_blocks[BLOCKS_MAX];

/* Takes so much and frees nine tenths of it, in runs. */
void plugin_hold(size_t mib) {
  const size_t count = mib * 1024 < BLOCKS_MAX ? mib * 1024 : BLOCKS_MAX;
  for (size_t i = 0; i < count; ++i) {
    g_blocks[i] = ALLOCATE(BLOCK_BYTES);
    memset(g_blocks[i], 1, BLOCK_BYTES);
  }
  for (size_t i = count / 10; i < count; ++i) FREE(g_blocks[i]);
}
#endif
