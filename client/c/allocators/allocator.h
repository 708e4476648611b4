/* What the agent can do with one memory allocator of the process. One file each implements this; detect.c
 * finds out which are there. Implementations are singletons, because a process has one of each; all functions
 * run on the agent thread and never call malloc. */

#ifndef MEMGOV_CLIENT_C_ALLOCATORS_ALLOCATOR_H_
#define MEMGOV_CLIENT_C_ALLOCATORS_ALLOCATOR_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/c/process.h"
#include "client/c/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What an allocator holds at this moment. */
typedef struct mg_estimate {
  uint64_t live_bytes;         /* in use by the application */
  uint64_t retained_bytes;     /* what release() could return, lazily freed memory included */
  uint64_t lazily_freed_bytes; /* the part of it that was given up with MADV_FREE */
  mg_estimate_kind kind;       /* NONE: the allocator cannot tell now; the bytes are 0 */
} mg_estimate;

typedef struct mg_allocator {
  char name[32]; /* with version: "glibc 2.36" */
  mg_capabilities capabilities;
  mg_release_mode startup_mode;
  const char* why_no_mode; /* why capabilities.set_release_mode is false */

  /* `process` is a fresh reading whose anon_bytes leaves out what other allocators account for. */
  mg_estimate (*estimate)(const mg_process* process);

  /* Returns free memory to the kernel. NULL, or what went wrong. */
  const char* (*release)(void);

  /* Sets LAZY or EAGER, remembering what was set before the first call; restore_mode() returns to that. Only
   * if capabilities.set_release_mode. NULL, or what went wrong (nothing is left half set then). */
  const char* (*set_mode)(mg_release_mode mode);
  void (*restore_mode)(void);
} mg_allocator;

enum { MG_ALLOCATORS_MAX = 4 };

/* The allocators of this process. `unknown` names what owns malloc when none of them does, else it is empty.
 */
typedef struct mg_allocators {
  mg_allocator* list[MG_ALLOCATORS_MAX];
  size_t count;
  char unknown[64];
} mg_allocators;

/* Looks for them by weak symbols (linked statically) and dlsym (linked dynamically or preloaded). May malloc.
 */
mg_allocators mg_detect_allocators(void);

/* jemalloc's only entry point that we need, under whatever prefix it has. */
typedef int (*mg_mallctl)(const char* name, void* old_value, size_t* old_size, void* new_value,
                          size_t new_size);

/* The implementations. NULL: that version has no lever that we know. */
mg_allocator* mg_glibc_allocator(void);
mg_allocator* mg_jemalloc_allocator(mg_mallctl mallctl);

#ifdef __cplusplus
}
#endif

#endif
