/* Where the watch hears of stalls. systemd's memory pressure protocol tells which file to watch, and what to
 * write into it first (https://systemd.io/MEMORY_PRESSURE); without it, it is the PSI file of our own cgroup.
 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/c/local/watch.h"

/* As a service manager's default: 200 ms of stalls in 2 s. Without privileges windows are multiples of 2 s.
 */
static const char kTrigger[] = "some 200000 2000000";

/* --- what was handed over
 * ------------------------------------------------------------------------------------
 */

static int value_of(char c) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char* const found = c == '\0' ? NULL : strchr(alphabet, c);
  return found == NULL ? -1 : (int)(found - alphabet);
}

/* Base64. False: it is none, or more than fits. */
static bool decode(const char* from, mg_stall_source* source) {
  size_t length = strlen(from);
  if (length % 4 != 0) return false;
  for (int padding = 0; padding < 2 && length > 0 && from[length - 1] == '='; ++padding) --length;
  uint32_t bits = 0;
  unsigned count = 0;
  size_t used = 0;
  for (size_t i = 0; i < length; ++i) {
    const int value = value_of(from[i]);
    if (value < 0) return false;
    bits = bits << 6 | (uint32_t)value;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    if (used == sizeof(source->write)) return false;
    source->write[used++] = (uint8_t)(bits >> count);
  }
  source->write_size = used;
  return true;
}

void mg_stall_source_parse(mg_stall_source* source, const char* watch, const char* write) {
  *source = (mg_stall_source){.off = false};
  if (watch == NULL || *watch == '\0') return;
  if (strcmp(watch, "/dev/null") == 0) {
    source->off = true;
  } else if (*watch != '/' || strlen(watch) >= sizeof(source->path)) {
    snprintf(source->problem, sizeof(source->problem), "MEMORY_PRESSURE_WATCH is no absolute path");
  } else if (write != NULL && !decode(write, source)) {
    snprintf(source->problem, sizeof(source->problem), "MEMORY_PRESSURE_WRITE is no base64");
  } else {
    memcpy(source->path, watch, strlen(watch) + 1);
  }
}

/* --- opening it --------------------------------------------------------------------------------------------
 */

/* False: it cannot be had; errno says why. */
static bool open_trigger(mg_watch* watch, const char* path, const void* bytes, size_t size) {
  watch->stalls_fd = open(path, (size > 0 ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
  if (watch->stalls_fd < 0) return false;
  if (size > 0 && write(watch->stalls_fd, bytes, size) < 0) {
    close(watch->stalls_fd);
    watch->stalls_fd = -1;
    return false;
  }
  watch->stalls = MG_STALLS_TRIGGER;
  return true;
}

static int connect_to(const char* path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const size_t length = strlen(path);
  if (length >= sizeof(address.sun_path)) return -1;
  memcpy(address.sun_path, path, length);
  const int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor >= 0 && connect(descriptor, (const struct sockaddr*)&address, sizeof(address)) != 0) {
    close(descriptor);
    return -1;
  }
  return descriptor;
}

/* Also for writing where that is allowed: then it never is without a writer. */
static int open_fifo(const char* path) {
  const int both = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
  return both >= 0 ? both : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static bool open_stream(mg_watch* watch, const mg_stall_source* source, bool is_socket) {
  watch->stalls_fd = is_socket ? connect_to(source->path) : open_fifo(source->path);
  if (watch->stalls_fd < 0) return false;
  watch->stalls = MG_STALLS_STREAM;
  if (source->write_size == 0) return true;
  /* A hint to the other side, which tells us what it wants whether it gets it or not. */
  const ssize_t written = is_socket ? send(watch->stalls_fd, source->write, source->write_size, MSG_NOSIGNAL)
                                    : write(watch->stalls_fd, source->write, source->write_size);
  if (written > 0 && !is_socket) {
    watch->written = source->write;
    watch->written_size = (size_t)written;
  }
  return true;
}

void mg_stalls_open(mg_watch* watch, const mg_stall_source* source, uint64_t now_ns) {
  struct stat info;
  if (source->path[0] != '\0' && !watch->source_failed && stat(source->path, &info) == 0) {
    const bool opened = S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode)
                            ? open_stream(watch, source, S_ISSOCK(info.st_mode))
                            : open_trigger(watch, source->path, source->write, source->write_size);
    watch->handed_over = opened;
    if (opened) return;
  }
  if (watch->own.pressure[0] == '\0' ||
      open_trigger(watch, watch->own.pressure, kTrigger, sizeof(kTrigger))) {
    return;
  }
  watch->stalls_fd = open(watch->own.pressure, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (watch->stalls_fd < 0) return;
  watch->stalls = MG_STALLS_TOTAL;
  watch->total_at_ns = now_ns;
  watch->total_us = UINT64_MAX; /* the first reading is what later ones are compared with */
}

void mg_watch_describe(const mg_watch* watch, const mg_stall_source* source, char* text, size_t size) {
  char usage[64] = "";
  if (watch->own.levels > 0) {
    snprintf(usage, sizeof(usage), "usage of %zu cgroup%s with a limit (v%d)", watch->own.levels,
             watch->own.levels == 1 ? "" : "s", watch->own.version);
  }
  const bool stalls = watch->stalls != MG_STALLS_NONE;
  snprintf(text, size, "%s%s%s%s%s%s", usage, usage[0] != '\0' && stalls ? ", " : "",
           !stalls              ? ""
           : watch->handed_over ? "stalls from "
                                : "stalls of its own cgroup",
           watch->handed_over ? source->path : "", source->problem[0] != '\0' ? "; " : "", source->problem);
}
