/* google/tcmalloc as the malloc of a program that preloads it: the archive that the crate libtcmalloc-sys
 * makes has its functions under names of their own. */

#include <stddef.h>

/* NOLINTBEGIN(readability-identifier-naming): theirs */
void* TCMallocInternalMalloc(size_t size);
void* TCMallocInternalCalloc(size_t count, size_t size);
void* TCMallocInternalRealloc(void* memory, size_t size);
void TCMallocInternalFree(void* memory);
void* TCMallocInternalMemalign(size_t alignment, size_t size);
void* TCMallocInternalAlignedAlloc(size_t alignment, size_t size);
int TCMallocInternalPosixMemalign(void** memory, size_t alignment, size_t size);
size_t TCMallocInternalMallocSize(void* memory);
/* NOLINTEND(readability-identifier-naming) */

void* malloc(size_t size) { return TCMallocInternalMalloc(size); }
void* calloc(size_t count, size_t size) { return TCMallocInternalCalloc(count, size); }
void* realloc(void* memory, size_t size) { return TCMallocInternalRealloc(memory, size); }
void free(void* memory) { TCMallocInternalFree(memory); }
void* memalign(size_t alignment, size_t size) { return TCMallocInternalMemalign(alignment, size); }
void* aligned_alloc(size_t alignment, size_t size) { return TCMallocInternalAlignedAlloc(alignment, size); }
int posix_memalign(void** memory, size_t alignment, size_t size) {
  return TCMallocInternalPosixMemalign(memory, alignment, size);
}
size_t malloc_usable_size(void* memory) { return TCMallocInternalMallocSize(memory); }
