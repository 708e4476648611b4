#include "client/c/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

enum { PAGE = 4096, STACK = 48 * 1024, OBJECT_MOST = 2 << 20, CODE_AROUND = 256 * 1024 };

int mg_reserve_make(void) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return -1;
  /* A user's pipes count by their size. */
  const bool sized = fcntl(ends[1], F_SETPIPE_SZ, MG_RESERVE_BYTES) >= 0;
  static const uint8_t zeros[MG_RESERVE_BYTES];
  const bool filled = sized && write(ends[1], zeros, sizeof(zeros)) == (ssize_t)sizeof(zeros);
  close(ends[1]); /* what was written stays until both ends are closed */
  if (filled) return ends[0];
  close(ends[0]);
  return -1;
}

int mg_probe_make(void) { return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }

/* The kernel looks who is there before it says that a stream is not for datagrams. A stream's own connect
 * allocates first, and looks then. */
int mg_probe(int probe, const struct sockaddr_un* address) {
  if (probe < 0 || connect(probe, (const struct sockaddr*)address, sizeof(*address)) == 0) return 0;
  return errno == ENOENT || errno == ECONNREFUSED ? errno : 0;
}

bool mg_reserve_is_for(int error) { return error == ENFILE || error == ENOMEM || error == ENOBUFS; }

void mg_prefault_bytes(void* bytes, size_t size) {
  volatile uint8_t* const at = bytes;
  for (size_t i = 0; i < size; i += PAGE) at[i] = at[i];
}

__attribute__((noinline)) static void touch_stack(void) {
  volatile uint8_t below[STACK];
  for (size_t i = 0; i < sizeof(below); i += PAGE) below[i] = 0;
}

/* Of the shared object, or of the program that we are linked into. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden"))); /* NOLINT(bugprone-reserved-identifier) */

void mg_prefault(void) {
  touch_stack();
  /* A program that we are linked into has all of its own in between: the pages around this function, then. */
  const uintptr_t self = (uintptr_t)&mg_prefault;
  uintptr_t from = (uintptr_t)__ehdr_start;
  uintptr_t to = (uintptr_t)_end;
  if (to - from > OBJECT_MOST) {
    from = self - CODE_AROUND > from ? self - CODE_AROUND : from;
    to = self + CODE_AROUND < to ? self + CODE_AROUND : to;
  }
  for (from &= ~(uintptr_t)(PAGE - 1); from < to; from += PAGE) {
    madvise((void*)from, PAGE,
            MADV_POPULATE_READ); /* NOLINT(performance-no-int-to-ptr); fails between segments */
  }
}

bool mg_reserve_files_are_out(void) {
  const int file = eventfd(0, EFD_CLOEXEC);
  if (file < 0) return errno == ENFILE;
  close(file);
  return false;
}
