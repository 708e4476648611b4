/* Whom a client obeys: who listens at the governor's socket must be root, or the user as whom alone this
 * process runs. Anybody else who got a socket to the path, in a directory that others may write, would be one
 * who makes a process of ours work.
 *
 * In a user namespace the host's root has no number; it shows as the overflow uid (65534), as does every
 * other user of the host, and perhaps a `nobody` of the namespace itself. So one that surely is from outside
 * is obeyed where only root, we ourselves, or somebody outside can have put the socket: whoever mounted that
 * directory chose it. */

#ifndef MEMGOV_CLIENT_C_TRUST_H_
#define MEMGOV_CLIENT_C_TRUST_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is known when a connection stands. */
typedef struct mg_listener {
  uint32_t uid;          /* as whom it began to listen (SO_PEERCRED) */
  int32_t pid;           /* 0: it is outside of our pid namespace */
  uint32_t own_uids[3];  /* real, effective, saved */
  uint32_t overflow_uid; /* what a user outside of our user namespace shows as */
  bool all_mapped;       /* there are no such users */
  bool overflow_mapped;  /* ... and none inside shows as that */
  bool directory_known;  /* the socket's directory: */
  uint32_t directory_uid;
  uint32_t directory_mode;
} mg_listener;

/* Whether to obey; else `why` says why not and what to do. Pure. */
bool mg_trust_judge(const mg_listener* listener, char* why, size_t size);

/* Reads /proc/self/uid_map's text: whether ids from 0 on are all mapped, and whether `uid` is. */
void mg_trust_read_uid_map(const char* text, uint32_t uid, bool* all_mapped, bool* uid_mapped);

/* The same of a connected socket. Opens and closes files where the listener may be from outside. */
bool mg_trust(int socket, const char* path, char* why, size_t size);

#ifdef __cplusplus
}
#endif

#endif
