/* Kernel memory that is kept for attaching. On cgroup v1 and v2 alike what the kernel needs for a socket is
 * charged to whoever asks, so in a full cgroup, which is where a governor is wanted most, socket() fails
 * (with ENFILE), and so do connect() and send(). A few pages in a pipe are charged in time; closing it lets
 * the next system call have them, before anybody on another CPU can. */

#ifndef MEMGOV_CLIENT_C_RESERVE_H_
#define MEMGOV_CLIENT_C_RESERVE_H_

#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MG_RESERVE_BYTES = 16 * 1024 };

/* Makes one: a descriptor, or -1 when that is not possible now. Does not block. */
int mg_reserve_make(void);

/* A socket by which to ask whether somebody is there, which takes no memory; -1: it cannot be had now. In a
 * full cgroup connecting in vain would cost the reserve. */
int mg_probe_make(void);

/* 0 when a stream socket is alive at that address, or when that cannot be told; else why not, an errno value.
 */
int mg_probe(int probe, const struct sockaddr_un* address);

/* Whether this errno value of socket(), connect() or send() may mean that there is no memory. */
bool mg_reserve_is_for(int error);

/* Makes the pages present that attaching needs: of this library's code and data, and of the calling thread's
 * stack. In a full cgroup a page fault waits, or kills. */
void mg_prefault(void);
void mg_prefault_bytes(void* bytes, size_t size);

/* Whether the host's table of open files is full, which ENFILE also means. */
bool mg_reserve_files_are_out(void);

#ifdef __cplusplus
}
#endif

#endif
