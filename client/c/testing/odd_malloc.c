/* A malloc that nobody knows: enough of one to be the process's, while glibc's does the work. */

#include <stddef.h>

void* __libc_malloc(size_t size);
void __libc_free(void* memory);

void* malloc(size_t size) { return __libc_malloc(size); }
void free(void* memory) { __libc_free(memory); }
