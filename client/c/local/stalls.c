/* Where the watch hears of stalls. systemd's memory pressure protocol tells which file to watch, and what to
 * write into it first (https://systemd.io/MEMORY_PRESSURE); without it, it is the PSI file of our own cgroup.
 */

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
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

/* False: it cannot be had. */
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
  memcpy(address.sun_path, path, strlen(path));
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

static bool open_stream(mg_watch* watch, const mg_stall_source* source, const char* path, bool is_socket) {
  watch->stalls_fd = is_socket ? connect_to(path) : open_fifo(path);
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

/* Whether it is one of the kernel's own files about pressure. The file system alone does not say so: it has
 * files, too, that do as they are told (cgroup.kill, core_pattern). Reading one that only takes orders fails.
 */
static bool tells_pressure(int named, const char* path) {
  struct statfs where;
  if (fstatfs(named, &where) != 0) return false;
  if (where.f_type != CGROUP2_SUPER_MAGIC && where.f_type != CGROUP_SUPER_MAGIC &&
      where.f_type != PROC_SUPER_MAGIC) {
    return false;
  }
  const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return false;
  char text[128]; /* "some avg10=0.00 avg60=0.00 avg300=0.00 total=0" */
  const ssize_t got = pread(file, text, sizeof(text) - 1, 0);
  close(file);
  if (got <= 0) return false;
  text[got] = '\0';
  return strncmp(text, "some avg10=", 11) == 0 && strstr(text, " avg300=") != NULL &&
         strstr(text, " total=") != NULL;
}

/* What the environment names is opened only if it is what a service manager hands over: whoever wrote the
 * name may not be who is to lose a file by it, and opening alone makes some devices act. So it is looked at
 * first, through a descriptor that only names it (O_PATH), and opened through that one, so that it cannot be
 * another by then. NULL: opened; else why not. */
static const char* open_handed_over(mg_watch* watch, const mg_stall_source* source) {
  const int named = open(source->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  struct stat info;
  if (named < 0) return "MEMORY_PRESSURE_WATCH names nothing that can be seen";
  char path[32];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", named);
  const mode_t kind = fstat(named, &info) == 0 ? info.st_mode & S_IFMT : 0;
  const char* why = "MEMORY_PRESSURE_WATCH names no pressure file of the kernel, FIFO or socket";
  if (kind == S_IFIFO || kind == S_IFSOCK || (kind == S_IFREG && tells_pressure(named, path))) {
    const bool opened = kind == S_IFREG ? open_trigger(watch, path, source->write, source->write_size)
                                        : open_stream(watch, source, path, kind == S_IFSOCK);
    why = opened ? NULL : "what MEMORY_PRESSURE_WATCH names cannot be used";
  }
  close(named);
  return why;
}

void mg_stalls_open(mg_watch* watch, const mg_stall_source* source, uint64_t now_ns) {
  watch->refused = NULL;
  if (source->path[0] != '\0' && !watch->source_failed) {
    watch->refused = open_handed_over(watch, source);
    watch->handed_over = watch->refused == NULL;
    if (watch->handed_over) return;
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

const char* mg_watch_problem(const mg_watch* watch, const mg_stall_source* source) {
  return watch->refused != NULL ? watch->refused : source->problem;
}

void mg_watch_describe(const mg_watch* watch, const mg_stall_source* source, char* text, size_t size) {
  char usage[64] = "";
  if (watch->own.levels > 0) {
    snprintf(usage, sizeof(usage), "usage of %zu cgroup%s with a limit (v%d)", watch->own.levels,
             watch->own.levels == 1 ? "" : "s", watch->own.version);
  }
  const bool stalls = watch->stalls != MG_STALLS_NONE;
  const char* const problem = mg_watch_problem(watch, source);
  snprintf(text, size, "%s%s%s%s%s%s", usage, usage[0] != '\0' && stalls ? ", " : "",
           !stalls              ? ""
           : watch->handed_over ? "stalls from "
                                : "stalls of its own cgroup",
           watch->handed_over ? source->path : "", problem[0] != '\0' ? "; " : "", problem);
}
