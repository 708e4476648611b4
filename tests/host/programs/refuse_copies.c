// Preloaded into memgovd: fcntl(F_DUPFD_CLOEXEC) fails with EMFILE for descriptors of one kind ("inotify",
// "[pidfd]") for as long as the file that REFUSE_COPIES names holds that word. Stands in for a process that
// has run out of descriptors.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int Refused(int fd) {
  const char* const file = getenv("REFUSE_COPIES");
  FILE* const stream = file ? fopen(file, "re") : NULL;
  if (!stream) return 0;
  char kind[64] = "";
  const int read = fscanf(stream, "%63s", kind);
  fclose(stream);
  char link[64];
  char target[256] = "";
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  return read == 1 && readlink(link, target, sizeof(target) - 1) > 0 && strstr(target, kind) != NULL;
}

static int Pass(const char* name, int fd, int command, void* argument) {
  if (command == F_DUPFD_CLOEXEC && Refused(fd)) {
    errno = EMFILE;
    return -1;
  }
  int (*const next)(int, int, ...) = (int (*)(int, int, ...))dlsym(RTLD_NEXT, name);
  return next(fd, command, argument);
}

#define PASS(name)                              \
  int name(int fd, int command, ...) {          \
    va_list list;                               \
    va_start(list, command);                    \
    void* const argument = va_arg(list, void*); \
    va_end(list);                               \
    return Pass(#name, fd, command, argument);  \
  }
PASS(fcntl)
PASS(fcntl64)
