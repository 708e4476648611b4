/* How a page heap that others must lock to allocate is released: in slices. What gperftools and
 * google/tcmalloc share. For the agent thread; nothing here mallocs. */

#ifndef MEMGOV_CLIENT_C_ALLOCATORS_PAGE_HEAP_H_
#define MEMGOV_CLIENT_C_ALLOCATORS_PAGE_HEAP_H_

#include <stddef.h>
#include <stdint.h>

#include "client/c/allocators/allocator.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MG_PAGE_HEAP_SMALLEST_SLICE ((uint64_t)1 << 20) /* bytes */

/* A page heap whose release_to_system() takes whole spans, and returns that much less in the calls that
 * follow. */
typedef struct mg_page_heap {
  const char* name;
  void (*release_to_system)(size_t bytes);
  uint64_t (*free_bytes)(void);     /* what is left to return */
  uint64_t (*returned_bytes)(void); /* its growth over a call is what the call returned */
  uint64_t slice;                   /* bytes of the first ones; the stall bound makes later ones smaller */
  uint64_t pause_divisor;           /* after each, a pause of the time that it took over this */
  uint64_t idle_calls;              /* so many in a row that return nothing, and it has no more to give */
} mg_page_heap;

/* Returns what is free, or release->bytes of it, in slices; fills release->stopped if
 * the stall bound ended it before. */
void mg_page_heap_release(const mg_page_heap* heap, mg_release* release);

#ifdef __cplusplus
}
#endif

#endif
