/* What the agent can do with one memory allocator of the process. One file each implements this; detect.c
 * finds out which are there. Implementations are singletons, because a process has one of each; all functions
 * run on the agent thread (but release_thread) and never call malloc. */

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

/* A release as it is asked for, and how it ended. */
typedef struct mg_release {
  uint64_t bytes;            /* stop once this much is returned, where that is possible; 0: return all */
  uint64_t longest_stall_ns; /* stop rather than hold up another thread for longer; 0: no bound */
  memgov_level level;        /* how near a kill is */
  bool freed;        /* the application has just freed memory for this: whatever came of the last one */
  int statm_fd;      /* for mg_process_read() */
  char stopped[160]; /* out: what happened, if the bound ended it before `bytes`, or why it is declined */
  bool declined;     /* out: not done on purpose */
} mg_release;

typedef struct mg_allocator {
  char name[96];        /* with version: "glibc 2.36" */
  const void* identity; /* one of its functions, by which it is known again; or NULL */
  bool is_last;         /* costs most: released after all others */
  mg_capabilities capabilities;
  mg_release_mode startup_mode;
  const char* why_no_mode; /* why capabilities.set_release_mode is false */
  const char* why_no_lazy; /* why it can be set to EAGER only; NULL: to both */

  /* `process` is a fresh reading whose anon_bytes leaves out what other allocators account for. */
  mg_estimate (*estimate)(const mg_process* process);

  /* Returns free memory to the kernel. Only capabilities.release_in_chunks can stop before all is returned.
   * NULL, or what went wrong. One that would bring nothing for its cost may decline. */
  const char* (*release)(mg_release* release);

  /* Sets LAZY or EAGER, remembering what was set before the first call; restore_mode() returns to that. Only
   * if capabilities.set_release_mode. NULL, or what went wrong (nothing is left half set then). */
  const char* (*set_mode)(mg_release_mode mode);
  void (*restore_mode)(void);

  /* Gives back what the calling thread keeps for itself and no other thread can reach; any thread. NULL:
   * there is no such thing. */
  void (*release_thread)(void);
} mg_allocator;

enum { MG_ALLOCATORS_MAX = 6 };

/* The allocators of this process. `unknown` names what owns malloc when none of them does, else it is empty;
 * `others` what was seen and is not driven. */
typedef struct mg_allocators {
  mg_allocator* list[MG_ALLOCATORS_MAX];
  size_t count;
  char unknown[64];
  char others[64];
} mg_allocators;

/* Looks for them by weak symbols (linked statically) and dlsym (linked dynamically or preloaded). May malloc.
 */
mg_allocators mg_detect_allocators(void);

/* jemalloc's only entry point that we need, under whatever prefix it has. */
typedef int (*mg_mallctl)(const char* name, void* old_value, size_t* old_size, void* new_value,
                          size_t new_size);

/* The C interface of gperftools' tcmalloc: MallocExtension_*, and tc_version. */
typedef struct mg_gperftools {
  int (*get_property)(const char* name, size_t* value); /* 0: there is no such property */
  int (*set_property)(const char* name, size_t value);
  void (*release_to_system)(size_t bytes);
  const char* (*version)(int* major, int* minor, const char** patch); /* NULL: not found */
} mg_gperftools;

/* absl::Duration as it is passed on 64-bit little-endian machines: in two registers, whether it is 12 bytes
 * of two words and one, or 16 with padding. It is read from memory into one that was 0. */
typedef struct mg_tcmalloc_duration {
  int64_t seconds;
  uint64_t quarter_ns; /* the fraction; 4 to the nanosecond */
} mg_tcmalloc_duration;

/* What google/tcmalloc's MallocExtension is made of, MallocExtension_Internal_*, and its parameters',
 * TCMalloc_Internal_*. */
typedef struct mg_tcmalloc {
  bool (*get_property)(const char* name, size_t name_size, size_t* value);
  size_t (*release_to_system)(size_t bytes);
  bool (*subreleases)(void); /* NULL: not found, as those below */
  void (*get_skip_short)(mg_tcmalloc_duration* interval);
  void (*get_skip_long)(mg_tcmalloc_duration* interval);
  void (*set_skip_short)(mg_tcmalloc_duration interval);
  void (*set_skip_long)(mg_tcmalloc_duration interval);
  int (*get_madvise)(void);
  void (*set_madvise)(int preference);
} mg_tcmalloc;

/* mimalloc's: mi_version, mi_collect and so on. */
typedef struct mg_mimalloc {
  int (*version)(void);
  void (*collect)(bool force);
  void (*thread_init)(void);
  long (*option_get)(int option);
  void (*option_set)(int option, long value);
} mg_mimalloc;

/* Around fork(): no child finds a lock of google/tcmalloc's taken by one of our calls, nor settings of ours.
 * To be called by the process's fork handlers, whether or not there is such an allocator. */
void mg_tcmalloc_before_fork(void);
void mg_tcmalloc_after_fork_in_parent(void);
void mg_tcmalloc_after_fork_in_child(void);

/* The implementations. NULL: that version has no lever that we know. */
mg_allocator* mg_glibc_allocator(void);
mg_allocator* mg_jemalloc_allocator(mg_mallctl mallctl);
mg_allocator* mg_gperftools_allocator(const mg_gperftools* functions);
mg_allocator* mg_tcmalloc_allocator(const mg_tcmalloc* functions);
mg_allocator* mg_mimalloc_allocator(const mg_mimalloc* functions);

#ifdef __cplusplus
}
#endif

#endif
