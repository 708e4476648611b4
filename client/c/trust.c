#include "client/c/trust.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OVERFLOW_UID = 65534, OTHERS_WRITE = S_IWGRP | S_IWOTH };

/* The whole of a user namespace's ids; -1 is none. */
static const uint64_t kAllIds = 0xffffffff;

/* --- the judgement ----------------------------------------------------------------------------------------
 */

static bool is_our_only_user(const mg_listener* listener) {
  for (int i = 0; i < 3; ++i) {
    if (listener->uid != listener->own_uids[i]) return false;
  }
  return true;
}

/* A process that is not seen in our pid namespace is none of the container's. */
static bool is_outside(const mg_listener* listener) {
  return !listener->all_mapped && listener->uid == listener->overflow_uid &&
         (!listener->overflow_mapped || listener->pid == 0);
}

static bool only_trusted_can_put_it_there(const mg_listener* listener) {
  const uint32_t owner = listener->directory_uid;
  return listener->directory_known && (listener->directory_mode & OTHERS_WRITE) == 0 &&
         (owner == 0 || owner == listener->own_uids[1] || owner == listener->overflow_uid);
}

bool mg_trust_judge(const mg_listener* listener, char* why, size_t size) {
  if (listener->uid == 0 || is_our_only_user(listener)) return true;
  if (!is_outside(listener)) {
    snprintf(
        why, size,
        "it belongs to user %u, and only root or our own user (%u) is obeyed: run memgovd as one of them",
        listener->uid, listener->own_uids[1]);
    return false;
  }
  if (only_trusted_can_put_it_there(listener)) return true;
  snprintf(
      why, size,
      "it belongs to a user outside of our user namespace, and others can write its directory: make that "
      "root's alone (chmod go-w)");
  return false;
}

/* --- finding out ------------------------------------------------------------------------------------------
 */

void mg_trust_read_uid_map(const char* text, uint32_t uid, bool* all_mapped, bool* uid_mapped) {
  uint64_t mapped = 0;
  *uid_mapped = false;
  while (*text != '\0') { /* "inside outside count" */
    char* end = NULL;
    const uint64_t inside = strtoull(text, &end, 10);
    strtoull(end, &end, 10);
    const uint64_t count = strtoull(end, &end, 10);
    mapped += count; /* ranges do not overlap */
    if (uid >= inside && uid - inside < count) *uid_mapped = true;
    const char* const next = strchr(text, '\n');
    if (next == NULL) break;
    text = next + 1;
  }
  *all_mapped = mapped >= kAllIds;
}

/* Up to size - 1 bytes. False: it cannot be read. */
static bool read_file(const char* path, char* text, size_t size) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  size_t used = 0;
  ssize_t got = 0;
  while (used < size - 1 && (got = read(file, text + used, size - 1 - used)) > 0) used += (size_t)got;
  close(file);
  text[used] = '\0';
  return got >= 0 && used > 0;
}

/* Without /proc everybody is taken for what he shows as. */
static void look_at_namespace(mg_listener* listener) {
  char text[12 * 1024]; /* 340 lines of 33 bytes at most */
  listener->overflow_uid = OVERFLOW_UID;
  if (read_file("/proc/sys/kernel/overflowuid", text, sizeof(text))) {
    listener->overflow_uid = (uint32_t)strtoul(text, NULL, 10);
  }
  listener->all_mapped = true;
  if (listener->uid == listener->overflow_uid && read_file("/proc/self/uid_map", text, sizeof(text))) {
    mg_trust_read_uid_map(text, listener->overflow_uid, &listener->all_mapped, &listener->overflow_mapped);
  }
}

static void look_at_directory(mg_listener* listener, const char* path) {
  char directory[128];
  struct stat info;
  const char* const slash = strrchr(path, '/');
  const size_t length = slash == NULL || slash == path ? 1 : (size_t)(slash - path);
  if (length >= sizeof(directory)) return;
  memcpy(directory, slash == NULL ? "." : path, length);
  directory[length] = '\0';
  if (stat(directory, &info) != 0) return;
  listener->directory_known = true;
  listener->directory_uid = info.st_uid;
  listener->directory_mode = info.st_mode;
}

bool mg_trust(int socket, const char* path, char* why, size_t size) {
  struct ucred credentials;
  socklen_t length = sizeof(credentials);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    snprintf(why, size, "the system does not say whose it is");
    return false;
  }
  mg_listener listener = {.uid = credentials.uid, .pid = credentials.pid, .all_mapped = true};
  getresuid(&listener.own_uids[0], &listener.own_uids[1], &listener.own_uids[2]);
  if (listener.uid != 0 && !is_our_only_user(&listener)) {
    look_at_namespace(&listener);
    look_at_directory(&listener, path);
  }
  return mg_trust_judge(&listener, why, size);
}
