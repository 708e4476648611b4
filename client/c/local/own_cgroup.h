/* Where the process's memory is counted: the cgroups from its own upwards that have a limit, and the file
 * that tells its stalls. A process sees its cgroup through /proc/self/cgroup and the tree through whatever is
 * mounted; in a container the two begin at different places. Nothing here mallocs. */

#ifndef MEMGOV_CLIENT_C_LOCAL_OWN_CGROUP_H_
#define MEMGOV_CLIENT_C_LOCAL_OWN_CGROUP_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  MG_LEVELS_MAX = 4, /* cgroups with a limit that are watched, the nearest ones */
  MG_DIRECTORY_MAX = 512
};

typedef struct mg_own_cgroup {
  int version; /* of the hierarchy that counts memory: 1 or 2; 0: none is to be seen */
  size_t levels;
  char level[MG_LEVELS_MAX][MG_DIRECTORY_MAX]; /* directories of cgroups with a limit, our own first */
  char pressure[MG_DIRECTORY_MAX];             /* memory.pressure of our own cgroup; empty: there is none */
} mg_own_cgroup;

/* Looks for it. `proc` is the directory with mountinfo and cgroup: "/proc/self" but in tests. Cgroups whose
 * directory is longer than MG_DIRECTORY_MAX are not seen. Opens and closes descriptors. */
void mg_own_cgroup_find(mg_own_cgroup* own, const char* proc);

/* Whether the two found the same directories. */
bool mg_own_cgroup_same(const mg_own_cgroup* a, const mg_own_cgroup* b);

/* Opens a file of a cgroup to be read and kept. -1: there is none. */
int mg_cgroup_open(const char* directory, const char* name);

/* The number at the beginning of the file, in bytes; UINT64_MAX for "max" and for v1's way to say so. False:
 * it cannot be read (any more). */
bool mg_cgroup_read(int file, uint64_t* value);

/* The number behind a word at the beginning of a line ("inactive_file 4096"), from at most 8 KiB of a file.
 */
bool mg_cgroup_read_field(int file, const char* field, uint64_t* value);

#ifdef __cplusplus
}
#endif

#endif
