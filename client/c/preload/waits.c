/* The functions in which programs wait for work, each in front of the C library's: a load and a branch, then
 * the next one in the loader's order. Those that are not async-signal-safe are never called in a signal
 * handler, so that attaching there is always allowed. */

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client/c/memgov.h"
#include "client/c/preload/preload.h"

/* WAIT(async-signal-safe or not, name, type, parameters, arguments). Another library's constructor may call
 * one before our own constructor has run; then it is found on the way. */
/* NOLINTBEGIN(bugprone-macro-parentheses): lists of parameters and arguments have theirs */
#define WAIT(signal_safe, name, type, parameters, arguments)                     \
  static _Atomic(void*) g_next_##name;                                           \
  MEMGOV_EXPORT type name parameters {                                           \
    mg_preload_at_wait(signal_safe);                                             \
    type(*next) parameters = NULL;                                               \
    *(void**)&next = atomic_load_explicit(&g_next_##name, memory_order_relaxed); \
    if (next == NULL) *(void**)&next = find(&g_next_##name, #name);              \
    return next arguments;                                                       \
  }
/* NOLINTEND(bugprone-macro-parentheses) */

static void* find(_Atomic(void*)* next, const char* name) {
  void* const found = dlsym(RTLD_NEXT, name);
  atomic_store_explicit(next, found, memory_order_relaxed);
  return found;
}

/* clang-format off */
WAIT(false, epoll_wait, int, (int epoll, struct epoll_event* events, int most, int ms), (epoll, events, most, ms))
WAIT(false, epoll_pwait, int,
     (int epoll, struct epoll_event* events, int most, int ms, const sigset_t* mask),
     (epoll, events, most, ms, mask))
WAIT(false, ppoll, int, (struct pollfd* polled, nfds_t count, const struct timespec* time, const sigset_t* mask),
     (polled, count, time, mask))
WAIT(false, nanosleep, int, (const struct timespec* time, struct timespec* left), (time, left))
WAIT(false, usleep, int, (useconds_t us), (us))
WAIT(false, clock_nanosleep, int, (clockid_t clock, int flags, const struct timespec* time, struct timespec* left),
     (clock, flags, time, left))
WAIT(false, accept4, int, (int listener, struct sockaddr* address, socklen_t* size, int flags),
     (listener, address, size, flags))
WAIT(true, sleep, unsigned, (unsigned seconds), (seconds))
WAIT(true, accept, int, (int listener, struct sockaddr* address, socklen_t* size), (listener, address, size))
WAIT(true, poll, int, (struct pollfd* polled, nfds_t count, int ms), (polled, count, ms))
WAIT(true, select, int, (int count, fd_set* to_read, fd_set* to_write, fd_set* except, struct timeval* time),
     (count, to_read, to_write, except, time))
WAIT(true, pselect, int,
     (int count, fd_set* to_read, fd_set* to_write, fd_set* except, const struct timespec* time,
      const sigset_t* mask),
     (count, to_read, to_write, except, time, mask))
WAIT(true, read, ssize_t, (int file, void* buffer, size_t size), (file, buffer, size))
/* clang-format on */

void mg_preload_find_waits(void) {
  find(&g_next_epoll_wait, "epoll_wait");
  find(&g_next_epoll_pwait, "epoll_pwait");
  find(&g_next_ppoll, "ppoll");
  find(&g_next_nanosleep, "nanosleep");
  find(&g_next_clock_nanosleep, "clock_nanosleep");
  find(&g_next_usleep, "usleep");
  find(&g_next_sleep, "sleep");
  find(&g_next_accept4, "accept4");
  find(&g_next_accept, "accept");
  find(&g_next_poll, "poll");
  find(&g_next_select, "select");
  find(&g_next_pselect, "pselect");
  find(&g_next_read, "read");
}
